"""The log of what happens to shoppers in a batch, which the kernels work off.

Rules never change a profile or a session. So an event only notes here what rules have to know of it:
the shopper as the event left it, and the windows that the event goes into.
"""

from __future__ import annotations

from array import array
from struct import Struct
from typing import TYPE_CHECKING

import numpy as np

from operators.kernels import rule_layout as layout
from state.events import EVENT_TYPES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

ADDITION_SIZE = 3
TYPE_NUMBERS = {name: number for number, name in enumerate(sorted(EVENT_TYPES))}
"""Numbers of event types in logs and programs; not stored."""


def source_of_window(kind: int) -> int:
    """The source of a window, for the newest event of a shopper; the next is for older ones."""
    return layout.TYPE_SOURCES_AT + len(TYPE_NUMBERS) + 2 * kind


class EventLog:
    """Operations in order; `additions` are the window, value and source of entries to be added.

    `columns` are so many numbers that the profile says of a shopper, with each operation.
    """

    def __init__(self, columns: int) -> None:
        self.additions: list[int] = []
        self._size = layout.LOG_HEAD + columns
        self._operations = bytearray()
        self._pack = Struct(f"{self._size}q").pack
        self._no_columns = (0,) * columns

    def __bool__(self) -> bool:
        return bool(self._operations)

    def add_event(
        self,
        row: int,
        at_ms: int,
        clock_ms: int,
        flags: int,
        event_type: int,
        columns: tuple[int, ...],
    ) -> None:
        """Append an event, after its `additions`."""
        end = len(self.additions) // ADDITION_SIZE
        self._operations += self._pack(
            layout.EVENT, row, at_ms, clock_ms, flags, event_type, end, *columns
        )

    def add(
        self, operation: int, row: int, clock_ms: int, columns: tuple[int, ...] | None = None
    ) -> None:
        """Append an operation that is no event; an advance needs no columns."""
        end = len(self.additions) // ADDITION_SIZE
        self._operations += self._pack(
            operation, row, 0, clock_ms, 0, 0, end, *(columns or self._no_columns)
        )

    def add_block(self, operations: NDArray[np.int64], additions: Iterable[int]) -> None:
        """Append operations; `ADDITIONS_END` of them counts from the first of their additions."""
        operations[:, layout.ADDITIONS_END] += len(self.additions) // ADDITION_SIZE
        self.additions += additions
        self._operations += operations.tobytes()

    def take(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """All operations and additions as arrays; the log is empty then."""
        operations = np.frombuffer(self._operations, np.int64).reshape(-1, self._size)
        additions = np.array(array("q", self.additions), np.int64).reshape(-1, ADDITION_SIZE)
        self._operations, self.additions = bytearray(), []
        return operations, additions
