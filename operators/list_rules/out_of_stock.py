"""What cannot be had is not shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from operators.item_facts import Flags, ItemFacts
    from state.interactions import Rows


def hidden(item: Rows, facts: ItemFacts) -> Flags:
    """Which places of lists [n, w] hold an item that is out of stock."""
    return facts.sold_out[item] & (item >= 0)
