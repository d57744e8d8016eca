"""Which of the lists in Redis may hold an item: what must go from them is found without reading them."""

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
"""Items are told apart by their row modulo this: one list in some thousand is rewritten for nothing."""
ITEM_LIST_TTL_S = 7 * 86_400
"""How long a list of an item stands that is not written again."""
ROWS_AT_ONCE = 65_536


class PublishedIndex(TableState):
    """What each list held when it was written: marks uint16[rows, k], at_s uint32[rows] (event time).

    A row is whose list it is, a shopper's or an item's: 2 * k + 4 bytes a row. A list lives `ttl_s`.
    """

    def __init__(self, k: int, ttl_s: int) -> None:
        self._ttl_s = ttl_s
        # Lists of another length are another column: what was written before is then not known.
        self._name = f"marks{k}"
        self._fingerprints: NDArray[np.uint16] = np.empty((0, k), np.uint16)
        self._at_s: NDArray[np.uint32] = np.empty(0, np.uint32)
        self._rows = 0
        self._dirty_rows = DirtyRows()
        self._empty_count = 0

    def store(self, rows: Rows, item: Rows, now_ms: int) -> None:
        """These rows, each at least 0, have lists of these items [n, k] now, NO_ROW-padded."""
        if not len(rows):
            return
        self._ensure_rows(int(rows.max()) + 1)
        self._empty_count -= self._count_empty(rows)
        self._fingerprints[rows] = np.where(item >= 0, item % FINGERPRINTS, FINGERPRINTS)
        self._at_s[rows] = now_ms // 1000
        self._empty_count += self._count_empty(rows)
        self._dirty_rows.mark(rows)

    def rows_with_empty_list(self, now_ms: int, limit: int) -> Rows:
        """Rows whose list was empty when it was made, at most so many, the newest first."""
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
        """Which rows have no list, or one that is shorter than it may be."""
        known = rows < self._rows
        return (
            ~known | (self._fingerprints[np.where(known, rows, 0), -1] == FINGERPRINTS)
            if self._rows
            else ~known
        )

    def rows_containing(self, items: Rows, now_ms: int) -> tuple[Rows, Rows]:
        """The rows whose lists may hold one of some items; the list written last comes first.

        Apart from them those older than `ttl_s`: where days were read in an hour they stand yet.
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
        """There are no lists of these rows."""
        rows = rows[(rows >= 0) & (rows < self._rows)]
        self._empty_count -= self._count_empty(rows)
        self._fingerprints[rows], self._at_s[rows] = FINGERPRINTS, 0
        self._dirty_rows.mark(rows)

    def tables(self) -> Sequence[Table]:
        """What each list held, and since when it stands."""
        columns: Arrays = {
            self._name: self._fingerprints[: self._rows],
            "at_s": self._at_s[: self._rows],
        }
        return [Table(columns, self._dirty_rows)]

    def restore(self, arrays: Arrays) -> None:
        """Take over what `arrays` gave."""
        if self._name not in arrays:
            return
        self._fingerprints = arrays[self._name].astype(np.uint16)
        self._at_s = arrays["at_s"].astype(np.uint32)
        self._rows = len(self._at_s)
        self._dirty_rows = DirtyRows(self._rows)
        self._empty_count = self._count_empty(np.arange(self._rows, dtype=np.int32))

    def _count_empty(self, rows: Rows) -> int:
        """How many of some rows, each once, have an empty list."""
        return int(
            np.count_nonzero((self._at_s[rows] > 0) & (self._fingerprints[rows, 0] == FINGERPRINTS))
        )

    def _ensure_rows(self, rows: int) -> None:
        if rows > self._rows:
            self._fingerprints = grow(self._fingerprints, rows, FINGERPRINTS)
            self._at_s = grow(self._at_s, rows, 0)
            self._dirty_rows.ensure_rows(rows)
            self._rows = rows
