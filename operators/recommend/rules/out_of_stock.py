"""What cannot be had is not shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from operators.catalogue.item_features import Flags
    from state.arrays import Rows


def sold_out_mask(item: Rows, sold_out: Flags) -> Flags:
    """Which places of lists [n, w] hold an item that is out of stock, by flags of items."""
    return sold_out[item] & (item >= 0)
