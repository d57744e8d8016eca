"""RFM: recency, frequency and monetary value of each shopper, scored against all buyers.

Scores are percentiles: of the last purchase, of the number of orders, of their total value. The
quantiles are exact and taken over all buyers: with few buyers in every batch that has an order, so
that results do not depend on batches; with many every `every_min` minutes. A buyer is scored at
once, all others in slices after the quantiles changed. So an inactive shopper sinks while others
buy. With very many shoppers the quantiles of each dimension are taken in a batch of their own; a
sketch would cost less but not be exact. The end of a recording scores all shoppers by all orders.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.tables.array_ops import grow
from operators.tables.table import Table, TableState
from state.dirty_rows import DirtyRows
from state.segments import RFM_GRID, RFM_NAMES
from state.times import MINUTE_MS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from operators.tables.table import Arrays
    from state import config
    from state.arrays import Rows

    Scores = NDArray[np.int16]

SLICE_ROWS = 65_536
MOVES_PER_BATCH = 2048
"""Shoppers scored in one batch, and the most of them that change their segment."""

SINGLE_BATCH_ROWS = 131_072
"""Up to so many shoppers one batch takes the quantiles of all three dimensions."""

FEW_BUYERS = 16_384
"""Up to so many buyers (of at most `SINGLE_BATCH_ROWS` shoppers) each batch with an order takes
quantiles: 1 ms."""

_SCHEMES = {"quintiles": ((20, 40, 60, 80), (1, 2, 3, 4, 5)), "top-bottom": ((20, 80), (1, 3, 5))}
"""The percentiles between scores, and the scores."""
_IDLE = -1


def name_of(score: int) -> str:
    """Return the segment name of a score such as 543.

    Frequency and monetary value count as one, their mean rounded up.

    >>> name_of(555), name_of(511), name_of(111), name_of(155)
    ('champions', 'new', 'lost', 'cannot-lose')
    """
    r, f, m = score // 100, score // 10 % 10, score % 10
    return RFM_GRID[5 - r][(f + m + 1) // 2 - 1]


_INDEX_OF_SCORE = np.full(556, -1, np.int16)
for _score in range(111, 556):
    if all(digit in "12345" for digit in str(_score)):
        _INDEX_OF_SCORE[_score] = list(RFM_NAMES).index(name_of(_score))


class Rfm(TableState):
    """bought int64[rows, 3]: last purchase (ms), orders, value in millionths; score int16[rows], 0
    for none. 26 bytes a shopper.

    `quantiles` int64[3, 4 or 2], by dimension: a value above k of them has the k-th score.
    """

    def __init__(self, settings: config.Rfm) -> None:
        percentiles, self._points = _SCHEMES[settings.scheme]
        self._percentiles = np.array(percentiles)
        self._every_ms = settings.every_min * MINUTE_MS
        self._buyers_min = settings.buyers_min
        self._rows = 0
        self._bought = np.zeros((0, 3), np.int64)
        self.score: Scores = np.zeros(0, np.int16)
        self.quantiles: NDArray[np.int64] = np.zeros((3, 0), np.int64)
        self.due_ms = 0
        self._cursor = _IDLE
        self._partial_quantiles: list[NDArray[np.int64]] = []
        self._dirty_rows = DirtyRows()
        self._has_new_orders = True
        """Whether there were orders since the quantiles were taken. Not stored: equal quantiles
        change nothing."""

    def update(self, rows: Rows, bought: NDArray[np.int64]) -> None:
        """Store what shoppers bought so far, int64[n, 3], and score them by the current
        quantiles."""
        self.ensure_rows(int(rows.max(initial=-1)) + 1)
        self._has_new_orders = self._has_new_orders or bool((self._bought[rows] != bought).any())
        self._bought[rows] = bought
        self.rescore(rows)

    def rescore(self, rows: Rows) -> None:
        """Score these rows by the current quantiles."""
        self.score[rows] = self._compute_scores(self._bought[rows])
        self._dirty_rows.mark(rows)

    def remove_shoppers(self, rows: Rows) -> None:
        """Clear the rows of these shoppers."""
        rows = rows[rows < self._rows]
        self._has_new_orders = self._has_new_orders or bool(self._bought[rows].any())
        self._bought[rows] = 0
        self.score[rows] = 0
        self._dirty_rows.mark(rows)

    def refresh_quantiles(self, now_ms: int, *, last: bool = False) -> bool:
        """Take new quantiles if it is due, with `last` in any case. Returns whether they
        changed."""
        if self._cursor != _IDLE or not (last or self._is_due(now_ms)):
            return False
        bought = self._bought[: self._rows]
        buys = bought[:, 1] > 0
        buyers = int(np.count_nonzero(buys))
        if buyers < self._buyers_min:
            return self._set_quantiles([np.zeros(0, np.int64)] * bought.shape[1], now_ms)
        # The smallest value that so many of a hundred buyers do not exceed.
        at = np.maximum(-(-self._percentiles * buyers // 100) - 1, 0)
        first, columns = len(self._partial_quantiles), bought.shape[1]
        until = first + 1 if self._rows > SINGLE_BATCH_ROWS and not last else columns
        for column in range(first, until):
            self._partial_quantiles.append(np.partition(bought[buys, column], at)[at])
        return until == columns and self._set_quantiles(self._partial_quantiles, now_ms)

    def advance(self, now_ms: int, *, last: bool = False) -> Iterator[Rows]:
        """Yield rows whose score changed: one slice; with `last` all, by all orders."""
        self.refresh_quantiles(now_ms)
        if len(rows := self.rescore_slice()):
            yield rows
        if not last:
            return
        yield from self._rescore_remaining()
        if self.refresh_quantiles(now_ms, last=True):
            yield from self._rescore_remaining()

    def _rescore_remaining(self) -> Iterator[Rows]:
        while self._cursor != _IDLE:
            if len(rows := self.rescore_slice()):
                yield rows

    def _is_due(self, now_ms: int) -> bool:
        if now_ms >= self.due_ms or self._partial_quantiles:
            return True
        if not self._has_new_orders or self._rows > SINGLE_BATCH_ROWS:
            return False
        return int(np.count_nonzero(self._bought[: self._rows, 1])) <= FEW_BUYERS

    def _set_quantiles(self, quantiles: Sequence[NDArray[np.int64]], now_ms: int) -> bool:
        """Set the quantiles. Returns whether they changed."""
        previous, self.quantiles, self._partial_quantiles = self.quantiles, np.stack(quantiles), []
        self.due_ms = now_ms - now_ms % self._every_ms + self._every_ms
        self._has_new_orders = False
        if previous.shape == self.quantiles.shape and (previous == self.quantiles).all():
            return False
        self._cursor = 0
        return True

    def rescore_slice(self) -> Rows:
        """Score a slice by the new quantiles. Returns the rows whose score changed."""
        if self._cursor == _IDLE:
            return np.empty(0, np.int32)
        end = min(self._cursor + SLICE_ROWS, self._rows)
        score = self._compute_scores(self._bought[self._cursor : end])
        changed = np.flatnonzero(score != self.score[self._cursor : end])[:MOVES_PER_BATCH]
        rows = (changed + self._cursor).astype(np.int32)
        self.score[rows] = score[changed]
        self._dirty_rows.mark(rows)
        self._cursor = int(rows[-1]) + 1 if len(changed) == MOVES_PER_BATCH else end
        if self._cursor >= self._rows:
            self._cursor = _IDLE
        return rows

    def scores(self, rows: Rows) -> Scores:
        """Return the score of each row, 0 for none."""
        return self.score[rows]

    def segment_indexes(self, rows: Rows) -> Scores:
        """Return the segment of each row as its index in `RFM_NAMES`, NO_ROW for none."""
        return _INDEX_OF_SCORE[self.score[rows]]

    def tables(self) -> Sequence[Table]:
        """What each shopper bought."""
        columns: Arrays = {"bought": self._bought[: self._rows], "score": self.score[: self._rows]}
        return [Table(columns, self._dirty_rows)]

    def scalars(self) -> Arrays:
        """The quantiles, and how far they were applied."""
        return {"limits": self.quantiles, "round": np.array([self.due_ms, self._cursor])}

    def restore(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Restore what `arrays` returned, or nothing from an older release."""
        self._bought = arrays.get("bought", np.zeros((0, 3))).astype(np.int64)
        self.score = arrays.get("score", np.zeros(0)).astype(np.int16)
        self._rows = len(self.score)
        self._dirty_rows = DirtyRows(self._rows)
        if "limits" in arrays:
            self.quantiles = arrays["limits"].astype(np.int64)
            self.due_ms, self._cursor = arrays["round"].astype(np.int64).tolist()
            if self.quantiles.shape[1] not in (0, len(self._percentiles)):  # another scheme
                self.quantiles, self.due_ms, self._cursor = np.zeros((3, 0), np.int64), 0, _IDLE

    def _compute_scores(self, bought: NDArray[np.int64]) -> Scores:
        scores = np.zeros(len(bought), np.int16)
        if not self.quantiles.shape[1]:
            return scores
        buyers = np.flatnonzero(bought[:, 1] > 0)  # few of all
        points = np.array(self._points, np.int16)
        for column, (limits, place) in enumerate(zip(self.quantiles, (100, 10, 1), strict=True)):
            above = np.searchsorted(limits, bought[buyers, column])
            scores[buyers] += points[above] * np.int16(place)
        return scores

    def ensure_rows(self, rows: int) -> None:
        """Grow to at least this many rows."""
        if rows > self._rows:
            self._bought = grow(self._bought, rows, 0)
            self.score = grow(self.score, rows, 0)
            self._dirty_rows.ensure_rows(rows)
            self._rows = rows
