"""What the lists in Redis held when they were published: lists with an item are found without reading
Redis.

The names of the arrays are stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.tables.array_ops import grow
from operators.tables.table import Table, TableState
from state.dirty_rows import DirtyRows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.tables.table import Arrays
    from state.arrays import Rows

FINGERPRINTS = 0xFFFF
"""An item is kept as its row modulo this: one list in some thousand is rewritten without need."""
ITEM_LIST_TTL_S = 7 * 86_400
"""A list of an item that is not published again expires after this time."""
ROWS_AT_ONCE = 65_536


class PublishedIndex(TableState):
    """The items of each published list as fingerprints, and when it was published.

    fingerprints uint16[rows, k], at_s uint32[rows] (event time): 2 * k + 4 bytes a row. A row is the
    owner of the list, a shopper or an item. A list expires after `ttl_s`.
    """

    def __init__(self, k: int, ttl_s: int) -> None:
        self._ttl_s = ttl_s
        # Lists of another length have another name: the ones published before are then unknown.
        self._name = f"marks{k}"
        self._fingerprints: NDArray[np.uint16] = np.empty((0, k), np.uint16)
        self._at_s: NDArray[np.uint32] = np.empty(0, np.uint32)
        self._rows = 0
        self._dirty_rows = DirtyRows()
        self._empty_count = 0

    def store(self, rows: Rows, item: Rows, now_ms: int) -> None:
        """Lists of items [n, k], NO_ROW-padded, were published for these rows."""
        if not len(rows):
            return
        self._ensure_rows(int(rows.max()) + 1)
        self._empty_count -= self._count_empty(rows)
        self._fingerprints[rows] = np.where(item >= 0, item % FINGERPRINTS, FINGERPRINTS)
        self._at_s[rows] = now_ms // 1000
        self._empty_count += self._count_empty(rows)
        self._dirty_rows.mark(rows)

    def rows_with_empty_list(self, now_ms: int, limit: int) -> Rows:
        """Rows whose published list was empty, at most `limit`, the newest first."""
        if not self._empty_count:
            return np.empty(0, np.int32)
        since_s = max(0, now_ms // 1000 - self._ttl_s)
        rows = np.flatnonzero(
            (self._fingerprints[: self._rows, 0] == FINGERPRINTS)
            & (self._at_s[: self._rows] > since_s)
        )
        newest_first = np.argsort(-self._at_s[rows].astype(np.int64), kind="stable")
        return rows[newest_first[:limit]].astype(np.int32)

    def are_short(self, rows: Rows) -> NDArray[np.bool_]:
        """bool[n]: rows without a list or with a list of less than k items."""
        known = rows < self._rows
        return (
            ~known | (self._fingerprints[np.where(known, rows, 0), -1] == FINGERPRINTS)
            if self._rows
            else ~known
        )

    def rows_containing(self, items: Rows, now_ms: int) -> tuple[Rows, Rows]:
        """The rows whose lists may hold one of these items, the newest list first.

        Returned apart: those older than `ttl_s`. In a fast replay they are still in Redis.
        """
        wanted = np.zeros(FINGERPRINTS + 1, np.bool_)
        wanted[items % FINGERPRINTS] = True
        since_s = max(0, now_ms // 1000 - self._ttl_s)
        chunks = []
        for start in range(0, self._rows, ROWS_AT_ONCE):
            part = slice(start, min(start + ROWS_AT_ONCE, self._rows))
            chunks.append(start + np.flatnonzero(wanted[self._fingerprints[part]].any(axis=1)))
        rows_found = np.concatenate(chunks) if chunks else np.empty(0, np.intp)
        newest_first = np.argsort(-self._at_s[rows_found].astype(np.int64), kind="stable")
        rows = np.asarray(rows_found[newest_first], np.int32)
        is_live = self._at_s[rows] > since_s
        return rows[is_live], rows[~is_live]

    def remove_rows(self, rows: Rows) -> None:
        """Forget the lists of these rows."""
        rows = rows[(rows >= 0) & (rows < self._rows)]
        self._empty_count -= self._count_empty(rows)
        self._fingerprints[rows], self._at_s[rows] = FINGERPRINTS, 0
        self._dirty_rows.mark(rows)

    def tables(self) -> Sequence[Table]:
        """The fingerprints and the time of each list."""
        columns: Arrays = {
            self._name: self._fingerprints[: self._rows],
            "at_s": self._at_s[: self._rows],
        }
        return [Table(columns, self._dirty_rows)]

    def restore(self, arrays: Arrays) -> None:
        """Go on from the arrays of a snapshot."""
        if self._name not in arrays:
            return
        self._fingerprints = arrays[self._name].astype(np.uint16)
        self._at_s = arrays["at_s"].astype(np.uint32)
        self._rows = len(self._at_s)
        self._dirty_rows = DirtyRows(self._rows)
        self._empty_count = self._count_empty(np.arange(self._rows, dtype=np.int32))

    def _count_empty(self, rows: Rows) -> int:
        """The number of these rows, each given once, whose list is empty."""
        return int(
            np.count_nonzero((self._at_s[rows] > 0) & (self._fingerprints[rows, 0] == FINGERPRINTS))
        )

    def _ensure_rows(self, rows: int) -> None:
        if rows > self._rows:
            self._fingerprints = grow(self._fingerprints, rows, FINGERPRINTS)
            self._at_s = grow(self._at_s, rows, 0)
            self._dirty_rows.ensure_rows(rows)
            self._rows = rows


class ShopperListIndex(PublishedIndex):
    """The index of the lists of shoppers."""

    def merge(self, row: int, into: int) -> None:
        """The list of a merged shopper is deleted."""
        self.remove_rows(np.array([row], np.int32))

    def remove_shoppers(self, rows: Rows) -> None:
        """There are no lists of these shoppers."""
        self.remove_rows(rows)
