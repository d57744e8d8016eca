"""What is answered. Field names are public; new ones may be added at any time."""

from __future__ import annotations

from typing import Any

import msgspec


class Card(msgspec.Struct, omit_defaults=True, gc=False):
    """What a page shows of an item, as far as events or the catalogue contained it."""

    name: str = ""
    category: str = ""
    brand: str = ""
    price: float | None = None
    currency: str = ""
    available: bool = True
    url: str = ""
    image_url: str = ""


class ListedItem(msgspec.Struct, omit_defaults=True, gc=False):
    """One item of a list. `position` counts from 1; `why` is the reason in words.

    `propensity` is set where the item was explored: send it back with its views and clicks.
    """

    id: str
    position: int
    score: float
    reason: str
    why: str
    propensity: float | None = None
    card: Card | None = None


class ListAnswer(msgspec.Struct, gc=False):
    """A list for one slot of a page. Send `list` back with its views and clicks.

    `place` is where its first item comes from: `own`, `item` (similar to the item of the page), `cart`,
    `segment`, `category`, `all` or `none`. `at` is when that list was written (event time, ms).
    `degraded`: Redis did not answer in time, so this is an earlier answer, or the popular list.
    """

    list_id: str = msgspec.field(name="list")
    slot: str
    place: str
    source: str
    model: str
    at: int
    age_ms: int
    degraded: bool
    items: list[ListedItem]


class PageAnswer(msgspec.Struct):
    """The lists of one page, in the order in which they were asked for."""

    lists: list[ListAnswer]


class ShopperAnswer(msgspec.Struct):
    """What a page may know of a shopper: segments with the time of entering (ms), and profile fields."""

    segments: dict[str, int]
    profile: dict[str, str]
    degraded: bool = False


class ContentAnswer(msgspec.Struct):
    """The content of a slot; `why` is the segment that chose it, "" for the default."""

    slot: str
    id: str
    payload: Any
    why: str
