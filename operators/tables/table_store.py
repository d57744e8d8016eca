"""What the learning step stores of its tables: rows that changed since the last snapshot, in its
journal.

Where there is no journal the snapshot holds everything itself, as in the first release; such a one is
read too, and the next begins a journal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from operators.tables.top_partners import grown
from state.snapshots import TABLE, Array, TableState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from operators.catalogue.item_cards import Cards
    from operators.tables.table import Kept, Table
    from state.interactions import Card, Rows, Vocabulary
    from state.journal import Handle, Journal, Journals

JOURNAL = "learned"
_ROWS_A_RECORD = 16_384


@dataclass(slots=True)
class Tables:
    """Everything that is stored by rows: the tables of each part, ids and cards."""

    parts: Mapping[str, Kept]
    vocabularies: Mapping[str, Vocabulary]
    cards: Cards

    def settle(self) -> None:
        """Forget what changed: it is stored."""
        for part in self.parts.values():
            for table in part.tables():
                if table.marks is not None:
                    table.marks.take(_length(table))
        for vocabulary in self.vocabularies.values():
            vocabulary.marks.take(len(vocabulary))
        self.cards.unstored.clear()


@dataclass(slots=True)
class Loaded:
    """What a snapshot holds of `Tables`: arrays by part, ids by vocabulary, cards."""

    arrays: dict[str, dict[str, NDArray[Any]]]
    ids: dict[str, list[str]]
    cards: dict[str, Card]
    _lengths: dict[tuple[str, str], int] = field(default_factory=dict)

    def take(self, record: TableState) -> None:
        """Write a record over what is there."""
        rows = np.frombuffer(record.rows, np.int32)
        for name, column in record.columns.items():
            values = column.array()
            arrays = self.arrays[record.part]
            array = arrays.get(name, values[:0])
            arrays[name] = array = grown(array, record.length, 0)
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

    def finish(self) -> None:
        """Cut off the room that was left for growth."""
        for (part, name), length in self._lengths.items():
            self.arrays[part][name] = self.arrays[part][name][:length]


class StoredTables:
    """The journal of the learning step, if there are `journals`."""

    def __init__(self, journals: Journals | None) -> None:
        self._journals = journals
        self._journal: Journal | None = None

    def load(self, handle: Handle | None, into: Loaded) -> None:
        """Write what is in the journal over what the snapshot held itself.

        Raises SnapshotError where the journal is damaged.
        """
        if handle is None:
            return
        assert self._journals is not None
        self._journal, records = self._journals.open(handle)
        for record in records:
            into.take(TABLE.decode(record))
        into.finish()

    def store(self, tables: Tables, *, anew: bool = False) -> Handle | None:
        """Write what changed, or everything where the changes outweigh it; None without journals.

        `anew`: everything, since the journal names who was erased.
        """
        if self._journals is None:
            return None
        if self._journal is None or anew or self._journal.is_due:
            self._journal = self._journal or self._journals.new(JOURNAL)
            self._journal.rewrite(_everything(tables))
            tables.settle()
        else:
            for record in _changes(tables):
                self._journal.append(record)
            tables.cards.unstored.clear()
        return self._journal.handle


def _everything(tables: Tables) -> Iterator[bytes]:
    for name, part in tables.parts.items():
        for table in part.tables():
            length = _length(table)
            yield from _of_table(name, table, np.arange(length, dtype=np.int32), length)
    for name, vocabulary in tables.vocabularies.items():
        yield from _of_ids(name, vocabulary, np.arange(len(vocabulary), dtype=np.int32))
    cards = iter(tables.cards.rows.items())
    while some := dict(islice(cards, _ROWS_A_RECORD)):
        yield TABLE.encode(TableState(cards={**some}))


def _changes(tables: Tables) -> Iterator[bytes]:
    for name, part in tables.parts.items():
        for table in part.tables():
            length = _length(table)
            marks = table.marks
            rows = np.arange(length, dtype=np.int32) if marks is None else marks.take(length)
            if marks is None or len(rows):
                yield from _of_table(name, table, rows, length)
    for name, vocabulary in tables.vocabularies.items():
        yield from _of_ids(name, vocabulary, vocabulary.marks.take(len(vocabulary)))
    cards = tables.cards
    if cards.unstored:
        yield TABLE.encode(
            TableState(cards={name: cards.rows.get(name) for name in cards.unstored})
        )


def _of_table(part: str, table: Table, rows: Rows, length: int) -> Iterator[bytes]:
    whole = len(rows) == length
    # An empty table is a record too: whoever reads it knows its columns.
    for start in range(0, max(1, len(rows)), _ROWS_A_RECORD):
        some = rows[start : start + _ROWS_A_RECORD]
        chosen = slice(start, start + _ROWS_A_RECORD) if whole else some
        columns = {name: Array.of(column[chosen]) for name, column in table.columns.items()}
        yield TABLE.encode(TableState(part, length, some.tobytes(), columns))


def _of_ids(name: str, vocabulary: Vocabulary, rows: Rows) -> Iterator[bytes]:
    for start in range(0, len(rows), _ROWS_A_RECORD):
        some = rows[start : start + _ROWS_A_RECORD]
        ids = [vocabulary.ids[row] for row in some.tolist()]
        yield TABLE.encode(TableState(name, len(vocabulary), some.tobytes(), {}, ids))


def _length(table: Table) -> int:
    return len(next(iter(table.columns.values())))
