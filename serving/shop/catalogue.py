"""What the shop sells: the synthetic catalogue with the address and the picture of each item."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from operators.synthetic.catalogue import KINDS, build_catalogue

if TYPE_CHECKING:
    from state.events import Item

ITEMS = 500
CURRENCY = "EUR"
DEPARTMENTS = tuple(dict.fromkeys(department for _, department, _ in KINDS))


def with_addresses(item: Item) -> Item:
    """An item with the addresses of its page and its picture."""
    name = item.item_id
    return replace(item, url=f"/product/{name}", image_url=f"/pictures/{name}.svg")


class ShopCatalogue:
    """The items by id, the most popular first."""

    def __init__(self) -> None:
        self.by_id = {item.item_id: item for item in map(with_addresses, build_catalogue(ITEMS))}

    def of_department(self, department: str) -> list[Item]:
        """The items of a department, the most popular first."""
        return [item for item in self.by_id.values() if item.category[0] == department]

    def popular(self, count: int, *, beside: str = "") -> list[Item]:
        """The shop's own list, where no other comes: the most popular items, or those of one kind."""
        kind = self.by_id[beside].category if beside else ()
        items = [
            item
            for item in self.by_id.values()
            if item.item_id != beside and item.category[: len(kind)] == kind
        ]
        return items[:count]
