"""The canonical event: every reader produces it and every operator consumes it.

Adding an optional field with a default is safe. Any other change changes the public event schema. The
types here describe a valid event; `operators.events` finds bad values and turns them into dead letters.
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
"""Stored state refers to a type by its position here: append new types at the end."""
EVENT_TYPES: frozenset[str] = frozenset(get_args(EventType))

EVENT_BYTES_MAX = 1024 * 1024
"""Kafka's own default; `source.event_bytes_max` sets another limit."""
EVENT_ITEMS_MAX = 500
"""More than real carts hold; `source.event_items_max` sets another limit."""
PROPS_BYTES_MAX = 32 * 1024
EVENT_ID_CHARS_MAX = 100
SHOPPER_ID_CHARS_MAX = 128
ORDER_ID_CHARS_MAX = 128
MONEY_MAX = 1e12
"""Greater than any real order; sums of such amounts stay exact enough and finite."""

QUANTITY_MAX = 1_000_000

ItemId = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Pieces = Annotated[int, msgspec.Meta(ge=1, le=QUANTITY_MAX)]
Weight = Annotated[float, msgspec.Meta(gt=0, le=QUANTITY_MAX)]
Position = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]

SHORTENED = "items beyond the limit"
"""Entry in `left_out` of an event that had more items than the limit."""
NO_PROPS = msgspec.Raw(b"{}")


class Item(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One item of an event. `price` is for one piece, in the event's currency.

    The quantity of goods sold by weight or length may be a fraction, such as .35 kg.
    """

    item_id: ItemId
    category: tuple[str, ...] = ()
    brand: str | None = None
    name: str | None = None
    price: float | None = None
    quantity: Pieces | Weight = 1
    position: Position | None = None
    available: bool | None = None
    url: str | None = None
    image_url: str | None = None


class Consent(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The purposes that the shopper agreed to; None: not asked."""

    analytics: bool | None = None
    personalization: bool | None = None
    ads: bool | None = None


class Page(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The page on which the event happened."""

    url: str | None = None
    path: str | None = None
    referrer: str | None = None
    title: str | None = None


class Campaign(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The campaign that led the shopper to the shop."""

    source: str | None = None
    medium: str | None = None
    name: str | None = None
    term: str | None = None
    content: str | None = None


class Reco(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The list that an event belongs to: on `reco_view`, `reco_click` and the purchase that follows.

    `position` counts from 1; `propensity` is the probability with which the item was shown there;
    `list_id` is the id of the list, where `penstock serve` made it.
    """

    slot: str | None = None
    model: str | None = None
    position: Position | None = None
    experiment: str | None = None
    variant: str | None = None
    propensity: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    list_id: str | None = msgspec.field(default=None, name="list")


class Event(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One action of a shopper. Times in ms since 1970; `value` is the net merchandise value.

    `received_ts` 0 on the wire means "equal to `event_ts`"; decoding fills it in. `left_out` has
    the names of source fields that a reader could not read; it is only counted. `apart` is not part
    of the wire format: the amount in a currency without a rate (`operators.events.currencies`).
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
