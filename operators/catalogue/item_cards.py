"""Item cards: the newest data of each item, from views and from the catalogue, and what changed.

A change that may interest shoppers who viewed the item (it is back in stock, its price drops) is a
`CatalogueEvent`. Cards are stored by id; the fields of their Redis HASH are public.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from state import keys
from state.interactions import ItemCard

if TYPE_CHECKING:
    from collections.abc import Iterable

    from state.entries import ItemUpdate
    from state.events import Item
    from state.messages import Arguments, Write

CARD_TTL_S = 30 * 86_400
ADDRESS_CHARS_MAX = 2048
_ADDRESS_STARTS = ("https://", "http://", "/")
BACK_IN_STOCK, PRICE_DROP = "back-in-stock", "price-drop"


class CatalogueEvent(NamedTuple):
    """Something that happened to an item: the name of the trigger, the item, event time (ms)."""

    name: str
    item: str
    at_ms: int


class ItemCards:
    """Cards by item id, and which of them changed since they were published, stored, or taken.

    A price that falls by the share `price_drop_min` at once is a catalogue event.
    """

    def __init__(
        self,
        by_id: dict[str, ItemCard] | None = None,
        unpublished: set[str] | None = None,
        *,
        price_drop_min: float = 0.05,
    ) -> None:
        self.by_id = {} if by_id is None else by_id
        self.unpublished = set() if unpublished is None else unpublished
        self.dirty: set[str] = set()
        """Items whose card is to be stored."""
        self._changed: set[str] = set()
        self._price_drop_min = price_drop_min
        self._catalogue_events: list[CatalogueEvent] = []

    def take_catalogue_events(self) -> list[CatalogueEvent]:
        """What happened to items since the last call."""
        events, self._catalogue_events = self._catalogue_events, []
        return events

    def take_changed(self) -> list[str]:
        """The items whose cards changed since the last call, sorted."""
        changed, self._changed = sorted(self._changed), set()
        return changed

    def update(self, updates: Iterable[ItemUpdate]) -> None:
        """Update cards. Newer data replaces older data.

        A field that an update does not give keeps its value. An older update only fills fields that are
        empty, so that a catalogue may arrive before or after the views of its items.
        """
        by_id = self.by_id
        for update in updates:
            at_ms, item, currency = update.at_ms, update.item, update.currency
            card = by_id.get(item.item_id)
            if card is None:
                card = by_id[item.item_id] = ItemCard(at_ms)
                self.dirty.add(item.item_id)
            elif at_ms < card.at_ms:
                if _fill_gaps(card, item, currency):
                    self._mark_changed(item.item_id)
                continue
            else:
                card.at_ms = at_ms
                self.dirty.add(item.item_id)
                if _is_unchanged(card, item, currency):
                    continue
                self._catalogue_events += detect_catalogue_events(
                    card, item, currency, at_ms, self._price_drop_min
                )
            card.name = item.name or card.name
            card.category = item.category or card.category
            card.brand = item.brand or card.brand
            card.price = card.price if item.price is None else item.price
            card.currency = currency or card.currency
            card.available = card.available if item.available is None else item.available
            card.url = web_address(item.url) or card.url
            card.image_url = web_address(item.image_url) or card.image_url
            self._mark_changed(item.item_id)

    def _mark_changed(self, item_id: str) -> None:
        self.dirty.add(item_id)
        self.unpublished.add(item_id)
        self._changed.add(item_id)

    def remove(self, names: Iterable[str]) -> None:
        """Remove the cards of these items. Their keys in Redis expire."""
        for name in names:
            if self.by_id.pop(name, None) is not None:
                self.unpublished.discard(name)
                self.dirty.add(name)

    def take_writes(self) -> list[Write]:
        """The commands that publish the changed cards as HASHes."""
        changed, self.unpublished = sorted(self.unpublished), set()
        writes: list[Write] = []
        for name in changed:
            key, card = keys.card_key(name), self.by_id[name]
            fields: Arguments = ("HSET", key, "available", int(card.available is not False))
            if card.name:
                fields += ("name", card.name)
            if card.category:
                fields += ("category", "/".join(card.category))
            if card.brand:
                fields += ("brand", card.brand)
            if card.price is not None:
                fields += ("price", f"{card.price:.2f}")
            if card.currency:
                fields += ("currency", card.currency)
            if card.url:
                fields += ("url", card.url)
            if card.image_url:
                fields += ("image_url", card.image_url)
            writes += [fields, ("EXPIRE", key, CARD_TTL_S)]
        return writes


def detect_catalogue_events(
    card: ItemCard, item: Item, currency: str, at_ms: int, drop_min: float
) -> Iterable[CatalogueEvent]:
    """What newer data of an item mean, given its card before them. `drop_min`: least drop, a share.

    >>> from state.events import Item; from state.interactions import ItemCard
    >>> sold_out = ItemCard(1, price=10.0, available=False)
    >>> found = detect_catalogue_events(sold_out, Item("mug", available=True), "", 2, 0.05)
    >>> [event.name for event in found]
    ['back-in-stock']
    >>> card = ItemCard(1, price=10.0)
    >>> cheaper = [Item("mug", price=price) for price in (9.5, 9.6)]
    >>> [[e.name for e in detect_catalogue_events(card, item, "", 2, 0.05)] for item in cheaper]
    [['price-drop'], []]
    """
    if item.available and card.available is False:
        yield CatalogueEvent(BACK_IN_STOCK, item.item_id, at_ms)
    is_available = item.available if item.available is not None else card.available is not False
    if item.price is None or not card.price or not is_available:
        return
    is_same_currency = not currency or card.currency in ("", currency)
    if is_same_currency and item.price <= card.price * (1 - drop_min):
        yield CatalogueEvent(PRICE_DROP, item.item_id, at_ms)


def _is_unchanged(card: ItemCard, item: Item, currency: str) -> bool:
    """Whether an update repeats what the card says."""
    return (
        (item.price is None or item.price == card.price)
        and (not item.category or item.category == card.category)
        and (not item.name or item.name == card.name)
        and (not item.brand or item.brand == card.brand)
        and (item.available is None or item.available == card.available)
        and (not currency or currency == card.currency)
        and (item.url is None or (web_address(item.url) or card.url) == card.url)
        and (
            item.image_url is None
            or (web_address(item.image_url) or card.image_url) == card.image_url
        )
    )


def _fill_gaps(card: ItemCard, item: Item, currency: str) -> bool:
    """Fill empty fields of a card from an older update. Returns whether there was anything to fill."""
    before = msgspec.structs.astuple(card)
    card.name = card.name or item.name
    card.category = card.category or item.category
    card.brand = card.brand or item.brand
    card.price = item.price if card.price is None else card.price
    card.currency = card.currency or currency
    if card.available is None:
        card.available = item.available
    card.url = card.url or web_address(item.url)
    card.image_url = card.image_url or web_address(item.image_url)
    return before != msgspec.structs.astuple(card)


def web_address(text: str | None) -> str:
    """An address that a page may use as a link or picture; "" for any other.

    >>> web_address("/mug.html"), web_address("https://shop.example/mug"), web_address("javascript:x")
    ('/mug.html', 'https://shop.example/mug', '')
    """
    if text is None or len(text) > ADDRESS_CHARS_MAX or not text.startswith(_ADDRESS_STARTS):
        return ""
    return text
