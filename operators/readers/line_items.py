"""The lines of a cart or an order: which are items, and what an order is worth that does not say it."""

from __future__ import annotations

from math import fsum
from typing import TYPE_CHECKING, NamedTuple

from operators.events.validation import NEEDS_ITEMS, ORDERS
from operators.readers.fields import BadFieldError, Fields, in_range
from operators.readers.numbers import read_number
from state.events import QUANTITY_MAX, Item

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from state.events import EventType

COUNTED = frozenset({"cart_add", "cart_remove"}) | ORDERS
"""Events whose items come in pieces; elsewhere a quantity says nothing."""


class Names(NamedTuple):
    """What a format calls the fields of a line; of several ids the first that is there."""

    ids: Sequence[str]
    category: Sequence[str] = ("category",)
    brand: str = "brand"
    name: str = "name"
    price: str = "price"
    quantity: str = "quantity"
    position: Sequence[str] = ("position",)


class Lines(NamedTuple):
    """The items of an event; of an order also `rest`, what lines are worth that are no items (a
    discount, something given back), and the `fault` that makes unknown what all are worth."""

    items: tuple[Item, ...]
    rest: float = 0.0
    fault: BadFieldError | None = None

    def order_value(self, told: float | None, *, is_refund: bool = False) -> float | None:
        """What the order is worth: as it is `told`, else by its lines where not all are items.

        None says that it is the sum of its items. Raises BadFieldError where nobody can know.
        """
        if told is not None:
            return told
        if self.fault is not None:
            raise self.fault
        if not self.rest:
            return None
        amounts = (item.price * item.quantity for item in self.items if item.price)
        worth = round(fsum((*amounts, self.rest)), 6)
        return abs(worth) if is_refund else max(0.0, worth)


def read_lines(
    kind: EventType,
    products: Sequence[Fields],
    names: Names,
    where: str,
    available: Callable[[Fields], bool | None] = lambda _: None,
) -> Lines:
    """The lines of an event of that kind; `where` is the path of all of them.

    What is no item is noted and left out: a line without an id, a piece of nothing, and in an order
    what costs less than nothing.
    """
    items: list[Item] = []
    rest: list[float] = []
    fault: BadFieldError | None = None
    for product in products:
        item_id = product.item_id(*names.ids)
        try:
            price, quantity = _price(product, names.price), _quantity(product, names.quantity)
        except BadFieldError as wrong:
            fault = fault or wrong
            price, quantity = _what_can_be_read(product, names)
        if kind not in COUNTED:
            quantity = 1
        elif quantity < 0 and kind == "refund":
            quantity = -quantity
        amount = (price or 0.0) * quantity
        if kind in ORDERS and (quantity <= 0 or amount < 0):
            product.leave_out(names.price if quantity > 0 else names.quantity)
            rest.append(amount)
        elif item_id is None:
            if not product.has(names.ids[0]):
                product.leave_out(names.ids[0])
            rest.append(amount)
        else:
            items.append(_item(product, names, item_id, price, quantity, available))
    if not items and kind in NEEDS_ITEMS:
        if products:
            where, message = products[0].at(names.ids[0]), "an item needs an id"
        else:
            message = f"{kind} needs an item"
        raise BadFieldError("schema_violation", where, message)
    return Lines(tuple(items), fsum(rest), fault)


def told_worth(*ways: Callable[[], float | None]) -> float | None:
    """What the first of these tells; what cannot be read counts only where no other tells it."""
    fault: BadFieldError | None = None
    for way in ways:
        try:
            if (found := way()) is not None:
                return found
        except BadFieldError as wrong:
            fault = fault or wrong
    if fault is not None:
        raise fault
    return None


def _item(
    product: Fields,
    names: Names,
    item_id: str,
    price: float | None,
    quantity: float,
    available: Callable[[Fields], bool | None],
) -> Item:
    if price is not None and price < 0:
        product.leave_out(names.price)
        price = None
    if quantity <= 0:
        product.leave_out(names.quantity)
        quantity = 1
    places = (product.position(name) for name in names.position)
    return Item(
        item_id=item_id,
        category=product.category(*names.category),
        brand=product.text(names.brand),
        name=product.text(names.name),
        price=price,
        quantity=quantity,
        position=next((place for place in places if place is not None), None),
        available=available(product),
    )


def _price(product: Fields, name: str) -> float | None:
    found = product.number(name)
    if found is not None:
        in_range(abs(found), product.at(name))
    return found


def _quantity(product: Fields, name: str) -> float:
    """Pieces, or how much of goods by weight; 1 where it is not told."""
    if not product.has(name):
        return 1
    value = product.values[name]
    found = read_number(value)
    if found is None or abs(found) > QUANTITY_MAX:
        raise BadFieldError("schema_violation", product.at(name), f"{value!r:.40} pieces")
    return int(found) if found.is_integer() else found


def _what_can_be_read(product: Fields, names: Names) -> tuple[float | None, float]:
    """Price and quantity, each as if it were not there where it cannot be read; they are noted."""
    price, quantity = None, 1.0
    try:
        price = _price(product, names.price)
    except BadFieldError:
        product.leave_out(names.price)
    try:
        quantity = _quantity(product, names.quantity)
    except BadFieldError:
        product.leave_out(names.quantity)
    return price, quantity
