"""Pools: records as columns whose slots are reused, and pools with a linked list of records by owner.

A subclass names its columns, and the prefix under which they are stored. `Column.stored` and the prefix
are stored names: do not change them. Attributes may be renamed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from operators.tables.array_ops import grow
from operators.tables.table import Table, TableState
from state.arrays import NO_ROW
from state.dirty_rows import DirtyRows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from state.arrays import Rows


class Column(NamedTuple):
    """A column: its stored name, its type, and the value of cells that were never written."""

    stored: str
    dtype: type[np.generic]
    fill: int


class ColumnPool(TableState):
    """Records by slot. `COLUMNS` are by attribute; a slot is free where `FREE_COLUMN` is `FREE`."""

    PREFIX: ClassVar[str]
    COLUMNS: ClassVar[Mapping[str, Column]]
    FREE_COLUMN: ClassVar[str] = "owner"
    FREE: ClassVar[int] = NO_ROW

    def __init__(self) -> None:
        self.length = 0
        self._free: list[int] = []
        self._dirty_rows = DirtyRows()
        self._load({})

    def tables(self) -> Sequence[Table]:
        """The columns."""
        columns = {
            f"{self.PREFIX}.{column.stored}": getattr(self, attribute)[: self.length]
            for attribute, column in self.COLUMNS.items()
        }
        return [Table(columns, self._dirty_rows)]

    def _load(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Take the columns that `tables` returned; an older release stored none."""
        for attribute, column in self.COLUMNS.items():
            stored = arrays.get(f"{self.PREFIX}.{column.stored}", np.empty(0))
            setattr(self, attribute, stored.astype(column.dtype))
        self.length = len(getattr(self, self.FREE_COLUMN))
        self._dirty_rows = DirtyRows(self.length)
        self._find_free()

    def _find_free(self) -> None:
        is_free = getattr(self, self.FREE_COLUMN)[: self.length] == self.FREE
        self._free = np.flatnonzero(is_free)[::-1].tolist()

    def _allocate(self) -> int:
        """Return a free slot. The caller writes its cells and marks it as changed."""
        return self._free.pop() if self._free else self._extend()

    def _extend(self) -> int:
        slot, self.length = self.length, self.length + 1
        if slot == len(getattr(self, self.FREE_COLUMN)):
            self._grow()
        self._dirty_rows.ensure_rows(self.length)
        return slot

    def _grow(self) -> None:
        for attribute, column in self.COLUMNS.items():
            setattr(self, attribute, grow(getattr(self, attribute), self.length, column.fill))


class LinkedPool(ColumnPool):
    """A pool in which the records of an owner are a linked list; `owner` is NO_ROW for a free slot.

    The links are not stored: they are built from the owners. 8 bytes a record and 4 an owner. Single
    cells are read and written through memory views of the arrays (`_cells`: the columns, next slot,
    first slot by owner): a quarter of the time that NumPy takes.
    """

    owner: Rows

    def __init__(self) -> None:
        self._next: Rows = np.empty(0, np.int32)
        self._head: Rows = np.empty(0, np.int32)
        super().__init__()
        self._refresh_cells()

    def restore(self, arrays: Mapping[str, NDArray[np.generic]], rows: int) -> None:
        """Restore what `tables` returned, for so many owners; an older release stored none."""
        self._load(arrays)
        self._link(rows)

    def ensure_rows(self, rows: int) -> None:
        """Grow to at least this many owners."""
        if rows > len(self._head):
            self._head = grow(self._head, rows, NO_ROW)
            self._refresh_cells()

    def _slots_of(self, row: int) -> list[int]:
        """The slots of an owner, the newest first."""
        *_, next_slot, head = self._cells
        slots: list[int] = []
        slot = head[row]
        while slot != NO_ROW:
            slots.append(slot)
            slot = next_slot[slot]
        return slots

    def _allocate_for(self, row: int) -> int:
        """Return a free slot, at the head of an owner's list."""
        slot = self._free.pop() if self._free else self._extend()
        next_slot, head = self._cells[-2:]
        next_slot[slot], head[row] = head[row], slot
        return slot

    def _free_all(self, slots: NDArray[np.intp]) -> None:
        """Free many slots at once, and build all lists again."""
        self.owner[slots] = NO_ROW
        self._dirty_rows.mark(slots)
        self._find_free()
        self._link(len(self._head))

    def _link(self, rows: int) -> None:
        capacity = len(self.owner)
        self._head, self._next = build_lists(self.owner[: self.length], rows, capacity)
        self._refresh_cells()

    def _grow(self) -> None:
        super()._grow()
        self._next = grow(self._next, self.length, NO_ROW)
        self._refresh_cells()

    def _refresh_cells(self) -> None:
        """Take memory views of the current arrays."""
        columns = [getattr(self, attribute) for attribute in self.COLUMNS]
        self._cells = tuple(column.data for column in (*columns, self._next, self._head))


def build_lists(owner: Rows, rows: int, capacity: int) -> tuple[Rows, Rows]:
    """Link slots by owner (below 0 for none): the first slot of each of `rows` owners, and the next slot
    of each of `capacity` slots, NO_ROW for none.

    >>> head, next_slot = build_lists(np.array([1, -1, 0, 1], np.int32), 3, 4)
    >>> head.tolist(), next_slot.tolist()
    ([2, 0, -1], [3, -1, -1, -1])
    """
    head = np.full(rows, NO_ROW, np.int32)
    next_slot = np.full(capacity, NO_ROW, np.int32)
    live = np.flatnonzero(owner >= 0).astype(np.int32)
    order = live[owner[live].argsort(kind="stable")]
    same = owner[order[1:]] == owner[order[:-1]]
    next_slot[order[:-1][same]] = order[1:][same]
    first = order[np.concatenate([[True], ~same])[: len(order)]]
    head[owner[first]] = first
    return head, next_slot
