"""Finds the distinct rows of a block of events, so that each row is read and written once.

Change freely: nothing here is stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.tables.array_ops import run_starts
from state.arrays import NO_ROW

if TYPE_CHECKING:
    from state.arrays import Rows


class DistinctRows:
    """Finds the distinct rows of a block. It keeps one scratch array, which holds no state."""

    def __init__(self) -> None:
        self._index_of_row: Rows = np.empty(0, np.int32)

    def ensure_rows(self, n: int) -> None:
        """Extend the scratch array to rows below n."""
        if n > len(self._index_of_row):
            self._index_of_row = np.empty(max(n, 2 * len(self._index_of_row)), np.int32)

    def factorize(self, first: Rows, second: Rows) -> tuple[Rows, Rows, int]:
        """The distinct rows, those of `first` before the others; the index of each element of `first`
        and then of `second` among them; the number of distinct rows in `first`.

        >>> distinct = DistinctRows(); distinct.ensure_rows(10)
        >>> first, second = np.array([7, 2, 7], np.int32), np.array([4, 2], np.int32)
        >>> rows, index, n = distinct.factorize(first, second)
        >>> rows.tolist(), index.tolist(), n
        ([2, 7, 4], [1, 0, 1, 2, 0], 2)
        """
        index_of_row = self._index_of_row
        index_of_row[second] = NO_ROW
        rows = _unique(first)
        index_of_row[rows] = np.arange(len(rows))
        only_second = _unique(second[index_of_row[second] < 0])
        index_of_row[only_second] = np.arange(len(rows), len(rows) + len(only_second))
        index = index_of_row.take(np.concatenate([first, second]))
        return np.concatenate([rows, only_second]), index, len(rows)


def _unique(rows: Rows) -> Rows:
    """The distinct rows, ascending."""
    rows = np.sort(rows)
    return rows[run_starts(rows)]
