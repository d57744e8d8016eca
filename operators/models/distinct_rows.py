"""Which rows a block of events is about, so that each of them is gathered and moved once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.tables.top_partners import run_starts
from state.interactions import NOBODY

if TYPE_CHECKING:
    from state.interactions import Rows


class Different:
    """Finds the different rows of a block. What it remembers is scratch, no state."""

    def __init__(self) -> None:
        self._at: Rows = np.empty(0, np.int32)

    def grow(self, n: int) -> None:
        """Make room for rows below n."""
        if n > len(self._at):
            self._at = np.empty(max(n, 2 * len(self._at)), np.int32)

    def of(self, held: Rows, near: Rows) -> tuple[Rows, Rows, int]:
        """The different rows, those of `held` first; where each of `held` and `near` stands among them;
        and how many of them `held` has.

        >>> different = Different(); different.grow(10)
        >>> rows, at, n = different.of(np.array([7, 2, 7], np.int32), np.array([4, 2], np.int32))
        >>> rows.tolist(), at.tolist(), n
        ([2, 7, 4], [1, 0, 1, 2, 0], 2)
        """
        at = self._at
        at[near] = NOBODY
        rows = _once(held)
        at[rows] = np.arange(len(rows))
        others = _once(near[at[near] < 0])
        at[others] = np.arange(len(rows), len(rows) + len(others))
        return np.concatenate([rows, others]), at.take(np.concatenate([held, near])), len(rows)


def _once(rows: Rows) -> Rows:
    """The different rows, ascending."""
    rows = np.sort(rows)
    return rows[run_starts(rows)]
