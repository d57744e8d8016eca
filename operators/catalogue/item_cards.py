"""Item cards: what a page shows of an item, as last told by a view or by the catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.catalogue.item_alerts import turns_of
from state import keys
from state.interactions import Card

if TYPE_CHECKING:
    from collections.abc import Iterable

    from operators.catalogue.item_alerts import Turn
    from state.events import Item
    from state.messages import Arguments, Write

CARD_TTL_S = 30 * 86_400


class Cards:
    """Cards by item id, which of them changed since they were last written, and which since they
    were last stored. A price that falls by the share `drop_min` is a turn."""

    def __init__(
        self,
        rows: dict[str, Card] | None = None,
        changed: set[str] | None = None,
        *,
        drop_min: float = 0.05,
    ) -> None:
        self.rows = {} if rows is None else rows
        self.changed = set() if changed is None else changed
        self.unstored: set[str] = set()
        self._fresh: set[str] = set()
        self._drop_min = drop_min
        self._turns: list[Turn] = []

    def take_turns(self) -> list[Turn]:
        """What happened to items since last asked."""
        turns, self._turns = self._turns, []
        return turns

    def take_fresh(self) -> list[str]:
        """The items whose cards changed since last asked, sorted."""
        fresh, self._fresh = sorted(self._fresh), set()
        return fresh

    def learn(self, told: Iterable[tuple[int, Item, str]]) -> None:
        """Hear of items: event time, item, currency. What is newer replaces what is older.

        What is not told of an item stays as it was; what is older tells what nothing newer did, so that
        a catalogue may come before or after the views of its items.
        """
        rows = self.rows
        for at_ms, item, currency in told:
            card = rows.get(item.item_id)
            if card is None:
                card = rows[item.item_id] = Card(at_ms)
                self.unstored.add(item.item_id)
            elif at_ms < card.at_ms:
                if self._complete(card, item, currency):
                    self.unstored.add(item.item_id)
                    self.changed.add(item.item_id)
                    self._fresh.add(item.item_id)
                continue
            else:
                card.at_ms = at_ms
                self.unstored.add(item.item_id)
                if (
                    (item.price is None or item.price == card.price)
                    and (not item.category or item.category == card.category)
                    and (not item.name or item.name == card.name)
                    and (not item.brand or item.brand == card.brand)
                    and (item.available is None or item.available == card.available)
                    and (not currency or currency == card.currency)
                ):
                    continue
                self._turns += turns_of(card, item, currency, at_ms, self._drop_min)
            card.name = item.name or card.name
            card.category = item.category or card.category
            card.brand = item.brand or card.brand
            card.price = card.price if item.price is None else item.price
            card.currency = currency or card.currency
            card.available = card.available if item.available is None else item.available
            self.changed.add(item.item_id)
            self._fresh.add(item.item_id)

    @staticmethod
    def _complete(card: Card, item: Item, currency: str) -> bool:
        """Take from an older word what the card does not tell; whether there was anything."""
        before = (card.name, card.category, card.brand, card.price, card.currency, card.available)
        card.name = card.name or item.name
        card.category = card.category or item.category
        card.brand = card.brand or item.brand
        card.price = item.price if card.price is None else card.price
        card.currency = card.currency or currency
        if card.available is None:
            card.available = item.available
        return before != (
            card.name,
            card.category,
            card.brand,
            card.price,
            card.currency,
            card.available,
        )

    def forget(self, names: Iterable[str]) -> None:
        """These items were never told of; what Redis shows of them expires."""
        for name in names:
            if self.rows.pop(name, None) is not None:
                self.changed.discard(name)
                self.unstored.add(name)

    def writes(self) -> list[Write]:
        """The changed cards as HASHes, each once."""
        changed, self.changed = sorted(self.changed), set()
        writes: list[Write] = []
        for name in changed:
            key, card = keys.card_key(name), self.rows[name]
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
