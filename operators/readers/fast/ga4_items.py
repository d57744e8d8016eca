"""Items and parameters of Google Analytics 4, which both of its formats have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from operators.events.validation import TYPES_WITH_ITEMS
from operators.readers.fast.items import line_item
from operators.readers.fast.values import category_path, first_text, item_id, item_tuple

if TYPE_CHECKING:
    from state.events import EventType, Item


class Ga4Line(msgspec.Struct, gc=False):
    """An item of an event. Whole numbers are texts in an export."""

    item_id: str | None = None
    item_name: str | None = None
    item_category: str | None = None
    item_category2: str | None = None
    item_category3: str | None = None
    item_category4: str | None = None
    item_category5: str | None = None
    item_brand: str | None = None
    price: float | None = None
    quantity: float | str | None = None
    index: int | str | None = None
    item_list_index: int | str | None = None
    item_list_id: str | None = None
    item_list_name: str | None = None
    currency: str | None = None
    url: str | None = None
    image_url: str | None = None


def items(event_type: EventType, lines: list[Ga4Line]) -> tuple[Item, ...]:
    """The items of an event."""
    found = [_item(event_type, line) for line in lines]
    return item_tuple(found, is_needed=event_type in TYPES_WITH_ITEMS)


def _item(event_type: EventType, line: Ga4Line) -> Item:
    position = line.index
    if position is None or type(position) is str:
        position = _first_position(position, line.item_list_index)
    return line_item(
        event_type,
        item_id(line.item_id, line.item_name),
        _category(line),
        line.item_brand,
        line.item_name,
        line.price,
        line.quantity,
        position,
        line.url,
        line.image_url,
    )


def _first_position(*positions: int | str | None) -> int | str | None:
    for position in positions:
        if type(position) is int or first_text(position) is not None:  # type: ignore[arg-type]
            return position
    return None


def _category(line: Ga4Line) -> tuple[str, ...]:
    first = line.item_category
    path = () if first is None else category_path(first)
    for part in (
        line.item_category2,
        line.item_category3,
        line.item_category4,
        line.item_category5,
    ):
        if part is not None:
            path += category_path(part)
    return path
