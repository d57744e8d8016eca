"""Which cases are scored, on which list, and what has been learned by then.

prequential    In time order; the list that is scored on a click is the one made right after the
               shopper's click before it, as a storefront would have read it. Then the click is
               learned. Without a click before (a new shopper), the list is made for a stranger, there
               and then.
split          A stream is learned once, then cases (prefix, target) are scored and never learned.
leave-one-out  What each shopper did before their last click is learned, then those are scored. What
               others did later is known by then: figures are too good, but comparable with texts
               that do so.

Views are cases; carts and purchases are learned from, not scored (in a stream without views they take
their place). Repeats count and the current item may be listed, unless `unseen`: then lists leave out
what the shopper had, and a click on such an item is no case. With `known` a shopper's first click, or
an empty prefix, is no case.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, Protocol

from operators.evaluation.clicks import SESSION_GAP_MS, Sessions
from operators.evaluation.metrics import Clicked
from operators.evaluation.results import Case, Outcome
from state.interactions import NOBODY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence, Set

    from operators.evaluation.clicks import Click, Clicks, Session
    from operators.evaluation.formats import RawCase
    from operators.evaluation.results import Lists

BLEND = "blend"
"""The name under which a rival gives the list that a storefront would read."""
AGAINST = "against"
"""That of the list which another configuration gives."""

SPLIT_BATCH = 1024
"""Cases asked for at once: nothing is learned between them, so this changes nothing but the speed."""


class Request(NamedTuple):
    """For whom a list is wanted: NOBODY is a stranger; `session` holds items, oldest first."""

    shopper: int
    session: Sequence[int]
    now_ms: int
    without: Set[int]


class Rival(Protocol):
    """One or several learners under evaluation; items and shoppers are rows of the stream."""

    def learn(self, click: Click, session: Session) -> None:
        """Learn a click; `session` holds the items before it and changes after the call."""

    def top(self, requests: Sequence[Request], k: int) -> Sequence[Lists]:
        """For each request the lists of at most k items by learner. Does not learn."""


@dataclass(frozen=True)
class Rules:
    """What is a case and what may be listed.

    `at_once` lists are made together, which is faster: all of them before the clicks they are scored on.
    """

    k: int = 20
    unseen: bool = False
    known: bool = False
    session_gap_ms: int | None = SESSION_GAP_MS
    at_once: int = 1


def prequential(clicks: Clicks, rivals: Sequence[Rival], rules: Rules) -> Outcome:
    """Score, then learn, click by click; all parts of the stream but the last are only learned."""
    outcome, clicked = Outcome(rules.k, clicks.category_of), Clicked()
    sessions = Sessions(rules.session_gap_ms)
    standing = _Standing(rivals, rules)
    known: set[int] = set()
    had: defaultdict[int, set[int]] = defaultdict(set)
    scored_kind, warm = clicks.scored_kind, clicks.starts[-1]
    awaited = _awaited(clicks, scored_kind, warm)
    for number, click in enumerate(clicks):
        shopper, item, at_ms = click.shopper, click.item, click.at_ms
        session = sessions.running(click)
        seen = had[shopper] if rules.unseen else set[int]()
        lists = standing.take(shopper)
        is_scored = number >= warm and click.kind == scored_kind and item not in seen
        if is_scored and not (lists is None and rules.known):
            if lists is None:
                lists = standing.of_stranger(at_ms)
            case = Case(item, at_ms, shopper, len(session.items), shopper in known)
            outcome.add(case, lists, clicked)
        for rival in rivals:
            rival.learn(click, session)
        clicked.count(item, at_ms)
        known.add(shopper)
        if rules.unseen:
            seen.add(item)
        if click.kind == scored_kind:
            session.items.append(item)
        if awaited[number]:
            standing.ask(Request(shopper, session.items, at_ms, seen))
    return outcome


class _Standing:
    """Lists by shopper: `at_once` are made together, or as soon as one of them is looked at."""

    def __init__(self, rivals: Sequence[Rival], rules: Rules) -> None:
        self._rivals = rivals
        self._rules = rules
        self._asked: dict[int, Request] = {}
        self._made: dict[int, Lists] = {}
        self._of_stranger: Lists = {}
        self._strangers = 0

    def ask(self, request: Request) -> None:
        """A shopper's next list is wanted."""
        self._asked[request.shopper] = request
        if len(self._asked) >= self._rules.at_once:
            self._make()

    def take(self, shopper: int) -> Lists | None:
        """The list that stands, if there is one; it is looked at once."""
        if shopper in self._asked:
            self._make()
        return self._made.pop(shopper, None)

    def of_stranger(self, now_ms: int) -> Lists:
        """What somebody sees who was never seen; it stands for `at_once` of them."""
        if self._strangers % self._rules.at_once == 0:
            request = Request(NOBODY, (), now_ms, frozenset())
            self._of_stranger = lists_of(self._rivals, [request], self._rules.k)[0]
        self._strangers += 1
        return self._of_stranger

    def _make(self) -> None:
        requests = list(self._asked.values())
        lists = lists_of(self._rivals, requests, self._rules.k)
        self._made |= zip(self._asked, lists, strict=True)
        self._asked.clear()


