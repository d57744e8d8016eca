"""RFM: how lately, how often and for how much each shopper bought, against all who ever did.

Scores are percentiles: of the last purchase, of the number of orders, of what they are worth in all.
The limits between them are taken exactly, of all buyers: while there are few with every batch in which
somebody bought, so that batches do not show; of many every so often. Whoever buys is scored at once,
everybody else in slices after new limits were taken. So a shopper who does nothing sinks while others
buy. Of very many the limits of one thing are taken after those of the other, a batch each; a sketch
would take less and not be exact. The end of a recording scores everybody by all that was bought.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.tables.table import Kept, Table
from operators.tables.top_partners import grown
from state.dirty_rows import Marks
from state.segments import RFM_GRID, RFM_NAMES
from state.times import MINUTE_MS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from operators.tables.table import Arrays
    from state import config
    from state.interactions import Rows

    Scores = NDArray[np.int16]

SLICE_ROWS = 65_536
MOVES_A_BATCH = 2048
"""Shoppers looked at and moved at once after new limits were taken."""

AT_ONCE_ROWS = 131_072
"""Up to so many shoppers all limits are taken with one batch."""

FEW_BUYERS = 16_384
"""Up to so many buyers (of at most `AT_ONCE_ROWS` shoppers) limits are new with every order, 1 ms."""

_SCHEMES = {"quintiles": ((20, 40, 60, 80), (1, 2, 3, 4, 5)), "top-bottom": ((20, 80), (1, 3, 5))}
"""Percentiles between scores, and the scores."""
_IDLE = -1


def name_of(score: int) -> str:
    """The name of a score such as 543.

    Frequency and money count as one, their mean rounded up.

    >>> name_of(555), name_of(511), name_of(111), name_of(155)
    ('champions', 'new', 'lost', 'cannot-lose')
    """
    r, f, m = score // 100, score // 10 % 10, score % 10
    return RFM_GRID[5 - r][(f + m + 1) // 2 - 1]


_PLACE = np.full(556, -1, np.int16)
for _score in range(111, 556):
    if all(digit in "12345" for digit in str(_score)):
        _PLACE[_score] = list(RFM_NAMES).index(name_of(_score))


class Rfm(Kept):
    """bought int64[rows, 3]: last purchase (ms), orders, worth in millionths; score int16[rows], 0 for
    none. 26 bytes a shopper.

    `limits` int64[3, 4 or 2], by what is scored: whoever is above so many of them has so many points.
    """

    def __init__(self, how: config.Rfm) -> None:
        percentiles, self._points = _SCHEMES[how.scheme]
        self._percentiles = np.array(percentiles)
        self._every_ms = how.every_min * MINUTE_MS
        self._buyers_min = how.buyers_min
        self._rows = 0
        self._bought = np.zeros((0, 3), np.int64)
        self.score: Scores = np.zeros(0, np.int16)
        self.limits: NDArray[np.int64] = np.zeros((3, 0), np.int64)
        self.due_ms = 0
        self._cursor = _IDLE
        self._taken: list[NDArray[np.int64]] = []
        self._marks = Marks()
        self._is_changed = True
        """Whether anybody bought since limits were taken. Not stored: the same limits change nothing."""

    def see(self, rows: Rows, bought: NDArray[np.int64]) -> None:
        """What shoppers have bought by now, int64[n, 3]; they are scored by the limits that stand."""
        self.reach(int(rows.max(initial=-1)) + 1)
        self._is_changed = self._is_changed or bool((self._bought[rows] != bought).any())
        self._bought[rows] = bought
        self.rate(rows)

    def rate(self, rows: Rows) -> None:
        """Score these by the limits that stand."""
        self.score[rows] = self._scored(self._bought[rows])
        self._marks.mark(rows)

    def forget(self, rows: Rows) -> None:
        """These shoppers were never seen."""
        rows = rows[rows < self._rows]
        self._is_changed = self._is_changed or bool(self._bought[rows].any())
        self._bought[rows] = 0
        self.score[rows] = 0
        self._marks.mark(rows)

    def round(self, now_ms: int, *, last: bool = False) -> bool:
        """Take new limits if it is time, `last` in any case; whether there are."""
        if self._cursor != _IDLE or not (last or self._is_due(now_ms)):
            return False
        bought = self._bought[: self._rows]
        buys = bought[:, 1] > 0
        buyers = int(np.count_nonzero(buys))
        if buyers < self._buyers_min:
            return self._stand([np.zeros(0, np.int64)] * bought.shape[1], now_ms)
        # The least value that so many of a hundred buyers do not exceed.
        at = np.maximum(-(-self._percentiles * buyers // 100) - 1, 0)
        first, columns = len(self._taken), bought.shape[1]
        until = first + 1 if self._rows > AT_ONCE_ROWS and not last else columns
        for column in range(first, until):
            self._taken.append(np.partition(bought[buys, column], at)[at])
        return until == columns and self._stand(self._taken, now_ms)

    def advance(self, now_ms: int, *, last: bool = False) -> Iterator[Rows]:
        """Shoppers who score differently now: a slice; the `last` time all, by all that was bought."""
        self.round(now_ms)
        if len(rows := self.moved()):
            yield rows
        if not last:
            return
        yield from self._rest()
        if self.round(now_ms, last=True):
            yield from self._rest()

    def _rest(self) -> Iterator[Rows]:
        while self._cursor != _IDLE:
            if len(rows := self.moved()):
                yield rows

    def _is_due(self, now_ms: int) -> bool:
        if now_ms >= self.due_ms or self._taken:
            return True
        if not self._is_changed or self._rows > AT_ONCE_ROWS:
            return False
        return int(np.count_nonzero(self._bought[: self._rows, 1])) <= FEW_BUYERS

    def _stand(self, limits: Sequence[NDArray[np.int64]], now_ms: int) -> bool:
        """From now on these are the limits; whether they are others than before."""
        before, self.limits, self._taken = self.limits, np.stack(limits), []
        self.due_ms = now_ms - now_ms % self._every_ms + self._every_ms
        self._is_changed = False
        if before.shape == self.limits.shape and (before == self.limits).all():
            return False
        self._cursor = 0
        return True

    def moved(self) -> Rows:
        """Score a slice by the new limits; whoever scores differently now."""
        if self._cursor == _IDLE:
            return np.empty(0, np.int32)
        end = min(self._cursor + SLICE_ROWS, self._rows)
        score = self._scored(self._bought[self._cursor : end])
        moved = np.flatnonzero(score != self.score[self._cursor : end])[:MOVES_A_BATCH]
        rows = (moved + self._cursor).astype(np.int32)
        self.score[rows] = score[moved]
        self._marks.mark(rows)
        self._cursor = int(rows[-1]) + 1 if len(moved) == MOVES_A_BATCH else end
        if self._cursor >= self._rows:
            self._cursor = _IDLE
        return rows

    def scores(self, rows: Rows) -> Scores:
        """The score of each row, 0 for none."""
        return self.score[rows]

    def places(self, rows: Rows) -> Scores:
        """The name of each row's score as its place among `RFM_NAMES`, NOBODY for none."""
        return _PLACE[self.score[rows]]

    def tables(self) -> Sequence[Table]:
        """What each shopper bought."""
        columns: Arrays = {"bought": self._bought[: self._rows], "score": self.score[: self._rows]}
        return [Table(columns, self._marks)]

    def small(self) -> Arrays:
        """Limits, and how far they were applied."""
        return {"limits": self.limits, "round": np.array([self.due_ms, self._cursor])}

    def restore(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over what `arrays` gave, or nothing from an older release."""
        self._bought = arrays.get("bought", np.zeros((0, 3))).astype(np.int64)
        self.score = arrays.get("score", np.zeros(0)).astype(np.int16)
        self._rows = len(self.score)
        self._marks = Marks(self._rows)
        if "limits" in arrays:
            self.limits = arrays["limits"].astype(np.int64)
            self.due_ms, self._cursor = arrays["round"].astype(np.int64).tolist()
            if self.limits.shape[1] not in (0, len(self._percentiles)):  # another scheme
                self.limits, self.due_ms, self._cursor = np.zeros((3, 0), np.int64), 0, _IDLE

    def _scored(self, bought: NDArray[np.int64]) -> Scores:
        if not self.limits.shape[1]:
            return np.zeros(len(bought), np.int16)
        above = (bought[:, :, None] > self.limits[None]).sum(axis=2)
        points = np.array(self._points, np.int16)[above]
        scores: Scores = (points @ np.array([100, 10, 1], np.int16)) * (bought[:, 1] > 0)
        return scores.astype(np.int16)

    def reach(self, rows: int) -> None:
        """Make room for so many rows."""
        if rows > self._rows:
            self._bought = grown(self._bought, rows, 0)
            self.score = grown(self.score, rows, 0)
            self._marks.reach(rows)
            self._rows = rows
