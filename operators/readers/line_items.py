"""The lines of a cart or an order: which are items, and what an order without a value is worth."""

from __future__ import annotations

from math import fsum
from typing import TYPE_CHECKING, NamedTuple

from operators.events.validation import ORDER_TYPES, TYPES_WITH_ITEMS
from operators.readers.numbers import parse_number
from operators.readers.values import BadFieldError, check_amount
from state.events import QUANTITY_MAX, Item

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from operators.readers.fields import Fields
    from state.events import EventType

TYPES_WITH_QUANTITY = frozenset({"cart_add", "cart_remove"}) | ORDER_TYPES
"""Types of events whose items have a quantity; in others it has no meaning."""


class LineFieldNames(NamedTuple):
    """The names of the fields of a line in a format; of several ids the first that is given is used."""

    ids: Sequence[str]
    category: Sequence[str] = ("category",)
    brand: str = "brand"
    name: str = "name"
    price: str = "price"
    quantity: str = "quantity"
    position: Sequence[str] = ("position",)
    url: str = "url"
    image_url: str = "image_url"


class LineItems(NamedTuple):
    """The items of an event.

    Of an order also `other_amount`, the sum of the lines that are no items (a discount, something given
    back), and the `error` because of which the sum of all lines is unknown.
    """

    items: tuple[Item, ...]
    other_amount: float = 0.0
    error: BadFieldError | None = None

    def order_value(self, stated: float | None, *, is_refund: bool = False) -> float | None:
        """The value of the order: the `stated` one, else the sum of its lines where not all are items.

        None means that it is the sum of its items. Raises BadFieldError where it cannot be known.
        """
        if stated is not None:
            return stated
        if self.error is not None:
            raise self.error
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
    """Read the lines of an event of this type; `items_path` is the path of all of them.

    Lines that are no items are noted and left out: those without an id, and in an order those with a
    quantity of 0 or a negative amount. Raises BadFieldError where an event needs an item and has none.
    """
    items: list[Item] = []
    other_amounts: list[float] = []
    first_error: BadFieldError | None = None
    for product in products:
        item_id = product.item_id(*names.ids)
        try:
            price, quantity = _price(product, names.price), _quantity(product, names.quantity)
        except BadFieldError as error:
            first_error = first_error or error
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
    return LineItems(tuple(items), fsum(other_amounts), first_error)


def first_amount(*readers: Callable[[], float | None]) -> float | None:
    """The first of these amounts that is given. An error is raised only where none is given."""
    first_error: BadFieldError | None = None
    for read in readers:
        try:
            if (amount := read()) is not None:
                return amount
        except BadFieldError as error:
            first_error = first_error or error
    if first_error is not None:
        raise first_error
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
        url=product.text(names.url),
        image_url=product.text(names.image_url),
    )


def _price(product: Fields, name: str) -> float | None:
    price = product.number(name)
    if price is not None:
        check_amount(abs(price), product.path_of(name))
    return price


def _quantity(product: Fields, name: str) -> float:
    """Pieces, or the weight of goods that are sold by weight; 1 where it is absent."""
    if not product.has(name):
        return 1
    value = product.values[name]
    quantity = parse_number(value)
    if quantity is None or abs(quantity) > QUANTITY_MAX:
        raise BadFieldError("schema_violation", product.path_of(name), f"{value!r:.40} pieces")
    return int(quantity) if quantity.is_integer() else quantity


def _read_leniently(product: Fields, names: LineFieldNames) -> tuple[float | None, float]:
    """Price and quantity; one that cannot be read is noted and counts as missing."""
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
