"""Types of the columns that all parts share, and the value that means "no row".

Nothing here imports from the product, so that every other module may import this one. `NO_ROW` is
stored in every table: its value must not change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Rows = NDArray[np.int32]
    Weights = NDArray[np.float32]
    Times = NDArray[np.int64]

NO_ROW = -1
"""Padding in columns of rows: no item, no shopper."""
