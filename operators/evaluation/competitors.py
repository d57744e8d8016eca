"""What is evaluated: the contract of a competitor, the requests it answers, and the options of a
protocol."""

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
"""The name under which a rival gives the list that a storefront would read."""


OTHER_CONFIGURATION = "against"
"""That of the list which another configuration gives."""


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


def recommend_all(
    competitors: Sequence[Competitor], requests: Sequence[Request], k: int
) -> Sequence[Lists]:
    """For each request the lists of all rivals together."""
    answers = [competitor.recommend(requests, k) for competitor in competitors]
    return [
        {name: listed for lists in of_request for name, listed in lists.items()}
        for of_request in zip(*answers, strict=True)
    ]
