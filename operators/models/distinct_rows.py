"""Which rows a block of events is about, so that each of them is gathered and moved once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.tables.array_ops import run_starts
from state.arrays import NO_ROW

if TYPE_CHECKING:
    from state.arrays import Rows


class DistinctRows:
    """Finds the different rows of a block. What it remembers is scratch, no state."""

    def __init__(self) -> None:
        self._index_of_row: Rows = np.empty(0, np.int32)

    def ensure_rows(self, n: int) -> None:
        """Make room for rows below n."""
        if n > len(self._index_of_row):
            self._index_of_row = np.empty(max(n, 2 * len(self._index_of_row)), np.int32)

    def factorize(self, first: Rows, second: Rows) -> tuple[Rows, Rows, int]:
        """The different rows, those of `first` first; where each of `first` and `second` stands
        among them;
        and how many of them `first` has.

        >>> different = DistinctRows(); different.ensure_rows(10)
        >>> columns = np.array([7, 2, 7], np.int32), np.array([4, 2], np.int32)
        >>> rows, index_of_row, n = different.factorize(*columns)
        >>> rows.tolist(), index_of_row.tolist(), n
        ([2, 7, 4], [1, 0, 1, 2, 0], 2)
        """
        index_of_row = self._index_of_row
        index_of_row[second] = NO_ROW
        rows = _unique(first)
        index_of_row[rows] = np.arange(len(rows))
        only_second = _unique(second[index_of_row[second] < 0])
        index_of_row[only_second] = np.arange(len(rows), len(rows) + len(only_second))
        return (
            np.concatenate([rows, only_second]),
            index_of_row.take(np.concatenate([first, second])),
            len(rows),
        )


def _unique(rows: Rows) -> Rows:
    """The different rows, ascending."""
    rows = np.sort(rows)
    return rows[run_starts(rows)]
