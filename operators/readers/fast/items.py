"""The lines of a cart or an order in usual records, see `operators.readers.line_items`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.readers.fast.values import UnusualRecordError, amount, text
from operators.readers.fields import EMPTY_TEXTS, POSITION_MAX
from operators.readers.line_items import TYPES_WITH_QUANTITY
from operators.readers.numbers import parse_number
from state.events import QUANTITY_MAX, Item

if TYPE_CHECKING:
    from state.events import EventType

NO_CATEGORY: tuple[str, ...] = ()


def line_item(
    event_type: EventType,
    item_id: str,
    category: tuple[str, ...],
    brand: str | None,
    name: str | None,
    price: float | None,
    quantity: float | str | None,
    position: int | str | None,
    url: str | None,
    image_url: str | None,
    available: bool | None = None,
) -> Item:
    """An item of an event of this type."""
    pieces = 1 if quantity == 1 else _pieces(quantity)
    if event_type not in TYPES_WITH_QUANTITY:
        pieces = 1
    if position is not None:
        position = list_position(position)
    return Item(
        item_id=item_id,
        category=category,
        brand=text(brand),
        name=text(name),
        price=amount(price),
        quantity=pieces,
        position=position,
        available=available,
        url=text(url),
        image_url=text(image_url),
    )


def _pieces(quantity: float | str | None) -> float:
    """Pieces or a weight, above zero; 1 where it is absent."""
    if quantity is None or quantity == "":
        return 1
    number = parse_number(quantity)
    if number is None or not 0 < number <= QUANTITY_MAX:
        raise UnusualRecordError
    return int(number) if number.is_integer() else number


def list_position(position: int | str | None) -> int | None:
    """A position in a list."""
    if position is None or position == "":
        return None
    if type(position) is int and 0 <= position <= POSITION_MAX:
        return position
    if type(position) is str and position.strip() in EMPTY_TEXTS:
        return None
    number = parse_number(position)
    if number is None or not 0 <= number <= POSITION_MAX:
        raise UnusualRecordError
    return int(number)
