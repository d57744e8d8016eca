"""Which cases are scored, on which list, and what has been learned by then.

prequential  In time order; the list that is scored on a click is the one made right after the
             shopper's click before it, as a storefront would have read it. Then the click is learned.
             Without a click before (a new shopper), the list is made for a stranger, there and then.
split        A stream is learned once, then cases (prefix, target) are scored and never learned.

Views are cases; carts and purchases are learned from, not scored (in a stream without views they take
their place). Repeats count and the current item may be listed, unless `unseen`: then lists leave out
what the shopper had, and a click on such an item is no case. With `known` a shopper's first click, or
an empty prefix, is no case.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, Protocol

from operators.evaluation.clicks import SESSION_GAP_MS, Sessions
from operators.evaluation.metrics import SelfInformation, Tally, rank_of
from state.interactions import NOBODY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence, Set

    from operators.evaluation.clicks import Click, Clicks, Session
    from operators.evaluation.formats import RawCase

    Lists = Mapping[str, Sequence[int]]

BLEND = "blend"
"""The name under which a rival gives the list that a storefront would read."""

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
    """What is a case and what may be listed."""

    k: int = 20
    unseen: bool = False
    known: bool = False
    session_gap_ms: int | None = SESSION_GAP_MS


@dataclass
class Outcome:
    """The scores so far, by learner, and of each case when it was (ms) and who hit."""

    k: int
    tallies: dict[str, Tally] = field(default_factory=dict)
    hits: dict[str, bytearray] = field(default_factory=dict)
    at_ms: array[int] = field(default_factory=lambda: array("q"))

    def __len__(self) -> int:
        return len(self.at_ms)

    def scores(self, catalogue: int) -> dict[str, dict[str, float]]:
        """The metrics of each learner; `catalogue` is the number of items there were to list."""
        return {name: tally.report(catalogue) for name, tally in self.tallies.items()}

    def add(self, target: int, at_ms: int, lists: Lists, clicks: SelfInformation) -> None:
        """Score a case. Every case names the same learners."""
        self.at_ms.append(at_ms)
        for name, listed in lists.items():
            if name not in self.tallies:
                self.tallies[name], self.hits[name] = Tally(self.k), bytearray()
            rank = rank_of(target, listed)
            self.tallies[name].add(rank, listed, clicks.bits(listed))
            self.hits[name].append(rank > 0)


def prequential(clicks: Clicks, rivals: Sequence[Rival], rules: Rules) -> Outcome:
    """Score, then learn, click by click; all parts of the stream but the last are only learned."""
    outcome, learned = Outcome(rules.k), SelfInformation()
    sessions = Sessions(rules.session_gap_ms)
    standing: dict[int, Lists] = {}
    had: defaultdict[int, set[int]] = defaultdict(set)
    scored_kind, warm = clicks.scored_kind, clicks.starts[-1]
    awaited = _awaited(clicks, scored_kind, warm)
    for number, click in enumerate(clicks):
        shopper, item, at_ms = click.shopper, click.item, click.at_ms
        session = sessions.running(click)
        seen = had[shopper] if rules.unseen else set[int]()
        lists = standing.pop(shopper, None)
        is_scored = number >= warm and click.kind == scored_kind and item not in seen
        if is_scored and not (lists is None and rules.known):
            if lists is None:
                lists = _lists(rivals, [Request(NOBODY, (), at_ms, seen)], rules.k)[0]
            outcome.add(item, at_ms, lists, learned)
        for rival in rivals:
            rival.learn(click, session)
        learned.count(item)
        if rules.unseen:
            seen.add(item)
        if click.kind == scored_kind:
            session.items.append(item)
        if awaited[number]:
            standing[shopper] = _lists(
                rivals, [Request(shopper, session.items, at_ms, seen)], rules.k
            )[0]
    return outcome


def split(
    clicks: Clicks, cases: Iterable[RawCase], rivals: Sequence[Rival], rules: Rules
) -> Outcome:
    """Learn the stream, then score the cases as strangers whose session is the prefix."""
    outcome, learned = Outcome(rules.k), SelfInformation()
    sessions = Sessions(rules.session_gap_ms)
    scored_kind = clicks.scored_kind
    for click in clicks:
        session = sessions.running(click)
        for rival in rivals:
            rival.learn(click, session)
        learned.count(click.item)
        if click.kind == scored_kind:
            session.items.append(click.item)
    now_ms = clicks.at_ms[-1] if len(clicks) else 0
    find = clicks.items.find
    scored = iter(cases)
    while batch := list(islice(scored, SPLIT_BATCH)):
        targets, requests = [], []
        for case in batch:
            prefix = [find(item) for item in case.prefix]
            seen = set(prefix) if rules.unseen else set[int]()
            if (rules.known and not prefix) or (rules.unseen and case.target in case.prefix):
                continue
            targets.append(find(case.target))
            requests.append(Request(NOBODY, prefix, now_ms, seen))
        for target, lists in zip(targets, _lists(rivals, requests, rules.k), strict=True):
            outcome.add(target, now_ms, lists, learned)
    return outcome


def _lists(rivals: Sequence[Rival], requests: Sequence[Request], k: int) -> Sequence[Lists]:
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
