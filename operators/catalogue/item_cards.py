"""Item cards: what a page shows of an item, as last told by a view or by the catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.catalogue.item_alerts import detect_catalogue_events
from state import keys
from state.interactions import ItemCard

if TYPE_CHECKING:
    from collections.abc import Iterable

    from operators.catalogue.item_alerts import CatalogueEvent
    from state.events import Item
    from state.messages import Arguments, Write

CARD_TTL_S = 30 * 86_400


class ItemCards:
    """Cards by item id, which of them changed since they were last written, and which since they
    were last stored. A price that falls by the share `price_drop_min` is a turn."""

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
        self._changed: set[str] = set()
        self._price_drop_min = price_drop_min
        self._catalogue_events: list[CatalogueEvent] = []

    def take_catalogue_events(self) -> list[CatalogueEvent]:
        """What happened to items since last asked."""
        events, self._catalogue_events = self._catalogue_events, []
        return events

    def take_changed(self) -> list[str]:
        """The items whose cards changed since last asked, sorted."""
        changed, self._changed = sorted(self._changed), set()
        return changed

    def update(self, updates: Iterable[tuple[int, Item, str]]) -> None:
        """Hear of items: event time, item, currency. What is newer replaces what is older.

        What is not told of an item stays as it was; what is older tells what nothing newer did, so that
        a catalogue may come before or after the views of its items.
        """
        by_id = self.by_id
        for at_ms, item, currency in updates:
            card = by_id.get(item.item_id)
            if card is None:
                card = by_id[item.item_id] = ItemCard(at_ms)
                self.dirty.add(item.item_id)
            elif at_ms < card.at_ms:
                if self._fill_gaps(card, item, currency):
                    self.dirty.add(item.item_id)
                    self.unpublished.add(item.item_id)
                    self._changed.add(item.item_id)
                continue
            else:
                card.at_ms = at_ms
                self.dirty.add(item.item_id)
                if (
                    (item.price is None or item.price == card.price)
                    and (not item.category or item.category == card.category)
                    and (not item.name or item.name == card.name)
                    and (not item.brand or item.brand == card.brand)
                    and (item.available is None or item.available == card.available)
                    and (not currency or currency == card.currency)
                ):
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
            self.unpublished.add(item.item_id)
            self._changed.add(item.item_id)

    @staticmethod
    def _fill_gaps(card: ItemCard, item: Item, currency: str) -> bool:
        """Take from an older word what the card does not tell; whether there was anything."""
        previous = (card.name, card.category, card.brand, card.price, card.currency, card.available)
        card.name = card.name or item.name
        card.category = card.category or item.category
        card.brand = card.brand or item.brand
        card.price = item.price if card.price is None else card.price
        card.currency = card.currency or currency
        if card.available is None:
            card.available = item.available
        return previous != (
            card.name,
            card.category,
            card.brand,
            card.price,
            card.currency,
            card.available,
        )

    def remove(self, names: Iterable[str]) -> None:
        """These items were never told of; what Redis shows of them expires."""
        for name in names:
            if self.by_id.pop(name, None) is not None:
                self.unpublished.discard(name)
                self.dirty.add(name)

    def take_writes(self) -> list[Write]:
        """The changed cards as HASHes, each once."""
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
            writes += [fields, ("EXPIRE", key, CARD_TTL_S)]
        return writes
