"""What is evaluated: the contract of a competitor, its requests, and the options of a protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from operators.evaluation.sessions import SESSION_GAP_MS

if TYPE_CHECKING:
    from collections.abc import Sequence, Set

    from operators.evaluation.clicks import StreamClick
    from operators.evaluation.results import Lists
    from operators.evaluation.sessions import ClickSession

BLEND = "blend"
"""The name of the list that a storefront would read."""
OTHER_CONFIGURATION = "against"
"""The name of that list with another configuration."""


class Request(NamedTuple):
    """A request for a list: NO_ROW is an unknown shopper; `session` holds items, oldest first."""

    shopper: int
    session: Sequence[int]
    now_ms: int
    without: Set[int]


class Competitor(Protocol):
    """One or several learners under evaluation. Items and shoppers are rows of the stream."""

    def learn(self, click: StreamClick, session: ClickSession) -> None:
        """Learn a click. `session` holds the items before it; it changes after the call."""

    def recommend(self, requests: Sequence[Request], k: int) -> Sequence[Lists]:
        """The lists of at most k items of each learner, for each request. Does not learn."""


@dataclass(frozen=True)
class ProtocolOptions:
    """What is a case, and what may be in a list. The same for all protocols.

    Views are cases; carts and purchases are learned only (in a stream without views they take the place
    of views). Repeats count, and the current item may be listed, unless `unseen`: then lists leave out
    the items that the shopper had, and a click on such an item is no case. With `known` a shopper's
    first click, or an empty prefix, is no case.

    `lists_at_once` lists are made together, before the clicks they are scored on: faster, less exact.
    """

    k: int = 20
    unseen: bool = False
    known: bool = False
    session_gap_ms: int | None = SESSION_GAP_MS
    lists_at_once: int = 1


def recommend_all(
    competitors: Sequence[Competitor], requests: Sequence[Request], k: int
) -> Sequence[Lists]:
    """The lists of all competitors together, for each request."""
    answers = [competitor.recommend(requests, k) for competitor in competitors]
    return [
        {name: listed for lists in of_request for name, listed in lists.items()}
        for of_request in zip(*answers, strict=True)
    ]
