"""The cart of a visitor, in a cookie: `mug-0042:2,pen-0001:1`. What it says is not trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from state.events import Item

COOKIE = "shop_cart"
LINES_MAX = 20
PIECES_MAX = 9


class Cart(NamedTuple):
    """Items with their quantities."""

    lines: tuple[Item, ...] = ()

    @property
    def value(self) -> float:
        """The sum of all prices."""
        return round(sum((item.price or 0.0) * item.quantity for item in self.lines), 2)

    @property
    def pieces(self) -> int:
        """How many pieces are in it."""
        return sum(int(item.quantity) for item in self.lines)

    def changed(self, item: Item, by: int) -> Cart:
        """The cart with some pieces of an item more, or less; a full cart stays as it is."""
        others = [line for line in self.lines if line.item_id != item.item_id]
        before = sum(int(line.quantity) for line in self.lines if line.item_id == item.item_id)
        quantity = min(before + by, PIECES_MAX)
        if quantity <= 0:
            return Cart(tuple(others))
        return Cart((*others, replace(item, quantity=quantity))[:LINES_MAX])

    def cookie(self) -> str:
        """What the cookie says of it."""
        return ",".join(f"{line.item_id}:{line.quantity}" for line in self.lines)


def read_cart(cookie: str, items: Mapping[str, Item]) -> Cart:
    """The cart that a cookie describes; what is no item of the shop is left out.

    >>> from state.events import Item
    >>> read_cart("mug:2,gold:1,mug:x,:", {"mug": Item("mug", price=3.5)}).value
    7.0
    """
    cart = Cart()
    for line in cookie.split(",")[:LINES_MAX]:
        name, _, digits = line.partition(":")
        if name in items and digits.isascii() and digits.isdigit() and len(digits) == 1:
            cart = cart.changed(items[name], int(digits))
    return cart
