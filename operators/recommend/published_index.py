"""Which of the lists in Redis may hold an item: what must go from them is found without reading them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.tables.table import Kept, Table
from operators.tables.top_partners import grown
from state.dirty_rows import Marks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.tables.table import Arrays
    from state.interactions import Rows

MARKS = 0xFFFF
"""Items are told apart by their row modulo this: one list in some thousand is rewritten for nothing."""
ITEM_LIST_TTL_S = 7 * 86_400
"""How long a list of an item stands that is not written again."""
ROWS_AT_ONCE = 65_536


class Written(Kept):
    """What each list held when it was written: marks uint16[rows, k], at_s uint32[rows] (event time).

    A row is whose list it is, a shopper's or an item's: 2 * k + 4 bytes a row. A list lives `ttl_s`.
    """

    def __init__(self, k: int, ttl_s: int) -> None:
        self._ttl_s = ttl_s
        # Lists of another length are another column: what was written before is then not known.
        self._name = f"marks{k}"
        self._written: NDArray[np.uint16] = np.empty((0, k), np.uint16)
        self._at_s: NDArray[np.uint32] = np.empty(0, np.uint32)
        self._rows = 0
        self._marks = Marks()
        self._empty = 0

    def remember(self, rows: Rows, item: Rows, now_ms: int) -> None:
        """These rows, each at least 0, have lists of these items [n, k] now, NOBODY-padded."""
        if not len(rows):
            return
        self._reach(int(rows.max()) + 1)
        self._empty -= self._count_empty(rows)
        self._written[rows] = np.where(item >= 0, item % MARKS, MARKS)
        self._at_s[rows] = now_ms // 1000
        self._empty += self._count_empty(rows)
        self._marks.mark(rows)

    def empty(self, now_ms: int, most: int) -> Rows:
        """Rows whose list was empty when it was made, at most so many, the newest first."""
        if not self._empty:
            return np.empty(0, np.int32)
        since_s = max(0, now_ms // 1000 - self._ttl_s)
        there = np.flatnonzero(
            (self._written[: self._rows, 0] == MARKS) & (self._at_s[: self._rows] > since_s)
        )
        newest_first = np.argsort(-self._at_s[there].astype(np.int64), kind="stable")
        return there[newest_first[:most]].astype(np.int32)

    def have_room(self, rows: Rows) -> NDArray[np.bool_]:
        """Which rows have no list, or one that is shorter than it may be."""
        known = rows < self._rows
        return (
            ~known | (self._written[np.where(known, rows, 0), -1] == MARKS)
            if self._rows
            else ~known
        )

    def holding(self, items: Rows, now_ms: int) -> tuple[Rows, Rows]:
        """The rows whose lists may hold one of some items; the list written last comes first.

        Apart from them those older than `ttl_s`: where days were read in an hour they stand yet.
        """
        wanted = np.zeros(MARKS + 1, np.bool_)
        wanted[items % MARKS] = True
        since_s = max(0, now_ms // 1000 - self._ttl_s)
        found = []
        for start in range(0, self._rows, ROWS_AT_ONCE):
            part = slice(start, min(start + ROWS_AT_ONCE, self._rows))
            found.append(start + np.flatnonzero(wanted[self._written[part]].any(axis=1)))
        there = np.concatenate(found) if found else np.empty(0, np.intp)
        newest_first = np.argsort(-self._at_s[there].astype(np.int64), kind="stable")
        rows = np.asarray(there[newest_first], np.int32)
        lives = self._at_s[rows] > since_s
        return rows[lives], rows[~lives]

    def forget(self, rows: Rows) -> None:
        """There are no lists of these rows."""
        rows = rows[(rows >= 0) & (rows < self._rows)]
        self._empty -= self._count_empty(rows)
        self._written[rows], self._at_s[rows] = MARKS, 0
        self._marks.mark(rows)

    def tables(self) -> Sequence[Table]:
        """What each list held, and since when it stands."""
        columns: Arrays = {
            self._name: self._written[: self._rows],
            "at_s": self._at_s[: self._rows],
        }
        return [Table(columns, self._marks)]

    def restore(self, arrays: Arrays) -> None:
        """Take over what `arrays` gave."""
        if self._name not in arrays:
            return
        self._written = arrays[self._name].astype(np.uint16)
        self._at_s = arrays["at_s"].astype(np.uint32)
        self._rows = len(self._at_s)
        self._marks = Marks(self._rows)
        self._empty = self._count_empty(np.arange(self._rows, dtype=np.int32))

    def _count_empty(self, rows: Rows) -> int:
        """How many of some rows, each once, have an empty list."""
        return int(np.count_nonzero((self._at_s[rows] > 0) & (self._written[rows, 0] == MARKS)))

    def _reach(self, rows: int) -> None:
        if rows > self._rows:
            self._written = grown(self._written, rows, MARKS)
            self._at_s = grown(self._at_s, rows, 0)
            self._marks.reach(rows)
            self._rows = rows
