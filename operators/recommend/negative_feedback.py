"""Feedback against items: put back, returned, or shown again and again without a click.

Three features of each shopper and item, which the blend learns to weigh. Bounded; everything decays. The
names of the arrays are stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.recommend.feedback_events import CLICK, IMPRESSION, NEGATIVE, FeedbackEvents
from operators.tables.array_ops import grow
from operators.tables.bounded_pairs import BoundedPairs
from operators.tables.decay_clock import DecayClock, decay
from operators.tables.table import Table, TableState, strip_prefix
from state.arrays import NO_ROW
from state.dirty_rows import DirtyRows
from state.times import DAY_MS, NEVER_SEEN_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.kernels.ranking.blend import Feedback
    from operators.tables.table import Arrays
    from state.arrays import Rows, Times, Weights
    from state.interactions import Interactions, ListRequests

PAIRS_MAX = 500_000
"""Pairs of either kind, 20 bytes each."""
HALF_LIFE_MS = 7 * DAY_MS
"""After a week the same item is worth another look."""
POSITIONS_MAX = 100
"""Positions that differ in exposure; later ones count as the last."""
PRIOR_CLICKS = 3.0
"""An item counts as average until it has about so many expected clicks."""
FEEDBACK_FEATURES = ("turned_down", "passed_over", "liked")
"""Features of an item and a shopper: how often turned down; the logarithm of impressions without a
click; and, over all shoppers, the logarithm of the item's clicks over the expected clicks."""
FEEDBACK_PRIOR_WEIGHTS = (-1.0, -0.2, 0.5)
"""Their weights in the blend before anything is learned."""


def no_feedback(requests: int) -> Feedback:
    """The columns where there is no feedback."""
    starts, no_items = np.zeros(requests + 1, np.int64), np.empty(0, np.int32)
    none, zero = np.empty(0, np.float32), np.float32(0)
    return starts, no_items, none, starts, no_items, none, none, none, zero, zero


