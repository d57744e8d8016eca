"""What the training of items gets of a batch: the entries of all shards in the order of events."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from struct import Struct
from typing import TYPE_CHECKING, TypeVar

from operators.shoppers.features import LAST_MS_COLUMN
from state.interactions import CART, PURCHASE, VIEW, EventColumns
from state.shopper import PERSONALIZATION
from state.training import ItemEvents

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from state.entries import Interaction, ItemUpdate
    from state.messages import ShardPart

T = TypeVar("T")

_COLUMNS = attrgetter(
    "shopper", "item", "event_type", "at_ms", "session_start_ms", "category", "country"
)
_KIND_OF_TYPE = {
    "item_view": VIEW,
    "wishlist_add": VIEW,
    "cart_add": CART,
    "purchase": PURCHASE,
}
_POSITION = attrgetter("position")
_TIME_AND_ORDER = attrgetter("at_ms", "order")
_FLOAT64 = Struct("d")


@dataclass(frozen=True, slots=True)
class ItemBatch:
    """A whole batch. `merged` are pairs of an anonymous shopper and the user that it turned out to be,
    "" for one that was erased. `forgotten` withdrew consent for personalization; `evicted` left memory.
    `newest_ms` is the newest event time of active shoppers."""

    interactions: Sequence[Interaction]
    serves_ads: Sequence[bool] | None
    item_updates: Sequence[ItemUpdate]
    merged: Sequence[tuple[str, str]]
    forgotten: Sequence[str]
    evicted: Sequence[str]
    newest_ms: int
    last: bool

    @classmethod
    def from_parts(cls, parts: Sequence[ItemEvents]) -> ItemBatch:
        """The messages of all shards, in the order of shards."""
        interactions, serves_ads = _interactions(parts)
        erased = [(name, "") for part in parts for name in part.erased]
        return cls(
            interactions,
            serves_ads,
            sorted(chain.from_iterable(part.item_updates for part in parts), key=_TIME_AND_ORDER),
            [(one.anonymous_id, one.shopper) for part in parts for one in part.merged] + erased,
            [
                one.shopper
                for part in parts
                for one in part.consent_withdrawals
                if one.purposes & PERSONALIZATION
            ],
            [name for part in parts for name in part.evicted],
            max(part.newest_ms for part in parts),
            any(part.last for part in parts),
        )

    def columns(self, weights: Mapping[str, float]) -> EventColumns:
        """The interactions as columns; `weights` says how much an event of each type counts."""
        if not self.interactions:
            return no_interactions()
        shoppers, items, types, at_ms, session_ms, categories, countries = zip(
            *map(_COLUMNS, self.interactions), strict=True
        )
        return EventColumns(
            shoppers,
            items,
            [_KIND_OF_TYPE[event_type] for event_type in types],
            [weights[event_type] for event_type in types],
            at_ms,
            session_ms,
            [category or None for category in categories],
            [],
            countries=[country or None for country in countries],
        )


def item_events_of(part: ShardPart) -> ItemEvents:
    """What items are trained with of shards' part of a batch."""
    outputs = part.outputs
    active = _joined([output.active for output in outputs])
    offset, unpack = LAST_MS_COLUMN * _FLOAT64.size, _FLOAT64.unpack_from
    evicted = _joined([output.evicted for output in outputs])
    back = {row.shopper for row in active} if evicted else frozenset()
    return ItemEvents(
        part.batch,
        part.sequence,
        part.shard,
        any(output.last for output in outputs),
        int(max([unpack(row.features, offset)[0] for row in active], default=0)),
        _joined([output.interactions for output in outputs]),
        _joined([output.limited_interactions for output in outputs]),
        _joined([output.item_updates for output in outputs]),
        _joined([output.merged for output in outputs]),
        [name for output in outputs for name, _ in output.erased],
        [name for name, _ in evicted if name not in back],
        _joined([output.consent_withdrawals for output in outputs]),
        part.parts,
    )


def no_interactions() -> EventColumns:
    """No columns at all."""
    return EventColumns([], [], [], [], [], [], [], [])


def _joined(lists: list[list[T]]) -> list[T]:
    """The entries of all lists: of most parts of a small batch there are none, or only one list."""
    filled = [entries for entries in lists if entries]
    return filled[0] if len(filled) == 1 else list(chain.from_iterable(filled))


def _interactions(
    parts: Sequence[ItemEvents],
) -> tuple[list[Interaction], list[bool] | None]:
    """What shoppers did with items, in the order in which it was read, and whether ads may use it."""
    limited = [
        entry.interaction
        for part in parts
        for entry in part.limited_interactions
        if not entry.refused & PERSONALIZATION
    ]
    ordered = sorted(chain(limited, *(part.interactions for part in parts)), key=_POSITION)
    if not limited:
        return ordered, None
    without_ads = set(map(id, limited))
    return ordered, [id(entry) not in without_ads for entry in ordered]
