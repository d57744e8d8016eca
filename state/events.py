"""The canonical event: what every reader and adapter produces and every operator consumes.

Adding an optional field with a default is safe. Anything else changes the public event schema.
Bad values are found by `operators.events.decode`, which turns them into dead letters; the types here say
what a good event looks like.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import msgspec

EventType = Literal[
    "page_view",
    "search",
    "list_view",
    "item_view",
    "cart_add",
    "cart_remove",
    "checkout_start",
    "purchase",
    "refund",
    "wishlist_add",
    "reco_view",
    "reco_click",
    "identify",
    "consent",
    "erase",
    "item",
    "custom",
]
"""Shoppers remember a type by its place here: a new one goes last."""
EVENT_TYPES: frozenset[str] = frozenset(get_args(EventType))

EVENT_BYTES_MAX = 1024 * 1024
"""What Kafka takes by default; `source.event_bytes_max` sets another limit."""
EVENT_ITEMS_MAX = 500
"""As many as the largest carts take; `source.event_items_max` sets another limit."""
PROPS_BYTES_MAX = 32 * 1024
EVENT_ID_CHARS_MAX = 100
SHOPPER_ID_CHARS_MAX = 128
ORDER_ID_CHARS_MAX = 128
MONEY_MAX = 1e12
"""More than any order is worth; sums of such amounts stay exact enough and finite."""

QUANTITY_MAX = 1_000_000

ItemId = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Pieces = Annotated[int, msgspec.Meta(ge=1, le=QUANTITY_MAX)]
Weight = Annotated[float, msgspec.Meta(gt=0, le=QUANTITY_MAX)]
Position = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]

SHORTENED = "items beyond the limit"
"""Stands in `left_out` of an event that had more items than count."""
NO_PROPS = msgspec.Raw(b"{}")


class Item(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One item of an event. `price` is for one piece, in the event's currency.

    Of goods by weight or length the quantity is a part or a number with one: .35 kg.
    """

    item_id: ItemId
    category: tuple[str, ...] = ()
    brand: str | None = None
    name: str | None = None
    price: float | None = None
    quantity: Pieces | Weight = 1
    position: Position | None = None
    available: bool | None = None


class Consent(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What the shopper agreed to; None means not asked."""

    analytics: bool | None = None
    personalization: bool | None = None
    ads: bool | None = None


class Page(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Where it happened."""

    url: str | None = None
    path: str | None = None
    referrer: str | None = None
    title: str | None = None


class Campaign(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What brought the shopper here."""

    source: str | None = None
    medium: str | None = None
    name: str | None = None
    term: str | None = None
    content: str | None = None


class Reco(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The list an event belongs to: on `reco_view`, `reco_click` and the purchase they lead to.

    `position` counts from 1; `propensity` is the chance with which the item stood there.
    """

    slot: str | None = None
    model: str | None = None
    position: Position | None = None
    experiment: str | None = None
    variant: str | None = None
    propensity: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None


class Event(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One thing a shopper did. Times in ms since 1970; `value` is net merchandise value.

    `received_ts` 0 on the wire means "as `event_ts`"; decoding fills it in. `left_out` are the fields
    that a reader could not read, by their names in the source; it is counted and goes no further.
    `apart` is no part of what is sent: what amounts came to in a currency that is not the shop's
    (`operators.events.currencies`).
    """

    event_id: Annotated[str, msgspec.Meta(min_length=1, max_length=EVENT_ID_CHARS_MAX)]
    type: EventType
    event_ts: int
    received_ts: int = 0
    anonymous_id: Annotated[str, msgspec.Meta(max_length=SHOPPER_ID_CHARS_MAX)] | None = None
    user_id: Annotated[str, msgspec.Meta(max_length=SHOPPER_ID_CHARS_MAX)] | None = None
    items: tuple[Item, ...] = ()
    order_id: Annotated[str, msgspec.Meta(max_length=ORDER_ID_CHARS_MAX)] | None = None
    value: float | None = None
    currency: str | None = None
    query: str | None = None
    list_id: str | None = None
    cart_id: str | None = None
    page: Page | None = None
    campaign: Campaign | None = None
    device: str | None = None
    country: str | None = None
    consent: Consent | None = None
    reco: Reco | None = None
    props: msgspec.Raw = NO_PROPS
    left_out: tuple[str, ...] = ()
    apart: Annotated[float, msgspec.Meta(ge=0)] | None = msgspec.field(default=None, name="_apart")