class NegativeFeedback(TableState):
    """Feedback against items, for each shopper and over all shoppers.

    Clicks over expected clicks (Zhang and Jones, "Comparing click logs and editorial labels for training
    query rewriting", WWW 2007): an item is expected to be clicked as often as other items in its
    positions.

    clicks, exposure float32[items]; a position counts 1/log2(1 + position from 1), the discount of DCG.
    """

    def __init__(self) -> None:
        self.turned_down = BoundedPairs(PAIRS_MAX, ways=8, half_life_ms=HALF_LIFE_MS)
        self.impressions = BoundedPairs(PAIRS_MAX, ways=32, half_life_ms=HALF_LIFE_MS)
        self.clock = DecayClock(HALF_LIFE_MS)
        self._columns: dict[str, Weights] = {
            name: np.empty(0, np.float32) for name in ("clicks", "exposure")
        }
        self._items = 0
        self._dirty_rows = DirtyRows()
        self._last_ms = 0

    @property
    def is_empty(self) -> bool:
        """Whether there is no feedback at all."""
        return not (len(self.turned_down) or len(self.impressions) or self._items)

    def observe(self, feedback: FeedbackEvents) -> None:
        """Learn feedback of known shoppers on known items."""
        negative = feedback.of_kind(NEGATIVE)
        self.turned_down.add(
            negative.shopper, negative.item, np.ones(len(negative.item), np.float32), negative.at_ms
        )
        impressions = feedback.of_kind(IMPRESSION)
        if len(impressions.item):
            self._count_impressions(impressions)
        clicked = feedback.of_kind(CLICK)
        self._count_clicks(clicked.shopper, clicked.item, clicked.at_ms)

    def learn(self, batch: Interactions) -> None:
        """A view of an item that was shown is a click; a view of an item that was put back takes that
        back."""
        if len(self.impressions):
            self._count_clicks(batch.shopper, batch.item, batch.at_ms)
        if len(self.turned_down):
            _, since_ms = self.turned_down.get(batch.shopper, batch.item)
            is_later = (since_ms != NEVER_SEEN_MS) & (batch.at_ms > since_ms)
            if is_later.any():
                self.turned_down.remove(batch.shopper[is_later], batch.item[is_later])

    def columns(self, requests: ListRequests) -> Feedback:
        """What the blend needs to know of the shoppers of requests, and of all items."""
        turned_down = self.turned_down.lookup(requests.shopper, requests.now_ms)
        shown = self.impressions.lookup(requests.shopper, requests.now_ms)
        clicks, exposure = (column[: self._items] for column in self._columns.values())
        rate = prior = np.float32(0)
        if self._items:
            rate = np.float32(clicks.sum() / max(float(exposure.sum()), _TINY))
            # Stored counts grow with the clock, and so does the prior.
            scale = self.clock.encode_scale(np.array([self._last_ms]))[0]
            prior = np.float32(PRIOR_CLICKS) * scale
        return (
            *(turned_down.starts, turned_down.item, turned_down.weight),
            *(shown.starts, shown.item, shown.weight),
            *(clicks, exposure, rate, prior),
        )

    def remove_shoppers(self, rows: Rows) -> None:
        """Remove the feedback of these shoppers."""
        self.turned_down.remove_shoppers(rows)
        self.impressions.remove_shoppers(rows)

    def remove_items(self, rows: Rows) -> None:
        """Remove the feedback on these items."""
        self.turned_down.remove_items(rows)
        self.impressions.remove_items(rows)
        rows = rows[rows < self._items]
        for column in self._columns.values():
            column[rows] = 0
        self._dirty_rows.mark(rows)

    def merge(self, row: int, into: int) -> None:
        """Move a shopper's feedback to the row they are merged into; NO_ROW erases it."""
        if row != NO_ROW:
            self.turned_down.merge(row, into)
            self.impressions.merge(row, into)

    def tables(self) -> Sequence[Table]:
        """The pairs of shopper and item; clicks and exposure of items."""
        columns = {name: column[: self._items] for name, column in self._columns.items()}
        return [
            Table(columns, self._dirty_rows),
            *(one.prefixed("turned_down/") for one in self.turned_down.tables()),
            *(one.prefixed("shown/") for one in self.impressions.tables()),
        ]

    def scalars(self) -> Arrays:
        """The clock of the decay, and the newest time."""
        return {"origin_ms": self.clock.to_array(), "last_ms": np.array([self._last_ms])}

    def restore(self, arrays: Arrays) -> None:
        """Go on from the arrays of a snapshot."""
        self._columns = {name: arrays[name].astype(np.float32) for name in self._columns}
        self._items = len(self._columns["clicks"])
        self._dirty_rows = DirtyRows(self._items)
        self.clock.restore(arrays["origin_ms"])
        self.turned_down.restore(strip_prefix("turned_down/", arrays))
        self.impressions.restore(strip_prefix("shown/", arrays))
        self._last_ms = int(arrays["last_ms"][0])

    def _count_impressions(self, shown: FeedbackEvents) -> None:
        self.impressions.add(
            shown.shopper, shown.item, np.ones(len(shown.item), np.float32), shown.at_ms
        )
        self._add_to_column(
            "exposure",
            shown.item,
            _DISCOUNT[np.clip(shown.position, 0, POSITIONS_MAX - 1)],
            shown.at_ms,
        )

    def _count_clicks(self, shopper: Rows, item: Rows, at_ms: Times) -> None:
        """Count one click for each item that had been shown to its shopper before."""
        if not len(shopper) or not len(self.impressions):
            return
        newest = at_ms.argsort(kind="stable")[::-1]
        pair = shopper.astype(np.int64) << 32 | item
        _, first = np.unique(pair[newest], return_index=True)
        chosen = newest[first]
        shopper, item, at_ms = shopper[chosen], item[chosen], at_ms[chosen]
        weight, since_ms = self.impressions.get(shopper, item)
        was_shown = (weight > 0) & (at_ms >= since_ms)
        if was_shown.any():
            self.impressions.remove(shopper[was_shown], item[was_shown])
            self._add_to_column(
                "clicks", item[was_shown], np.ones(int(was_shown.sum())), at_ms[was_shown]
            )

    def _add_to_column(
        self, name: str, item: Rows, gain: NDArray[np.floating], at_ms: Times
    ) -> None:
        if doublings := self.clock.advance(at_ms):
            for column in self._columns.values():
                decay(column, doublings)
            self._dirty_rows.mark_all()
        self._last_ms = max(self._last_ms, int(at_ms.max()))
        rows = int(item.max()) + 1
        if rows > self._items:
            for kind, column in self._columns.items():
                self._columns[kind] = grow(column, rows, 0)
            self._dirty_rows.ensure_rows(rows)
            self._items = rows
        gains = np.bincount(item, gain * self.clock.encode_scale(at_ms))
        self._columns[name][: len(gains)] += gains.astype(np.float32)
        self._dirty_rows.mark(item)


_TINY = float(np.finfo(np.float32).tiny)
_DISCOUNT = 1 / np.log2(2 + np.arange(POSITIONS_MAX))
