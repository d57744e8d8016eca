"""When each item was last seen, so that the ones longest unseen can give way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.tables.array_ops import grow
from operators.tables.table import Table, TableState
from state.dirty_rows import DirtyRows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.tables.table import Arrays
    from state.arrays import Rows, Times


class LastSeen(TableState):
    """The newest event time of each row, at_ms int64[rows]; 0 for one never seen."""

    def __init__(self) -> None:
        self.at_ms: Times = np.empty(0, np.int64)
        self._rows = 0
        self._dirty_rows = DirtyRows()

    def update(self, rows: Rows, at_ms: Times) -> None:
        """Rows were seen, n of them, repeats allowed."""
        if not len(rows):
            return
        self._rows = max(self._rows, int(rows.max()) + 1)
        self.at_ms = grow(self.at_ms, self._rows, 0)
        self._dirty_rows.ensure_rows(self._rows)
        self._dirty_rows.mark(rows)
        np.maximum.at(self.at_ms, rows, at_ms)

    def remove_rows(self, rows: Rows) -> None:
        """These rows were never seen."""
        rows = rows[rows < self._rows]
        self.at_ms[rows] = 0
        self._dirty_rows.mark(rows)

    def tables(self) -> Sequence[Table]:
        """The time of each row."""
        return [Table({"at_ms": self.at_ms[: self._rows]}, self._dirty_rows)]

    def restore(self, arrays: Arrays) -> None:
        """Take over what `arrays` gave; nothing is in those of the first release."""
        self.at_ms = arrays.get("at_ms", np.empty(0)).astype(np.int64)
        self._rows = len(self.at_ms)
        self._dirty_rows = DirtyRows(self._rows)


def least_recent(live: Rows, at_ms: Times, limit: int) -> Rows:
    """Of live rows those to give way where there are more than `limit`: the ones seen longest ago.

    One in twenty goes beyond what has to, so that it is rare.

    >>> least_recent(np.array([0, 1, 2]), np.array([5, 3, 9]), limit=2).tolist()
    [1]
    """
    if len(live) <= limit:
        return live[:0]
    last_seen_ms = np.zeros(int(live.max()) + 1, np.int64)
    last_seen_ms[: len(at_ms)] = at_ms[: len(last_seen_ms)]
    order = last_seen_ms[live].argsort(kind="stable")
    return live[order[: len(live) - limit + limit // 20]]
