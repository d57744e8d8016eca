"""The one protocol of removal: what every part that keeps something per shopper or item does.

`operators.personalize.removal` has the one loop over the parts. A part gets rows, not ids, and each row
once. After a removal the row is free: the next new shopper or item gets it and inherits nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from state.arrays import Rows


class Removable(Protocol):
    """A part of the state. Each method does nothing where the part keeps nothing of that kind."""

    def merge(self, row: int, into: int) -> None:
        """End a shopper's row: what is kept goes to the row `into`, or nowhere (NO_ROW: erased)."""

    def remove_shoppers(self, rows: Rows) -> None:
        """Keep nothing of these shoppers."""

    def remove_items(self, rows: Rows) -> None:
        """Keep nothing of these items."""


class KeepsNoRows:
    """The base of parts: it keeps nothing per shopper or item. A part overrides what it does keep."""

    def merge(self, row: int, into: int) -> None:
        """Nothing is kept of the shopper, or what is kept stays until its row is removed."""

    def remove_shoppers(self, rows: Rows) -> None:
        """Nothing is kept per shopper."""

    def remove_items(self, rows: Rows) -> None:
        """Nothing is kept per item."""
