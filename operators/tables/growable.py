"""A table whose rows are appended at the end. Change freely: by how much it grows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic

import numpy as np

from operators.tables.array_ops import Scalar

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

ROWS_MIN = 64


class GrowableArray(Generic[Scalar]):
    """Rows are appended at an amortised constant cost, and changed in place.

    `rows` is a view of the appended rows, scalar[n, *shape]. Read it again after `append`.
    """

    __slots__ = ("_store", "rows")

    def __init__(self, shape: tuple[int, ...], dtype: type[Scalar] | DTypeLike) -> None:
        self._store: NDArray[Scalar] = np.zeros((ROWS_MIN, *shape), dtype)
        self.rows: NDArray[Scalar] = self._store[:0]

    def __len__(self) -> int:
        return len(self.rows)

    def append(self, new: NDArray[Scalar]) -> None:
        """Append rows, scalar[m, *shape]."""
        n = len(self.rows)
        length = n + len(new)
        if length > len(self._store):
            store = np.zeros((max(length, 2 * len(self._store)), *new.shape[1:]), self._store.dtype)
            store[:n] = self.rows
            self._store = store
        self._store[n:length] = new
        self.rows = self._store[:length]

    def replace(self, rows: NDArray[Any]) -> None:
        """Replace all rows by a copy of these."""
        self._store = np.zeros((max(ROWS_MIN, len(rows)), *rows.shape[1:]), self._store.dtype)
        self.rows = self._store[:0]
        self.append(rows)

    def __reduce__(self) -> tuple[object, ...]:
        return _from_rows, (self.rows.copy(),)


def _from_rows(rows: NDArray[Scalar]) -> GrowableArray[Scalar]:
    table: GrowableArray[Scalar] = GrowableArray(rows.shape[1:], rows.dtype)
    table.replace(rows)
    return table