def split(
    clicks: Clicks, cases: Iterable[RawCase], rivals: Sequence[Rival], rules: Rules
) -> Outcome:
    """Learn the stream, then score the cases as strangers whose session is the prefix."""
    outcome, clicked = Outcome(rules.k, clicks.category_of), Clicked()
    sessions = Sessions(rules.session_gap_ms)
    _learn(clicks, rivals, sessions, clicked)
    now_ms = clicks.at_ms[-1] if len(clicks) else 0
    find = clicks.items.find
    scored, owner, last = iter(cases), 0, None
    while batch := list(islice(scored, SPLIT_BATCH)):
        asked: list[Case] = []
        requests: list[Request] = []
        for case in batch:
            owner += last is not None and not case.is_of_one_session(last)
            last = case
            prefix = [find(item) for item in case.prefix]
            seen = set(prefix) if rules.unseen else set[int]()
            if (rules.known and not prefix) or (rules.unseen and case.target in case.prefix):
                continue
            asked.append(Case(find(case.target), now_ms, owner, len(prefix), bool(prefix)))
            requests.append(Request(NOBODY, prefix, now_ms, seen))
        _score(outcome, asked, requests, rivals, clicked)
    return outcome


def leave_one_out(clicks: Clicks, rivals: Sequence[Rival], rules: Rules) -> Outcome:
    """Learn all that each shopper did before their last click, then score that on lists of the end."""
    outcome, clicked = Outcome(rules.k, clicks.category_of), Clicked()
    sessions = Sessions(rules.session_gap_ms)
    last = _last_of_each(clicks)
    had = _learn(clicks, rivals, sessions, clicked, before=last)
    now_ms = clicks.at_ms[-1] if len(clicks) else 0
    held_out = sorted(number for shopper, number in last.items() if shopper in had)
    for start in range(0, len(held_out), SPLIT_BATCH):
        asked: list[Case] = []
        requests: list[Request] = []
        for number in held_out[start : start + SPLIT_BATCH]:
            shopper, item = clicks.shopper[number], clicks.item[number]
            seen = had[shopper] if rules.unseen else set[int]()
            if item in seen:
                continue
            session = sessions.items_of(shopper)
            asked.append(Case(item, now_ms, shopper, len(session), True))
            requests.append(Request(shopper, session, now_ms, seen))
        _score(outcome, asked, requests, rivals, clicked)
    return outcome


def _last_of_each(clicks: Clicks) -> dict[int, int]:
    """The number of each shopper's last click of the scored kind."""
    last: dict[int, int] = {}
    for number, (shopper, kind) in enumerate(zip(clicks.shopper, clicks.kind, strict=True)):
        if kind == clicks.scored_kind:
            last[shopper] = number
    return last


def _learn(
    clicks: Clicks,
    rivals: Sequence[Rival],
    sessions: Sessions,
    clicked: Clicked,
    before: Mapping[int, int] | None = None,
) -> dict[int, set[int]]:
    """Learn the stream, of a shopper only up to `before` a click, by number; gives what each had."""
    had: dict[int, set[int]] = {}
    scored_kind = clicks.scored_kind
    for number, click in enumerate(clicks):
        if before is not None and number >= before.get(click.shopper, number + 1):
            continue
        session = sessions.running(click)
        for rival in rivals:
            rival.learn(click, session)
        clicked.count(click.item, click.at_ms)
        had.setdefault(click.shopper, set()).add(click.item)
        if click.kind == scored_kind:
            session.items.append(click.item)
    return had


def _score(
    outcome: Outcome,
    cases: Sequence[Case],
    requests: Sequence[Request],
    rivals: Sequence[Rival],
    clicked: Clicked,
) -> None:
    """Score cases on lists made now, one request a case."""
    for case, lists in zip(cases, lists_of(rivals, requests, outcome.k), strict=True):
        outcome.add(case, lists, clicked)


def lists_of(rivals: Sequence[Rival], requests: Sequence[Request], k: int) -> Sequence[Lists]:
    """For each request the lists of all rivals together."""
    answers = [rival.top(requests, k) for rival in rivals]
    return [
        {name: listed for lists in of_request for name, listed in lists.items()}
        for of_request in zip(*answers, strict=True)
    ]


def _awaited(clicks: Clicks, scored_kind: int, warm: int) -> bytearray:
    """After which clicks a list is going to be scored; others are not made, which saves their time."""
    awaited = bytearray(len(clicks))
    next_of: dict[int, int] = {}
    for number in reversed(range(len(clicks))):
        following = next_of.get(clicks.shopper[number])
        if following is not None and following >= warm:
            awaited[number] = clicks.kind[following] == scored_kind
        next_of[clicks.shopper[number]] = number
    return awaited
