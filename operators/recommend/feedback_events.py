"""Feedback on items as columns: put back or returned, seen in a list, clicked in a list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from state.arrays import Rows, Times

NEGATIVE, IMPRESSION, CLICK = 0, 1, 2
"""Kinds: put back or refunded; seen in a list; clicked in a list."""


FEEDBACK_KIND = {
    "cart_remove": NEGATIVE,
    "refund": NEGATIVE,
    "reco_view": IMPRESSION,
    "reco_click": CLICK,
}


@dataclass(slots=True)
class FeedbackEvents:
    """n events in order of arrival: rows, kind, event time (ms), position in the list from 0."""

    shopper: Rows
    item: Rows
    kind: NDArray[np.int8]
    at_ms: Times
    position: Rows

    def of_kind(self, kind: int) -> FeedbackEvents:
        """The events of one kind."""
        rows = self.kind == kind
        return FeedbackEvents(
            self.shopper[rows],
            self.item[rows],
            self.kind[rows],
            self.at_ms[rows],
            self.position[rows],
        )
