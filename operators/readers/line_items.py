"""The lines of a cart or an order: which are items, and what an order is worth that does not say it."""

from __future__ import annotations

from math import fsum
from typing import TYPE_CHECKING, NamedTuple

from operators.events.validation import ORDER_TYPES, TYPES_WITH_ITEMS
from operators.readers.fields import BadFieldError, Fields, check_amount
from operators.readers.numbers import parse_number
from state.events import QUANTITY_MAX, Item

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from state.events import EventType

TYPES_WITH_QUANTITY = frozenset({"cart_add", "cart_remove"}) | ORDER_TYPES
"""Events whose items come in pieces; elsewhere a quantity says nothing."""


class LineFieldNames(NamedTuple):
    """What a format calls the fields of a line; of several ids the first that is there."""

    ids: Sequence[str]
    category: Sequence[str] = ("category",)
    brand: str = "brand"
    name: str = "name"
    price: str = "price"
    quantity: str = "quantity"
    position: Sequence[str] = ("position",)


class LineItems(NamedTuple):
    """The items of an event; of an order also `rest`, what lines are worth that are no items (a
    discount, something given back), and the `fault` that makes unknown what all are worth."""

    items: tuple[Item, ...]
    other_amount: float = 0.0
    fault: BadFieldError | None = None

    def order_value(self, stated: float | None, *, is_refund: bool = False) -> float | None:
        """What the order is worth: as it is `stated`, else by its lines where not all are items.

        None says that it is the sum of its items. Raises BadFieldError where nobody can know.
        """
        if stated is not None:
            return stated
        if self.fault is not None:
            raise self.fault
        if not self.other_amount:
            return None
        amounts = (item.price * item.quantity for item in self.items if item.price)
        total = round(fsum((*amounts, self.other_amount)), 6)
        return abs(total) if is_refund else max(0.0, total)


def read_line_items(
    event_type: EventType,
    products: Sequence[Fields],
    names: LineFieldNames,
    items_path: str,
    read_available: Callable[[Fields], bool | None] = lambda _: None,
) -> LineItems:
    """The lines of an event of that kind; `items_path` is the path of all of them.

    What is no item is noted and left out: a line without an id, a piece of nothing, and in an order
    what costs less than nothing.
    """
    items: list[Item] = []
    other_amounts: list[float] = []
    fault: BadFieldError | None = None
    for product in products:
        item_id = product.item_id(*names.ids)
        try:
            price, quantity = _price(product, names.price), _quantity(product, names.quantity)
        except BadFieldError as error:
            fault = fault or error
            price, quantity = _read_leniently(product, names)
        if event_type not in TYPES_WITH_QUANTITY:
            quantity = 1
        elif quantity < 0 and event_type == "refund":
            quantity = -quantity
        amount = (price or 0.0) * quantity
        if event_type in ORDER_TYPES and (quantity <= 0 or amount < 0):
            product.note_unreadable(names.price if quantity > 0 else names.quantity)
            other_amounts.append(amount)
        elif item_id is None:
            if not product.has(names.ids[0]):
                product.note_unreadable(names.ids[0])
            other_amounts.append(amount)
        else:
            items.append(_item(product, names, item_id, price, quantity, read_available))
    if not items and event_type in TYPES_WITH_ITEMS:
        if products:
            items_path, message = products[0].path_of(names.ids[0]), "an item needs an id"
        else:
            message = f"{event_type} needs an item"
        raise BadFieldError("schema_violation", items_path, message)
    return LineItems(tuple(items), fsum(other_amounts), fault)


def first_amount(*readers: Callable[[], float | None]) -> float | None:
    """What the first of these tells; what cannot be read counts only where no other tells it."""
    fault: BadFieldError | None = None
    for read in readers:
        try:
            if (amount := read()) is not None:
                return amount
        except BadFieldError as error:
            fault = fault or error
    if fault is not None:
        raise fault
    return None


def _item(
    product: Fields,
    names: LineFieldNames,
    item_id: str,
    price: float | None,
    quantity: float,
    read_available: Callable[[Fields], bool | None],
) -> Item:
    if price is not None and price < 0:
        product.note_unreadable(names.price)
        price = None
    if quantity <= 0:
        product.note_unreadable(names.quantity)
        quantity = 1
    positions = (product.position(name) for name in names.position)
    return Item(
        item_id=item_id,
        category=product.category(*names.category),
        brand=product.text(names.brand),
        name=product.text(names.name),
        price=price,
        quantity=quantity,
        position=next((position for position in positions if position is not None), None),
        available=read_available(product),
    )


def _price(product: Fields, name: str) -> float | None:
    price = product.number(name)
    if price is not None:
        check_amount(abs(price), product.path_of(name))
    return price


def _quantity(product: Fields, name: str) -> float:
    """Pieces, or how much of goods by weight; 1 where it is not told."""
    if not product.has(name):
        return 1
    value = product.values[name]
    quantity = parse_number(value)
    if quantity is None or abs(quantity) > QUANTITY_MAX:
        raise BadFieldError("schema_violation", product.path_of(name), f"{value!r:.40} pieces")
    return int(quantity) if quantity.is_integer() else quantity


def _read_leniently(product: Fields, names: LineFieldNames) -> tuple[float | None, float]:
    """Price and quantity, each as if it were not there where it cannot be read; they are noted."""
    price, quantity = None, 1.0
    try:
        price = _price(product, names.price)
    except BadFieldError:
        product.note_unreadable(names.price)
    try:
        quantity = _quantity(product, names.quantity)
    except BadFieldError:
        product.note_unreadable(names.quantity)
    return price, quantity
