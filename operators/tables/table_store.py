"""Stores the tables of a step in its journal: the rows that changed since the last snapshot.

Without a journal the snapshot holds everything itself, as in the first release. Such a snapshot can be
read too; the next one starts a journal. The records are stored: `state.snapshots.TableRecord`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from operators.tables.array_ops import grow
from state.arrays import NO_ROW
from state.snapshots import TABLE_CODEC, StoredArray, TableRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from operators.tables.table import Table, TableState
    from state.arrays import Rows
    from state.interactions import ItemCard, RowIndex
    from state.journal import Journal, Journals
    from state.journal_files import JournalPosition

_ROWS_PER_RECORD = 16_384


class StoredCards(Protocol):
    """Item cards by id, and the ids whose card changed or ended since it was stored."""

    by_id: dict[str, ItemCard]
    dirty: set[str]


class _NoCards:
    """The cards of a step that has none."""

    def __init__(self) -> None:
        self.by_id: dict[str, ItemCard] = {}
        self.dirty: set[str] = set()


@dataclass(slots=True)
class Tables:
    """Everything that is stored by rows: the tables of each part, the ids of rows, the item cards."""

    parts: Mapping[str, TableState]
    row_indexes: Mapping[str, RowIndex] = field(default_factory=dict)
    cards: StoredCards = field(default_factory=_NoCards)

    def mark_stored(self) -> None:
        """Mark all rows as stored."""
        for part in self.parts.values():
            for table in part.tables():
                if table.dirty_rows is not None:
                    table.dirty_rows.take_dirty(_length(table))
        for row_index in self.row_indexes.values():
            row_index.dirty_rows.take_dirty(len(row_index))
        self.cards.dirty.clear()


@dataclass(slots=True)
class LoadedTables:
    """The stored content of `Tables`: arrays by part, ids by row index, item cards."""

    arrays: dict[str, dict[str, NDArray[Any]]]
    ids: dict[str, list[str]] = field(default_factory=dict)
    cards: dict[str, ItemCard] = field(default_factory=dict)
    _lengths: dict[tuple[str, str], int] = field(default_factory=dict)

    def apply_record(self, record: TableRecord) -> None:
        """Write a journal record over what was loaded so far."""
        rows = np.frombuffer(record.rows, np.int32)
        for name, column in record.columns.items():
            values = column.to_array()
            arrays = self.arrays[record.part]
            array = _widened(arrays.get(name, values[:0]), values)
            arrays[name] = array = grow(array, record.length, 0)
            array[rows] = values
            self._lengths[record.part, name] = record.length
        if record.names:
            ids = self.ids.setdefault(record.part, [])
            ids += [""] * (record.length - len(ids))
            for row, name in zip(rows.tolist(), record.names, strict=True):
                ids[row] = name
        for name, card in record.cards.items():
            if card is None:
                self.cards.pop(name, None)
            else:
                self.cards[name] = card

    def trim(self) -> None:
        """Cut each array to the length of its table."""
        for (part, name), length in self._lengths.items():
            self.arrays[part][name] = self.arrays[part][name][:length]


class TableStore:
    """Reads and writes the journal of a step, under its stored name, if there are `journals`."""

    def __init__(self, journals: Journals | None, name: str) -> None:
        self._journals = journals
        self._name = name
        self._journal: Journal | None = None

    def load(self, position: JournalPosition | None, loaded: LoadedTables) -> None:
        """Write the records of the journal over what the snapshot itself held.

        Raises SnapshotError where the journal is damaged.
        """
        if position is None:
            return
        assert self._journals is not None
        self._journal, records = self._journals.open(position)
        for record in records:
            loaded.apply_record(TABLE_CODEC.decode(record))
        loaded.trim()

    def store(self, tables: Tables, *, rewrite: bool = False) -> JournalPosition | None:
        """Write the changed rows, or everything where the changes outweigh it; None without journals.

        `rewrite`: write everything, because the journal still holds ids of erased shoppers.
        """
        if self._journals is None:
            return None
        if self._journal is None or rewrite or self._journal.needs_compaction:
            self._journal = self._journal or self._journals.new(self._name)
            self._journal.compact(_all_records(tables))
            tables.mark_stored()
        else:
            for record in _changed_records(tables):
                self._journal.append(record)
            tables.cards.dirty.clear()
        return self._journal.position


def _all_records(tables: Tables) -> Iterator[bytes]:
    for name, part in tables.parts.items():
        for table in part.tables():
            length = _length(table)
            yield from _table_records(name, table, np.arange(length, dtype=np.int32), length)
    for name, row_index in tables.row_indexes.items():
        yield from _id_records(name, row_index, np.arange(len(row_index), dtype=np.int32))
    cards = iter(tables.cards.by_id.items())
    while chunk := dict(islice(cards, _ROWS_PER_RECORD)):
        yield TABLE_CODEC.encode(TableRecord(cards={**chunk}))


def _changed_records(tables: Tables) -> Iterator[bytes]:
    for name, part in tables.parts.items():
        for table in part.tables():
            length = _length(table)
            dirty_rows = table.dirty_rows
            rows = (
                np.arange(length, dtype=np.int32)
                if dirty_rows is None
                else dirty_rows.take_dirty(length)
            )
            if dirty_rows is None or len(rows):
                yield from _table_records(name, table, rows, length)
    for name, row_index in tables.row_indexes.items():
        rows = row_index.dirty_rows.take_dirty(len(row_index))
        yield from _id_records(name, row_index, rows)
    cards = tables.cards
    if cards.dirty:
        yield TABLE_CODEC.encode(
            TableRecord(cards={name: cards.by_id.get(name) for name in cards.dirty})
        )


def _table_records(part: str, table: Table, rows: Rows, length: int) -> Iterator[bytes]:
    is_complete = len(rows) == length
    # An empty table gets a record too, so that the reader knows its columns.
    for start in range(0, max(1, len(rows)), _ROWS_PER_RECORD):
        chunk = rows[start : start + _ROWS_PER_RECORD]
        selection = slice(start, start + _ROWS_PER_RECORD) if is_complete else chunk
        columns = {
            name: StoredArray.from_array(column[selection])
            for name, column in table.columns.items()
        }
        yield TABLE_CODEC.encode(TableRecord(part, length, chunk.tobytes(), columns))


def _id_records(name: str, row_index: RowIndex, rows: Rows) -> Iterator[bytes]:
    for start in range(0, len(rows), _ROWS_PER_RECORD):
        chunk = rows[start : start + _ROWS_PER_RECORD]
        ids = [row_index.ids[row] for row in chunk.tolist()]
        yield TABLE_CODEC.encode(TableRecord(name, len(row_index), chunk.tobytes(), {}, ids))


def _widened(array: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
    """The array as wide as later rows of its column: an earlier release kept fewer items in a row."""
    if array.ndim < 2 or array.shape[1] >= values.shape[1]:
        return array
    wide = np.full((len(array), *values.shape[1:]), NO_ROW, array.dtype)
    wide[:, : array.shape[1]] = array
    return wide


def _length(table: Table) -> int:
    return len(next(iter(table.columns.values())))
