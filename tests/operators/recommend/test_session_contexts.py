"""Contexts that an earlier release stored with fewer items go on, from a snapshot and from a journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.recommend.session_contexts import SessionContexts
from operators.tables.table_store import LoadedTables, Tables, TableStore
from state.arrays import NO_ROW
from state.journal import Journals

if TYPE_CHECKING:
    from pathlib import Path

    from state.journal_files import JournalPosition

SHORT, LONG = 3, 5


def visit(contexts: SessionContexts, shopper: int, *items: int) -> None:
    """The shopper clicks items, one after another, in one session."""
    n = len(items)
    at_ms = np.arange(n, dtype=np.int64) + 1 + int(contexts.last_ms.max(initial=0))
    contexts.append(
        np.full(n, shopper, np.int32), np.array(items, np.int32), at_ms, np.zeros(n, np.int64)
    )


def store(folder: Path, contexts: SessionContexts, at: JournalPosition | None) -> JournalPosition:
    """A snapshot of the contexts as the steps take it: after the first, of the rows that changed."""
    tables = TableStore(Journals(folder, ratio=100.0), "contexts")
    tables.load(at, LoadedTables({"contexts": {}}))
    position = tables.store(Tables({"contexts": contexts}))
    assert position is not None
    return position


def load(folder: Path, length: int, at: JournalPosition) -> SessionContexts:
    """Contexts of another length that go on from a journal."""
    loaded = LoadedTables({"contexts": {}})
    TableStore(Journals(folder, ratio=100.0), "contexts").load(at, loaded)
    contexts = SessionContexts(length)
    contexts.restore(loaded.arrays["contexts"])
    Tables({"contexts": contexts}).mark_stored()
    return contexts


def test_a_snapshot_with_fewer_items_goes_on() -> None:
    stored, contexts = SessionContexts(SHORT), SessionContexts(LONG)
    visit(stored, 0, 1, 2, 3, 4)
    contexts.restore(stored.arrays())
    assert contexts.recent.tolist() == [[4, 3, 2, NO_ROW, NO_ROW]]
    visit(contexts, 0, 5, 5)
    assert contexts.lookup(np.array([0], np.int32)).tolist() == [[5, 5, 4, 3, 2]]


def test_rows_that_changed_since_lie_in_the_journal_beside_shorter_ones(tmp_path: Path) -> None:
    stored = SessionContexts(SHORT)
    for shopper in (0, 1):
        visit(stored, shopper, 1, 2, 3, 4)
    at = store(tmp_path, stored, None)
    contexts = load(tmp_path, LONG, at)
    visit(contexts, 1, 5)
    visit(contexts, 2, 6)
    resumed = load(tmp_path, LONG, store(tmp_path, contexts, at))
    assert resumed.recent[:3].tolist() == [
        [4, 3, 2, NO_ROW, NO_ROW],
        [5, 4, 3, 2, NO_ROW],
        [6, NO_ROW, NO_ROW, NO_ROW, NO_ROW],
    ]
