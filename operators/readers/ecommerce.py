"""The e-commerce names of the Segment spec, v1 and v2, which its kin and PostHog share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from operators.readers.fields import item, plain, upper
from state.events import EventType, Reco

if TYPE_CHECKING:
    from operators.readers.fields import Fields
    from state.events import Item

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

COUNTED = frozenset({"cart_add", "cart_remove", "purchase", "refund"})
"""Events whose items come in pieces; elsewhere a quantity says nothing."""
OF_ONE_ITEM = frozenset({"item_view", "cart_add", "cart_remove", "wishlist_add", "reco_click"})
"""Events whose item stands in the properties themselves."""

_IDS = ("product_id", "id", "sku")
"""Of v2, of v1, and what is left where neither is sent."""


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
    is_order, is_list = kind in ("purchase", "refund"), kind in ("list_view", "reco_view")
    return {
        "items": _items(kind, properties),
        "order_id": properties.order_id("order_id", needed=is_order),
        "value": _net_value(properties) if is_order else None,
        "currency": upper(properties.text("currency")),
        "query": properties.text("query") if kind == "search" else None,
        "list_id": properties.text("list_id", "category") if is_list else None,
        "cart_id": properties.text("cart_id"),
        "reco": _reco(properties.inner("reco")),
    }


def _items(kind: EventType, properties: Fields) -> tuple[Item, ...]:
    products = properties.many("products")
    if not products and kind in OF_ONE_ITEM:
        products = [properties]
    return tuple(
        item(
            product,
            _IDS,
            category=["category"],
            brand="brand",
            name="name",
            price="price",
            position="position",
            counted=kind in COUNTED,
        )
        for product in products
    )


def _net_value(properties: Fields) -> float | None:
    """`revenue` and `subtotal` are without tax and shipping, `total` is with both."""
    for name in ("revenue", "subtotal"):
        if (found := properties.money(name)) is not None:
            return found
    if (found := properties.net("total", "tax", "shipping")) is not None:
        return found
    return properties.money("value")


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
