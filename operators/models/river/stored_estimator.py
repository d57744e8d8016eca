"""A River estimator whose state can be stored: as it was last saved, and the rows since.

Storing a large estimator takes seconds, and a snapshot comes every second. So it is saved at
growing distances, and a snapshot writes the rows since. A restored estimator learns these again. The
run itself goes on with a copy read from what was saved, so a resumed run and an uninterrupted one have
the same estimator. The names of the arrays are stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from operators.events.processing_errors import FATAL_ERRORS
from operators.models.river.pickles import VERSION, dump_estimator, load_estimator
from operators.tables.table import Table, TableState
from state.dirty_rows import DirtyRows
from state.errors import SnapshotError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from operators.events.processing_errors import ProcessingErrors
    from operators.tables.table import Arrays

    Rows = NDArray[np.float64]
    LearnBlock = Callable[[Any, list[list[float]]], None]

CHUNK_BYTES = 4096
"""What is saved is stored in rows of so many bytes."""
FIRST_SAVE_ROWS = 64
SAVE_GROWTH = 1.5
SAVE_EVERY_ROWS = 4096


class StoredEstimator(TableState):
    """An estimator, and how it learns `block_rows` rows of `n_columns` numbers (`learn_block`).

    Where it raises, the block is skipped and counted: a model of the configuration never ends a run.
    """

    def __init__(
        self,
        estimator: Any,
        expression: str,
        n_columns: int,
        learn_block: LearnBlock,
        errors: ProcessingErrors,
        operation: str,
        block_rows: int = 1,
    ) -> None:
        self.estimator = estimator
        self.expression = expression
        self.failed_blocks = 0
        """Blocks that it could not learn."""
        self._errors = errors
        self._operation = operation
        self._learn_block = learn_block
        self._block_rows = block_rows
        self._saved = np.zeros((0, CHUNK_BYTES), np.uint8)
        self._saved_bytes = 0
        self._since = np.zeros((0, n_columns))
        self._since_rows = 0
        self._learned_rows = 0
        self._due_at = FIRST_SAVE_ROWS
        self._dirty_chunks, self._dirty_since = DirtyRows(), DirtyRows()

    def learn(self, rows: Rows) -> None:
        """Learn rows [n, n_columns] in their order; n is a multiple of `block_rows`."""
        end = self._since_rows + len(rows)
        if end > len(self._since):
            larger = np.zeros((max(end, 2 * len(self._since)), self._since.shape[1]))
            larger[: self._since_rows] = self._since[: self._since_rows]
            self._since = larger
            self._dirty_since.ensure_rows(len(larger))
        self._since[self._since_rows : end] = rows
        self._dirty_since.mark(np.arange(self._since_rows, end))
        self._since_rows = end
        self._learned_rows += len(rows)
        self.failed_blocks += self._learn(rows, self._errors)

    def save(self) -> None:
        """Store the estimator as it is now. What learns on is read from the stored bytes."""
        stored = dump_estimator(self.estimator)
        self.estimator = load_estimator(stored)
        chunks = -(-len(stored) // CHUNK_BYTES)
        if chunks > len(self._saved):
            self._saved = np.zeros((chunks, CHUNK_BYTES), np.uint8)
        self._saved.reshape(-1)[: len(stored)] = np.frombuffer(stored, np.uint8)
        self._dirty_chunks.ensure_rows(len(self._saved))
        self._dirty_chunks.mark(np.arange(chunks))
        self._saved_bytes = len(stored)
        self._since_rows = 0

    def read_saved(self) -> Any:
        """The estimator as it was last saved, None before the first."""
        return load_estimator(self.stored) if self._saved_bytes else None

    def save_when_due(self) -> None:
        """Store the estimator at growing distances. One that cannot be stored is counted."""
        if self._learned_rows < self._due_at:
            return
        with self._errors.isolate(self._operation):
            self.save()
        spacing = min(int((SAVE_GROWTH - 1) * self._learned_rows), SAVE_EVERY_ROWS)
        self._due_at = self._learned_rows + spacing

    @property
    def stored(self) -> bytes:
        """The bytes that were last saved, b"" before the first time."""
        return self._saved.tobytes()[: self._saved_bytes]

    def tables(self) -> Sequence[Table]:
        """What was saved, in chunks, and the rows since."""
        return [
            Table({"saved": self._saved}, self._dirty_chunks),
            Table({"since": self._since}, self._dirty_since),
        ]

    def scalars(self) -> Arrays:
        """What the tables hold, and of which estimator."""
        return {
            "lengths": np.array([self._saved_bytes, self._since_rows]),
            "clock": np.array([self._learned_rows, self._due_at, self.failed_blocks]),
            "estimator": np.array([self.expression]),
            "river": np.array([VERSION]),
        }

    def restore(self, arrays: Arrays) -> None:
        """Restore what `arrays` gave.

        Raises SnapshotError for another estimator or version, and for bytes that cannot be read.
        """
        for name, expected in (("estimator", self.expression), ("river", VERSION)):
            found = str(arrays[name][0]) if name in arrays else "none"
            if found != expected:
                raise SnapshotError(f"the stored {name} is {found}, expected {expected}")
        saved_bytes, since_rows = arrays["lengths"].tolist()
        self._learned_rows, self._due_at, self.failed_blocks = arrays["clock"].tolist()
        saved = arrays["saved"].astype(np.uint8)
        if saved_bytes:
            self.estimator = load_estimator(saved.tobytes()[:saved_bytes])
        self._saved, self._saved_bytes = saved, saved_bytes
        self._since, self._since_rows = arrays["since"].astype(np.float64), since_rows
        self._dirty_chunks = DirtyRows(len(self._saved))
        self._dirty_since = DirtyRows(len(self._since))
        self._learn(self._since[:since_rows], None)  # what raises was counted before

    def _learn(self, rows: Rows, errors: ProcessingErrors | None) -> int:
        """Learn rows; returns the number of blocks that raised, of which the first is recorded."""
        failed = 0
        values = rows.tolist()
        for start in range(0, len(values), self._block_rows):
            try:
                self._learn_block(self.estimator, values[start : start + self._block_rows])
            except FATAL_ERRORS:
                raise
            except Exception:
                failed += 1
                if errors is not None and failed == 1:
                    errors.record(self._operation)
        return failed
