"""What rules keep of the shoppers of a shard, as rows of numbers; their windows lie in one pool.

A shopper's state is in one place: in its row here, or in `Shopper.rule_state`, which is what is stored
and sent. `load` brings it here with the shopper's next event, `store` makes a `RuleState` of a row. A
row that is not loaded holds only the time of the next timer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.kernels import rule_layout as layout
from operators.kernels.rule_conditions import TRUTH_BITS
from state.shopper import RECHECK_ALL, RuleState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from operators.segments.rules.program import RuleProgram
    from state.shopper import LatestContext, Shopper

    Numbers = NDArray[np.int64]

_ROWS_MIN = 1 << layout.BLOCK_BITS
_SLOTS_MIN = 1024
_STORED = np.dtype(">i8")
"""Entries of windows as they are stored."""


class RuleRows:
    """The rows of one shard; the kernels change the arrays in place."""

    def __init__(self, program: RuleProgram) -> None:
        self.program = program
        self.rows = np.zeros((_ROWS_MIN, program.row_size), np.int64)
        self._empty_row = np.zeros(program.row_size, np.int64)
        self._empty_row[program.since_at : program.due_at] = layout.NOTHING
        self.next_check = np.zeros(_ROWS_MIN, np.int64)
        self.earliest = np.full(1, layout.FOREVER, np.int64)
        self.pool = np.zeros(_SLOTS_MIN, np.int64)
        self.heap = np.zeros(layout.HEAP_SIZE, np.int64)
        self.heap[layout.HEAP_TOP] = 1  # 0 stands for no piece
        self.names: list[str] = []
        self.row_of: dict[str, int] = {}
        self.latest: list[LatestContext | None] = []
        """The newest texts of each row; None for a row that is not loaded."""
        self._free: list[int] = []
        self._tracked_count = 0

    def track(self, shopper_id: str, next_check_ms: int) -> None:
        """Keep the next timer of a shopper whose state stays where it is until then."""
        row = self.row_of.get(shopper_id)
        if row is None:
            row = self._take_row(shopper_id)
            self._tracked_count += 1
        self._set_next_check(row, next_check_ms)

    def due_elsewhere(self, clock_ms: int) -> list[str]:
        """The shoppers with a timer that is due whose state is not in their row."""
        if self._tracked_count == 0 or self.earliest.min() > clock_ms:
            return []
        due = np.flatnonzero((self.next_check > 0) & (self.next_check <= clock_ms)).tolist()
        return [self.names[row] for row in due if self.latest[row] is None]

    def load(self, shopper_id: str, shopper: Shopper) -> int:
        """The row of a shopper, with its state."""
        row = self.row_of.get(shopper_id)
        if row is None:
            row = self._take_row(shopper_id)
        elif self.latest[row] is not None:
            return row
        else:
            self._tracked_count -= 1
        program, state = self.program, shopper.rule_state
        if state is None:
            self._begin([row], self._shopper_words([shopper_id]))
            return row
        since = [state.members.get(segment_id, layout.NOTHING) for segment_id in program.ids]
        due = [state.next_check_ms_by_rule.get(digest, 0) for digest in program.digests]
        windows = [
            self._load_window(state.windows[kind.key], kind.entries_max, kind.form)
            if state.windows.get(kind.key)
            else 0
            for kind in program.window_kinds
        ]
        self.latest[row] = state.latest_context
        self.rows[row] = [
            *packed_truths([truth(shopper_id) for truth in program.shopper_truths]),
            *self.read(row, shopper),
            *since,
            *due,
            *windows,
        ]
        self._set_next_check(row, state.next_check_ms)
        shopper.rule_state = None
        return row

    def is_loaded(self, shopper_id: str) -> bool:
        """Whether the state of a shopper is in its row."""
        row = self.row_of.get(shopper_id)
        return row is not None and self.latest[row] is not None

    def begin(self, shopper_ids: list[str]) -> None:
        """Make rows of shoppers of whom rules keep nothing yet."""
        words = self._shopper_words(shopper_ids)  # first: a truth that raises leaves no row behind
        self._begin([*map(self._take_row, shopper_ids)], words)

    def _shopper_words(self, shopper_ids: list[str]) -> list[list[int]]:
        """The words of truths that follow from the ids of shoppers alone."""
        truths = self.program.shopper_truths
        return [packed_truths([truth(name) for truth in truths]) for name in shopper_ids]

    def _begin(self, rows: list[int], words: list[list[int]]) -> None:
        """Their next event has all rules evaluated."""
        program = self.program
        self.rows[rows] = self._empty_row
        if program.shopper_truths:
            self.rows[rows, : program.shopper_words] = words
        self.next_check[rows] = RECHECK_ALL
        for row in rows:
            self.latest[row] = {}

    def read(self, row: int, shopper: Shopper) -> tuple[int, ...]:
        """What the profile says of a shopper: the words of truths, and the columns."""
        program, latest = self.program, self.latest[row]
        columns = program.read_columns(shopper)
        if not program.truths:
            return columns
        assert latest is not None
        return (*packed_truths([truth(shopper, latest) for truth in program.truths]), *columns)

    def recheck(self, shopper_ids: Iterable[str]) -> None:
        """Have all rules of shoppers evaluated with the next event of each."""
        self.next_check[[self.row_of[shopper_id] for shopper_id in shopper_ids]] = RECHECK_ALL

    def store(self, shopper_id: str) -> RuleState | None:
        """The state of a shopper as it is stored; None where it is not in a row."""
        row = self.row_of.get(shopper_id, -1)
        latest = None if row < 0 else self.latest[row]
        if latest is None:
            return None
        program = self.program
        numbers = self.rows[row].tolist()
        since = numbers[program.since_at : program.due_at]
        members = sorted((ms, n) for n, ms in enumerate(since) if ms != layout.NOTHING)
        dues: dict[int, int] = {}
        for digest, due_ms in zip(
            program.digests, numbers[program.due_at : program.windows_at], strict=True
        ):
            if due_ms:
                dues[digest] = min(due_ms, dues.get(digest, due_ms))
        return RuleState(
            {program.ids[n]: ms for ms, n in members},
            {
                kind.key: self._stored_window(window, kind.form)
                for kind, window in zip(
                    program.window_kinds, numbers[program.windows_at :], strict=True
                )
                if window
            },
            latest,
            dues,
            int(self.next_check[row]),
        )

    def release(self, shopper_id: str) -> None:
        """Free the row of a shopper, and what its windows take of the pool."""
        row = self.row_of.pop(shopper_id, None)
        if row is None:
            return
        if self.latest[row] is not None:
            for window in self.rows[row, self.program.windows_at :].tolist():
                if window:
                    self._free_piece(window)
        else:
            self._tracked_count -= 1
        self.latest[row] = None
        self.next_check[row] = 0
        self.names[row] = ""
        self._free.append(row)

    def grow_pool(self) -> None:
        """Make room in the pool."""
        self.pool = np.concatenate([self.pool, np.zeros_like(self.pool)])

    def _take_row(self, shopper_id: str) -> int:
        if self._free:
            row = self._free.pop()
            self.names[row] = shopper_id
        else:
            row = len(self.names)
            self.names.append(shopper_id)
            self.latest.append(None)
            if row == len(self.rows):
                self._grow_rows()
        self.row_of[shopper_id] = row
        return row

    def _grow_rows(self) -> None:
        count = len(self.rows)
        self.rows = np.concatenate([self.rows, np.zeros_like(self.rows)])
        self.next_check = np.concatenate([self.next_check, np.zeros(count, np.int64)])
        blocks = len(self.next_check) >> layout.BLOCK_BITS
        more = np.full(blocks - len(self.earliest), layout.FOREVER, np.int64)
        self.earliest = np.concatenate([self.earliest, more])

    def _set_next_check(self, row: int, at_ms: int) -> None:
        self.next_check[row] = at_ms
        block = row >> layout.BLOCK_BITS
        if 0 < at_ms < self.earliest[block]:
            self.earliest[block] = at_ms

    def _load_window(self, stored: bytes, entries_max: int, form: str) -> int:
        """Put the entries of a stored window into the pool; the window as one number."""
        width = 1 if form == "times" else 2
        if form == "sums":
            entries_max = layout.SUMS_MAX + 1
        entries = np.frombuffer(stored, _STORED)[-entries_max * width :]
        size_class = (len(entries) - 1).bit_length()
        start = self._take_piece(size_class)
        self.pool[start : start + len(entries)] = entries
        length = len(entries) // width
        return start << layout.START_SHIFT | length << layout.LENGTH_SHIFT | size_class

    def _stored_window(self, window: int, form: str) -> bytes:
        start = window >> layout.START_SHIFT
        length = window >> layout.LENGTH_SHIFT & layout.LENGTH_MASK
        slots = length * (1 if form == "times" else 2)
        return self.pool[start : start + slots].astype(_STORED).tobytes()

    def _take_piece(self, size_class: int) -> int:
        heap, at = self.heap, layout.HEAP_FREE + size_class
        start = int(heap[at])
        if start:
            heap[at] = self.pool[start]
            return start
        start = int(heap[layout.HEAP_TOP])
        while start + (1 << size_class) > len(self.pool):
            self.grow_pool()
        heap[layout.HEAP_TOP] = start + (1 << size_class)
        return start

    def _free_piece(self, window: int) -> None:
        start, at = window >> layout.START_SHIFT, layout.HEAP_FREE + (window & layout.CLASS_MASK)
        self.pool[start] = self.heap[at]
        self.heap[at] = start


def packed_truths(truths: list[bool]) -> list[int]:
    """Truths as words."""
    return [
        sum(1 << n for n, truth in enumerate(truths[first : first + TRUTH_BITS]) if truth)
        for first in range(0, len(truths), TRUTH_BITS)
    ]
