"""E-commerce events by the names of the Segment spec, v1 and v2, which similar senders and PostHog
share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from operators.events.validation import ORDER_TYPES
from operators.readers.common_fields import read_reco
from operators.readers.line_items import LineFieldNames, LineItems, first_amount, read_line_items
from operators.readers.values import normalize_name, upper

if TYPE_CHECKING:
    from operators.readers.fields import Fields
    from state.events import EventType

TRACK_TYPES: dict[str, EventType] = {
    "products searched": "search",
    "product list viewed": "list_view",
    "product list filtered": "list_view",
    "viewed product category": "list_view",
    "product viewed": "item_view",
    "viewed product": "item_view",
    "product added": "cart_add",
    "added product": "cart_add",
    "wishlist product added to cart": "cart_add",
    "product removed": "cart_remove",
    "removed product": "cart_remove",
    "product added to wishlist": "wishlist_add",
    "added product to wishlist": "wishlist_add",
    "checkout started": "checkout_start",
    "started order": "checkout_start",
    "order completed": "purchase",
    "completed order": "purchase",
    "order refunded": "refund",
    "refunded order": "refund",
    "segment consent preference updated": "consent",
}
"""Types by the name of the event, as `normalize_name` writes it; every other name is `custom`."""

RECOMMENDATION_TYPES: dict[str, EventType] = {
    "product list viewed": "reco_view",
    "viewed product category": "reco_view",
    "product clicked": "reco_click",
    "clicked product": "reco_click",
}
"""Types of events where `properties.reco` says that the list is a recommendation."""

SINGLE_ITEM_TYPES = frozenset(
    {"item_view", "cart_add", "cart_remove", "wishlist_add", "reco_click"}
)
"""Types of events whose properties are those of their one item."""

_LINE_FIELDS = LineFieldNames(ids=("product_id", "id", "sku"))
"""Ids of v2 and of v1, and the one that is used where neither is sent."""


def track_type(name: str, properties: Fields) -> EventType:
    """The type of a tracked event."""
    normalized = normalize_name(name)
    if normalized in RECOMMENDATION_TYPES and properties.child("reco").values:
        return RECOMMENDATION_TYPES[normalized]
    return TRACK_TYPES.get(normalized, "custom")


def read_shop_fields(event_type: EventType, properties: Fields) -> dict[str, Any]:
    """The fields of the event that are read from the properties."""
    if event_type == "custom":
        return {}
    is_order, is_list = event_type in ORDER_TYPES, event_type in ("list_view", "reco_view")
    lines = _line_items(event_type, properties)
    return {
        "items": lines.items,
        "order_id": properties.order_id("order_id", needed=is_order),
        "value": _net_value(event_type, properties, lines) if is_order else None,
        "currency": upper(properties.text("currency")),
        "query": properties.text("query") if event_type == "search" else None,
        "list_id": properties.text("list_id", "category") if is_list else None,
        "cart_id": properties.text("cart_id"),
        "reco": read_reco(properties.child("reco")),
    }


def _line_items(event_type: EventType, properties: Fields) -> LineItems:
    products = properties.children("products")
    if not products and event_type in SINGLE_ITEM_TYPES:
        products = [properties]
    return read_line_items(event_type, products, _LINE_FIELDS, properties.path_of("products"))


def _net_value(event_type: EventType, properties: Fields, lines: LineItems) -> float | None:
    """The value without tax and shipping: `revenue` and `subtotal` are so, `total` includes both."""
    is_refund = event_type == "refund"
    stated = first_amount(
        lambda: properties.amount("revenue", is_refund=is_refund),
        lambda: properties.amount("subtotal", is_refund=is_refund),
        lambda: properties.net_amount("total", "tax", "shipping", is_refund=is_refund),
        lambda: properties.amount("value", is_refund=is_refund),
    )
    return lines.order_value(stated, is_refund=is_refund)
