"""The e-commerce names of the Segment spec, v1 and v2, which its kin and PostHog share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from operators.events.validation import ORDERS
from operators.readers.fields import plain, upper
from operators.readers.line_items import Lines, Names, read_lines, told_worth
from state.events import EventType, Reco

if TYPE_CHECKING:
    from operators.readers.fields import Fields

TRACKED: dict[str, EventType] = {
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
"""Types by name, as `plain` has it; every other name is `custom`."""

RECOMMENDED: dict[str, EventType] = {
    "product list viewed": "reco_view",
    "viewed product category": "reco_view",
    "product clicked": "reco_click",
    "clicked product": "reco_click",
}
"""What they are where `properties.reco` says that the list is a recommendation."""

OF_ONE_ITEM = frozenset({"item_view", "cart_add", "cart_remove", "wishlist_add", "reco_click"})
"""Events whose item stands in the properties themselves."""

_LINE = Names(ids=("product_id", "id", "sku"))
"""Ids of v2, of v1, and what is left where neither is sent."""


def type_of(name: str, properties: Fields) -> EventType:
    """The type of a tracked event."""
    known = plain(name)
    if known in RECOMMENDED and properties.inner("reco").values:
        return RECOMMENDED[known]
    return TRACKED.get(known, "custom")


def of_shop(kind: EventType, properties: Fields) -> dict[str, Any]:
    """What the properties tell, as fields of the event."""
    if kind == "custom":
        return {}
    is_order, is_list = kind in ORDERS, kind in ("list_view", "reco_view")
    lines = _lines(kind, properties)
    return {
        "items": lines.items,
        "order_id": properties.order_id("order_id", needed=is_order),
        "value": _net_value(kind, properties, lines) if is_order else None,
        "currency": upper(properties.text("currency")),
        "query": properties.text("query") if kind == "search" else None,
        "list_id": properties.text("list_id", "category") if is_list else None,
        "cart_id": properties.text("cart_id"),
        "reco": _reco(properties.inner("reco")),
    }


def _lines(kind: EventType, properties: Fields) -> Lines:
    products = properties.many("products")
    if not products and kind in OF_ONE_ITEM:
        products = [properties]
    return read_lines(kind, products, _LINE, properties.at("products"))


def _net_value(kind: EventType, properties: Fields, lines: Lines) -> float | None:
    """`revenue` and `subtotal` are without tax and shipping, `total` is with both."""
    is_refund = kind == "refund"
    told = told_worth(
        lambda: properties.worth("revenue", is_refund=is_refund),
        lambda: properties.worth("subtotal", is_refund=is_refund),
        lambda: properties.net("total", "tax", "shipping", is_refund=is_refund),
        lambda: properties.worth("value", is_refund=is_refund),
    )
    return lines.order_value(told, is_refund=is_refund)


def _reco(reco: Fields) -> Reco | None:
    if not reco.values:
        return None
    return Reco(
        slot=reco.text("slot"),
        model=reco.text("model"),
        position=reco.position("position"),
        experiment=reco.text("experiment"),
        variant=reco.text("variant"),
    )
