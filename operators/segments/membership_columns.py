"""The column of an exclusive kind of segment (clusters, RFM, lifecycle): one segment a shopper at most.

A segment is stored as its index in the registry. The names of the columns are stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.tables.array_ops import grow
from state.arrays import NO_ROW

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from operators.segments.segment_registry import SegmentIndexes
    from operators.tables.table import Arrays
    from state.arrays import Times


class ExclusiveColumn:
    """An exclusive kind: segment int16[rows], NO_ROW for none; since_ms int64[rows].

    10 bytes a shopper. `columns` are the stored names of the two.
    """

    def __init__(self, columns: tuple[str, str]) -> None:
        self.columns = columns
        self.segment: SegmentIndexes = np.empty(0, np.int16)
        self.since_ms: Times = np.empty(0, np.int64)

    def ensure_rows(self, rows: int) -> None:
        """Grow to at least this many rows."""
        self.segment = grow(self.segment, rows, NO_ROW)
        self.since_ms = grow(self.since_ms, rows, 0)

    def stored_columns(self, rows: int) -> Arrays:
        """Return the columns under their stored names."""
        segment, since_ms = self.columns
        return {segment: self.segment[:rows], since_ms: self.since_ms[:rows]}

    def restore(self, arrays: Mapping[str, NDArray[np.generic]], rows: int) -> bool:
        """Restore what `stored_columns` returned; False where an older release stored none."""
        segment, since_ms = self.columns
        self.segment = np.full(rows, NO_ROW, np.int16)
        self.since_ms = np.zeros(rows, np.int64)
        if segment in arrays:
            self.segment[:] = arrays[segment]
        if since_ms in arrays:
            self.since_ms[:] = arrays[since_ms]
        return segment in arrays and since_ms in arrays
