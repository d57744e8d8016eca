"""The properties of e-commerce events by the Segment spec, which PostHog shares (`ecommerce.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from operators.events.validation import TYPES_WITH_ITEMS
from operators.readers.ecommerce import SINGLE_ITEM_TYPES, TRACK_TYPES
from operators.readers.fast.items import line_item
from operators.readers.fast.values import (
    UnusualRecordError,
    amount,
    category_path,
    first_text,
    item_id,
    item_tuple,
    net_amount,
    normalized_name,
    order_id,
    text,
    upper_text,
)

if TYPE_CHECKING:
    from state.events import EventType, Item

NOT_GIVEN = msgspec.UNSET
Given = msgspec.Raw | msgspec.UnsetType
"""A field whose presence makes a record unusual."""


class ShopProduct(msgspec.Struct, gc=False):
    """A line."""

    product_id: str | None = None
    id: str | None = None
    sku: str | None = None
    category: str | None = None
    brand: str | None = None
    name: str | None = None
    price: float | None = None
    quantity: float | None = None
    position: int | None = None
    url: str | None = None
    image_url: str | None = None


class ShopProperties(ShopProduct, gc=False):
    """The properties of an event: also those of its only item."""

    products: list[ShopProduct] | None = None
    order_id: str | None = None
    revenue: float | None = None
    subtotal: float | None = None
    total: float | None = None
    tax: float | None = None
    shipping: float | None = None
    value: float | None = None
    currency: str | None = None
    query: str | None = None
    list_id: str | None = None
    cart_id: str | None = None
    reco: Given = NOT_GIVEN
    title: str | None = None


def track_type(name: str, properties: ShopProperties) -> EventType:
    """The type of a tracked event."""

    if properties.reco is not NOT_GIVEN:
        raise UnusualRecordError
    return TRACK_TYPES.get(normalized_name(name), "custom")


def shop_fields(event_type: EventType, properties: ShopProperties) -> dict[str, Any]:
    """The fields of the event that are read from the properties."""
    is_order = event_type == "purchase"
    if event_type == "refund" or properties.reco is not NOT_GIVEN:
        raise UnusualRecordError
    products: list[ShopProduct] = properties.products or []
    if not products and event_type in SINGLE_ITEM_TYPES:
        products = [properties]
    items = [_item(event_type, product) for product in products]
    fields: dict[str, Any] = {
        "items": item_tuple(items, is_needed=event_type in TYPES_WITH_ITEMS),
        "order_id": order_id(properties.order_id, is_needed=is_order),
        "currency": upper_text(properties.currency),
        "cart_id": text(properties.cart_id),
    }
    if is_order:
        fields["value"] = _net_value(properties)
    elif event_type == "search":
        fields["query"] = text(properties.query)
    elif event_type == "list_view":
        fields["list_id"] = first_text(properties.list_id, properties.category)
    return fields


def _item(event_type: EventType, product: ShopProduct) -> Item:
    category = product.category
    return line_item(
        event_type,
        item_id(product.product_id, product.id, product.sku),
        () if category is None else category_path(category),
        product.brand,
        product.name,
        product.price,
        product.quantity,
        product.position,
        product.url,
        product.image_url,
    )


def _net_value(properties: ShopProperties) -> float | None:
    """The value without tax and shipping: the first of these that is given."""
    for stated in (properties.revenue, properties.subtotal):
        if stated is not None:
            return amount(stated)
    if properties.total is not None:
        return net_amount(properties.total, properties.tax, properties.shipping)
    return amount(properties.value)
