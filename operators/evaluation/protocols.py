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

from operators.evaluation.clicks import SESSION_GAP_MS, SessionTracker
from operators.evaluation.metrics import ItemClickHistory
from operators.evaluation.results import Case, EvaluationResult
from state.arrays import NO_ROW

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence, Set

    from operators.evaluation.clicks import ClickSession, ClickStream, StreamClick
    from operators.evaluation.formats import RawCase
    from operators.evaluation.results import Lists

BLEND = "blend"
"""The name under which a rival gives the list that a storefront would read."""
OTHER_CONFIGURATION = "against"
"""That of the list which another configuration gives."""

SPLIT_BATCH = 1024
"""Cases asked for at once: nothing is learned between them, so this changes nothing but the speed."""


class Request(NamedTuple):
    """For whom a list is wanted: NO_ROW is a stranger; `session` holds items, oldest first."""

    shopper: int
    session: Sequence[int]
    now_ms: int
    without: Set[int]


class Competitor(Protocol):
    """One or several learners under evaluation; items and shoppers are rows of the stream."""

    def learn(self, click: StreamClick, session: ClickSession) -> None:
        """Learn a click; `session` holds the items before it and changes after the call."""

    def recommend(self, requests: Sequence[Request], k: int) -> Sequence[Lists]:
        """For each request the lists of at most k items by learner. Does not learn."""


@dataclass(frozen=True)
class ProtocolOptions:
    """What is a case and what may be listed.

    `lists_at_once` lists are made together, which is faster: all of them before the clicks they
    are scored on.
    """

    k: int = 20
    unseen: bool = False
    known: bool = False
    session_gap_ms: int | None = SESSION_GAP_MS
    lists_at_once: int = 1


def prequential(
    clicks: ClickStream, competitors: Sequence[Competitor], options: ProtocolOptions
) -> EvaluationResult:
    """Score, then learn, click by click; all parts of the stream but the last are only learned."""
    result, history = EvaluationResult(options.k, clicks.category_of), ItemClickHistory()
    sessions = SessionTracker(options.session_gap_ms)
    published = _PublishedLists(competitors, options)
    known: set[int] = set()
    clicked_by: defaultdict[int, set[int]] = defaultdict(set)
    scored_kind, warm = clicks.scored_kind, clicks.starts[-1]
    expected = _expected(clicks, scored_kind, warm)
    for number, click in enumerate(clicks):
        shopper, item, at_ms = click.shopper, click.item, click.at_ms
        session = sessions.current_session(click)
        seen = clicked_by[shopper] if options.unseen else set[int]()
        lists = published.receive(shopper)
        is_scored = number >= warm and click.kind == scored_kind and item not in seen
        if is_scored and not (lists is None and options.known):
            if lists is None:
                lists = published.for_new_shopper(at_ms)
            case = Case(item, at_ms, shopper, len(session.items), shopper in known)
            result.add(case, lists, history)
        for competitor in competitors:
            competitor.learn(click, session)
        history.count(item, at_ms)
        known.add(shopper)
        if options.unseen:
            seen.add(item)
        if click.kind == scored_kind:
            session.items.append(item)
        if expected[number]:
            published.request(Request(shopper, session.items, at_ms, seen))
    return result


class _PublishedLists:
    """Lists by shopper: `lists_at_once` are made together, or as soon as one of them is looked at."""

    def __init__(self, competitors: Sequence[Competitor], options: ProtocolOptions) -> None:
        self._competitors = competitors
        self._options = options
        self._requested: dict[int, Request] = {}
        self._lists: dict[int, Lists] = {}
        self._new_shopper_lists: Lists = {}
        self._new_shoppers = 0

    def request(self, request: Request) -> None:
        """A shopper's next list is wanted."""
        self._requested[request.shopper] = request
        if len(self._requested) >= self._options.lists_at_once:
            self._make_lists()

    def receive(self, shopper: int) -> Lists | None:
        """The list that stands, if there is one; it is looked at once."""
        if shopper in self._requested:
            self._make_lists()
        return self._lists.pop(shopper, None)

    def for_new_shopper(self, now_ms: int) -> Lists:
        """What somebody sees who was never seen; it stands for `lists_at_once` of them."""
        if self._new_shoppers % self._options.lists_at_once == 0:
            request = Request(NO_ROW, (), now_ms, frozenset())
            self._new_shopper_lists = recommend_all(self._competitors, [request], self._options.k)[
                0
            ]
        self._new_shoppers += 1
        return self._new_shopper_lists

    def _make_lists(self) -> None:
        requests = list(self._requested.values())
        lists = recommend_all(self._competitors, requests, self._options.k)
        self._lists |= zip(self._requested, lists, strict=True)
        self._requested.clear()


