"""Baselines: plain exact tables that the product is compared with. They never serve a list.

Popularity, Markov, sequential rules (SR) and association rules (AR) as in session-rec (Ludewig and
Jannach 2018, https://arxiv.org/abs/1803.09587; github.com/rn5l/session-rec, `algorithms/baselines`),
which scores from the last item alone and keeps every item, the last one too, in the list. Without
its pruning to the 20 best: at k = 20 that changes nothing. Rules of equal score keep the order in
which they were first learned; items of equal popularity have no meaningful order. Session popularity
is the plainest rule that looks at the whole session.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Protocol

from state.arrays import NO_ROW

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence, Set

    from operators.evaluation.clicks import StreamClick
    from operators.evaluation.competitors import Request
    from operators.evaluation.sessions import ClickSession

    Context = Sequence[int]

SR_STEPS = 10
"""Items of the session that sequential rules look back: the default of session-rec."""


class Baseline(Protocol):
    """Learns one click at a time. `context` is the session's items before it, oldest first."""

    def learn(self, context: Context, item: int) -> None:
        """Learn that the session went on with this item."""

    def top(self, context: Context, k: int, without: Set[int]) -> list[int]:
        """At most k items to follow the context, best first, none of `without` among them."""


class PopularityBaseline:
    """The items with most clicks so far, the same for everybody.

    >>> learner = PopularityBaseline()
    >>> for item in [4, 5, 5]:
    ...     learner.learn([], item)
    >>> learner.top([], 2, set())
    [5, 4]
    """

    def __init__(self) -> None:
        self._clicks: dict[int, int] = {}
        self._order: list[int] = []
        self._position: dict[int, int] = {}
        self._first_with: dict[int, int] = {}

    def learn(self, context: Context, item: int) -> None:
        """Count the click; the item swaps its position with the first of its former equals."""
        clicks = self._clicks.get(item, 0)
        if not clicks:
            self._position[item] = len(self._order)
            self._order.append(item)
            self._first_with.setdefault(1, self._position[item])
        else:
            self._move_up(item, clicks)
        self._clicks[item] = clicks + 1

    def _move_up(self, item: int, clicks: int) -> None:
        """One more click moves an item before all its equals and no further, so nothing is sorted."""
        position, first = self._position[item], self._first_with[clicks]
        other = self._order[first]
        self._order[first], self._order[position] = item, other
        self._position[item], self._position[other] = first, position
        self._first_with.setdefault(clicks + 1, first)
        next_position = first + 1
        if next_position < len(self._order) and self._clicks[self._order[next_position]] == clicks:
            self._first_with[clicks] = next_position
        else:
            del self._first_with[clicks]

    def top(self, context: Context, k: int, without: Set[int]) -> list[int]:
        """The k most clicked items, whatever the context."""
        if not without:
            return self._order[:k]
        listed: list[int] = []
        for item in self._order:
            if item not in without:
                listed.append(item)
                if len(listed) == k:
                    break
        return listed


class SessionPopularity:
    """The items of the session by how often, then how lately they were clicked; then what is popular.

    >>> learner = SessionPopularity()
    >>> learner.learn([], 9)
    >>> learner.top([4, 5, 4, 6], 20, set())
    [4, 6, 5, 9]
    """

    def __init__(self) -> None:
        self._popularity = PopularityBaseline()

    def learn(self, context: Context, item: int) -> None:
        """Count the click."""
        self._popularity.learn(context, item)

    def top(self, context: Context, k: int, without: Set[int]) -> list[int]:
        """The session's own items, then the most clicked ones."""
        clicks = Counter(context)
        newest_first = dict.fromkeys(reversed(context))
        # An item that nobody clicked before is NO_ROW: no list can hold it.
        own = [item for item in newest_first if item != NO_ROW and item not in without]
        own.sort(key=clicks.__getitem__, reverse=True)
        if len(own) >= k:
            return own[:k]
        return own + self._popularity.top(context, k - len(own), {*without, *own})


class _RuleBaseline(ABC):
    """Scores of items to follow an item: `self.after[last][item]`."""

    def __init__(self) -> None:
        self.after: defaultdict[int, defaultdict[int, float]] = defaultdict(
            lambda: defaultdict(float)
        )
        self._ranked: dict[int, list[int]] = {}

    def learn(self, context: Context, item: int) -> None:
        """Add a click to the rules."""
        self._ranked.clear()
        self._add(context, item)

    @abstractmethod
    def _add(self, context: Context, item: int) -> None:
        """Add one click to the scores."""

    def top(self, context: Context, k: int, without: Set[int]) -> list[int]:
        """The k items with the best rules from the last item of the context."""
        if not context:
            return []
        ranked = self._ranked.get(context[-1])
        if ranked is None:
            scores: dict[int, float] = self.after.get(context[-1], {})
            ranked = sorted(scores, key=scores.__getitem__, reverse=True)
            self._ranked[context[-1]] = ranked
        if without:
            ranked = [item for item in ranked if item not in without]
        return ranked[:k]


class Markov(_RuleBaseline):
    """How often an item came right after another.

    >>> learner = Markov(); learner.learn([1, 2], 3); learner.top([2], 20, set())
    [3]
    """

    def _add(self, context: Context, item: int) -> None:
        """One transition more from the last item."""
        if context:
            self.after[context[-1]][item] += 1


class SequentialRules(_RuleBaseline):
    """How often and how soon an item came after another in a session: 1/distance, 10 steps back.

    >>> learner = SequentialRules(); learner.learn([1, 2], 3); dict(learner.after[1])
    {3: 0.5}
    """

    def _add(self, context: Context, item: int) -> None:
        """A rule from each of the last items to this one."""
        for distance, earlier in enumerate(reversed(context[-SR_STEPS:]), start=1):
            self.after[earlier][item] += 1 / distance


class AssociationRules(_RuleBaseline):
    """How often two items were in one session, whichever came first.

    >>> learner = AssociationRules(); learner.learn([1], 3); learner.top([3], 20, set())
    [1]
    """

    def _add(self, context: Context, item: int) -> None:
        """A rule from and to each item of the session so far."""
        for earlier in context:
            self.after[item][earlier] += 1
            self.after[earlier][item] += 1


BASELINES: Mapping[str, Callable[[], Baseline]] = {
    "popularity": PopularityBaseline,
    "markov": Markov,
    "sr": SequentialRules,
    "ar": AssociationRules,
    "session-popularity": SessionPopularity,
}
"""The baselines by their names in a report."""


class BaselineCompetitor:
    """A baseline as a competitor: it learns clicks of the scored kind only."""

    def __init__(self, name: str, kind: int) -> None:
        self._name = name
        self._kind = kind
        self._learner = BASELINES[name]()

    def learn(self, click: StreamClick, session: ClickSession) -> None:
        """Learn a click of the scored kind."""
        if click.kind == self._kind:
            self._learner.learn(session.items, click.item)

    def recommend(self, requests: Sequence[Request], k: int) -> list[dict[str, list[int]]]:
        """The baseline's list, for each request."""
        top, name = self._learner.top, self._name
        return [{name: top(request.session, k, request.without)} for request in requests]
