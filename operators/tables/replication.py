"""Sends the changed rows of tables to replicas of them: who trains a table, and who reads it.

A trained table marks in `changed_rows` each row whose values change. `take_rows` copies these rows, and
`write_rows` writes them over an older copy, which then equals the table. Nothing here is stored: after a
restart everything counts as changed, so the first message is the whole table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from operators.kernels.distinct_rows import distinct_rows
from operators.tables.array_ops import grow

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from state.arrays import Rows

_NO_ROWS: Rows = np.empty(0, np.int32)
_NO_ROWS.flags.writeable = False


class ChangedRows:
    """The rows that changed since they were last taken: at first all of them.

    Until they are taken for the first time nothing is noted: a table without replicas pays nothing.

    >>> changed = ChangedRows(); changed.take(2).tolist()
    [0, 1]
    >>> changed.mark(np.array([2, 0, 2])); changed.take(3).tolist(), changed.take(3).tolist()
    ([2, 0], [])
    """

    __slots__ = ("_is_all", "_is_taken", "_marked")

    def __init__(self) -> None:
        self._is_all = True
        self._marked: list[NDArray[np.integer]] = []
        self._is_taken = np.zeros(0, np.bool_)

    def __bool__(self) -> bool:
        """Whether any row is marked."""
        return self._is_all or bool(self._marked)

    def mark(self, rows: NDArray[np.integer]) -> None:
        """Mark rows as changed. The array is kept: it must not change afterwards."""
        if not self._is_all:
            self._marked.append(rows)

    def mark_all(self) -> None:
        """Mark every row as changed."""
        self._is_all = True
        self._marked.clear()

    def take(self, length: int) -> Rows:
        """The changed rows below `length`, each once; they are unmarked."""
        if self._is_all:
            self._is_all = False
            return np.arange(length, dtype=np.int32)
        if not self._marked:
            return _NO_ROWS
        rows = np.concatenate(self._marked, dtype=np.int32, casting="same_kind")
        self._marked.clear()
        self._is_taken = grow(self._is_taken, length, False)
        out = np.empty(len(rows), np.int32)
        return out[: distinct_rows(rows, self._is_taken, out)]


class TableRows(NamedTuple):
    """Rows of a table of `length` rows, a copy: their values by column, and what has no rows."""

    length: int
    rows: Rows
    columns: tuple[NDArray[Any], ...]
    scalars: tuple[NDArray[Any], ...]


@runtime_checkable
class Replicated(Protocol):
    """A table that has replicas, or is one: both are objects of one class."""

    changed_rows: ChangedRows

    def replicated_columns(self) -> tuple[NDArray[Any], ...]:
        """The columns that a replica needs, as views of one length."""

    def ensure_rows(self, rows: int) -> None:
        """Extend the table to at least so many rows: new rows hold what unmarked rows hold."""

    def replicated_scalars(self) -> tuple[NDArray[Any], ...]:
        """What a replica needs beside the columns, copied."""

    def write_scalars(self, scalars: tuple[NDArray[Any], ...]) -> None:
        """Replace what `replicated_scalars` gave."""


class ReplicatedColumns:
    """The base of replicated tables that consist of columns alone."""

    def replicated_scalars(self) -> tuple[NDArray[Any], ...]:
        """There is nothing beside the columns."""
        return ()

    def write_scalars(self, scalars: tuple[NDArray[Any], ...]) -> None:
        """There is nothing beside the columns."""


def take_rows(table: Replicated) -> TableRows:
    """Copies of the rows that changed since they were last taken."""
    if not table.changed_rows:
        return TableRows(0, _NO_ROWS, (), table.replicated_scalars())
    columns = table.replicated_columns()
    length = len(columns[0])
    rows = table.changed_rows.take(length)
    values = tuple(column.take(rows, axis=0) for column in columns)
    return TableRows(length, rows, values, table.replicated_scalars())


def write_rows(table: Replicated, changes: TableRows) -> None:
    """Write rows of a table over a replica of it."""
    if len(changes.rows):
        table.ensure_rows(changes.length)
        for column, values in zip(table.replicated_columns(), changes.columns, strict=True):
            column[changes.rows] = values
    table.write_scalars(changes.scalars)
