"""When each item was last seen, stored, so that the items unseen for longest can be evicted.

Use this for rows of a table that are scanned as a whole when there are too many. Related:
`operators.tables.idle_index` finds the longest idle names without a scan, `operators.tables.timers` and
`operators.tables.row_timers` find what is due at a time of its own; none of these three is stored.
"""

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
    """The newest event time of each row, at_ms int64[rows]; 0 for a row that was never seen."""

    def __init__(self) -> None:
        self.at_ms: Times = np.empty(0, np.int64)
        self._rows = 0
        self._dirty_rows = DirtyRows()

    def update(self, rows: Rows, at_ms: Times) -> None:
        """Note the times at which n rows were seen; rows may repeat."""
        if not len(rows):
            return
        self._rows = max(self._rows, int(rows.max()) + 1)
        self.at_ms = grow(self.at_ms, self._rows, 0)
        self._dirty_rows.ensure_rows(self._rows)
        self._dirty_rows.mark(rows)
        np.maximum.at(self.at_ms, rows, at_ms)

    def remove_items(self, rows: Rows) -> None:
        """Set these rows back to "never seen"."""
        rows = rows[rows < self._rows]
        self.at_ms[rows] = 0
        self._dirty_rows.mark(rows)

    def tables(self) -> Sequence[Table]:
        """The time of each row."""
        return [Table({"at_ms": self.at_ms[: self._rows]}, self._dirty_rows)]

    def restore(self, arrays: Arrays) -> None:
        """Restore what `arrays` gave. Snapshots of the first release hold no times."""
        self.at_ms = arrays.get("at_ms", np.empty(0)).astype(np.int64)
        self._rows = len(self.at_ms)
        self._dirty_rows = DirtyRows(self._rows)


def least_recent(live: Rows, at_ms: Times, limit: int) -> Rows:
    """The live rows to evict where there are more than `limit`: those seen longest ago.

    Evicts one in twenty more than needed, so that eviction is rare.

    >>> least_recent(np.array([0, 1, 2]), np.array([5, 3, 9]), limit=2).tolist()
    [1]
    """
    if len(live) <= limit:
        return live[:0]
    last_seen_ms = np.zeros(int(live.max()) + 1, np.int64)
    last_seen_ms[: len(at_ms)] = at_ms[: len(last_seen_ms)]
    order = last_seen_ms[live].argsort(kind="stable")
    return live[order[: len(live) - limit + limit // 20]]