def split(
    clicks: ClickStream,
    cases: Iterable[RawCase],
    competitors: Sequence[Competitor],
    options: ProtocolOptions,
) -> EvaluationResult:
    """Learn the stream, then score the cases as strangers whose session is the prefix."""
    result, history = EvaluationResult(options.k, clicks.category_of), ItemClickHistory()
    sessions = SessionTracker(options.session_gap_ms)
    _learn_stream(clicks, competitors, sessions, history)
    now_ms = clicks.at_ms[-1] if len(clicks) else 0
    find = clicks.items.get
    scored, owner, previous = iter(cases), 0, None
    while batch := list(islice(scored, SPLIT_BATCH)):
        scored_cases: list[Case] = []
        requests: list[Request] = []
        for case in batch:
            owner += previous is not None and not case.is_same_session(previous)
            previous = case
            prefix = [find(item) for item in case.prefix]
            seen = set(prefix) if options.unseen else set[int]()
            if (options.known and not prefix) or (options.unseen and case.target in case.prefix):
                continue
            scored_cases.append(Case(find(case.target), now_ms, owner, len(prefix), bool(prefix)))
            requests.append(Request(NO_ROW, prefix, now_ms, seen))
        _score(result, scored_cases, requests, competitors, history)
    return result


def leave_one_out(
    clicks: ClickStream, competitors: Sequence[Competitor], options: ProtocolOptions
) -> EvaluationResult:
    """Learn all that each shopper did before their last click, then score that on lists of the end."""
    result, history = EvaluationResult(options.k, clicks.category_of), ItemClickHistory()
    sessions = SessionTracker(options.session_gap_ms)
    last = _last_of_each(clicks)
    clicked_by = _learn_stream(clicks, competitors, sessions, history, until=last)
    now_ms = clicks.at_ms[-1] if len(clicks) else 0
    held_out = sorted(number for shopper, number in last.items() if shopper in clicked_by)
    for start in range(0, len(held_out), SPLIT_BATCH):
        scored_cases: list[Case] = []
        requests: list[Request] = []
        for number in held_out[start : start + SPLIT_BATCH]:
            shopper, item = clicks.shopper[number], clicks.item[number]
            seen = clicked_by[shopper] if options.unseen else set[int]()
            if item in seen:
                continue
            session = sessions.items_of(shopper)
            scored_cases.append(Case(item, now_ms, shopper, len(session), True))
            requests.append(Request(shopper, session, now_ms, seen))
        _score(result, scored_cases, requests, competitors, history)
    return result


def _last_of_each(clicks: ClickStream) -> dict[int, int]:
    """The number of each shopper's last click of the scored kind."""
    last: dict[int, int] = {}
    for number, (shopper, kind) in enumerate(zip(clicks.shopper, clicks.kind, strict=True)):
        if kind == clicks.scored_kind:
            last[shopper] = number
    return last


def _learn_stream(
    clicks: ClickStream,
    competitors: Sequence[Competitor],
    sessions: SessionTracker,
    history: ItemClickHistory,
    until: Mapping[int, int] | None = None,
) -> dict[int, set[int]]:
    """Learn the stream, of a shopper only up to `until` a click, by number; gives what each had."""
    clicked_by: dict[int, set[int]] = {}
    scored_kind = clicks.scored_kind
    for number, click in enumerate(clicks):
        if until is not None and number >= until.get(click.shopper, number + 1):
            continue
        session = sessions.current_session(click)
        for competitor in competitors:
            competitor.learn(click, session)
        history.count(click.item, click.at_ms)
        clicked_by.setdefault(click.shopper, set()).add(click.item)
        if click.kind == scored_kind:
            session.items.append(click.item)
    return clicked_by


def _score(
    result: EvaluationResult,
    cases: Sequence[Case],
    requests: Sequence[Request],
    competitors: Sequence[Competitor],
    history: ItemClickHistory,
) -> None:
    """Score cases on lists made now, one request a case."""
    for case, lists in zip(cases, recommend_all(competitors, requests, result.k), strict=True):
        result.add(case, lists, history)


def recommend_all(
    competitors: Sequence[Competitor], requests: Sequence[Request], k: int
) -> Sequence[Lists]:
    """For each request the lists of all rivals together."""
    answers = [competitor.recommend(requests, k) for competitor in competitors]
    return [
        {name: listed for lists in of_request for name, listed in lists.items()}
        for of_request in zip(*answers, strict=True)
    ]


def _expected(clicks: ClickStream, scored_kind: int, warm: int) -> bytearray:
    """After which clicks a list is going to be scored; others are not made, which saves their time."""
    expected = bytearray(len(clicks))
    next_of: dict[int, int] = {}
    for number in reversed(range(len(clicks))):
        next_number = next_of.get(clicks.shopper[number])
        if next_number is not None and next_number >= warm:
            expected[number] = clicks.kind[next_number] == scored_kind
        next_of[clicks.shopper[number]] = number
    return expected
