"""The plain events of a batch as columns of numbers, as the compiled fold takes them."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from operators.kernels import shopper_columns as c
from operators.shards.duplicates import TYPE_NUMBER
from operators.shards.interactions import INTERACTION_TYPES
from operators.shoppers import amounts
from operators.shoppers.id_hashes import HASH_BYTES
from state.money import AMOUNT_MAX, MICROS_PER_UNIT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.kernels.shopper_columns import Cells
    from operators.tables.texts import TextPool
    from state.events import Event, Item

UNPLAIN_TYPES = frozenset({"refund", "consent", "erase", "item"})
"""Types of events that change more than counters, sessions and affinities."""


def type_flags(*names: str) -> NDArray[np.bool_]:
    """By number of a type, whether it is one of these."""
    return np.isin([*TYPE_NUMBER], names)


_IS_INTERACTION = type_flags(*INTERACTION_TYPES)
_HAS_GOODS = type_flags("cart_add", "cart_remove", "purchase")


def is_plain(event: Event) -> bool:
    """Whether the fold can count an event: it states no consent, and no amount in another currency."""
    return event.consent is None and event.apart is None and event.type not in UNPLAIN_TYPES


class PlainEventColumns(NamedTuple):
    """`events` int64[n, EVENT_COLUMNS] and `items` int64[m, 2], see `kernels.shopper_columns`, with
    those items; `owners` are the numbers of their events."""

    events: Cells
    items: Cells
    item_list: list[Item]
    owners: NDArray[np.intp]


def event_columns(
    events: Sequence[Event],
    rows: Sequence[int],
    watermarks_ms: Sequence[int],
    reached_ms: int | None,
    texts: TextPool,
) -> PlainEventColumns:
    """The columns of events whose shoppers are in these rows. `reached_ms` is the watermark that all
    partitions have reached; None where it is that of each event."""
    cells = np.zeros((len(events), c.EVENT_COLUMNS), np.int64)
    types = np.array([TYPE_NUMBER[event.type] for event in events], np.int64)
    cells[:, c.ROW] = rows
    cells[:, c.AT_MS] = [event.event_ts for event in events]
    cells[:, c.TYPE] = types
    hashes = b"".join(
        [blake2b(event.event_id.encode(), digest_size=HASH_BYTES).digest() for event in events]
    )
    cells[:, c.HASH] = np.frombuffer(hashes, "<i8")
    cells[:, c.WATERMARK_MS] = watermarks_ms
    cells[:, c.REACHED_MS] = watermarks_ms if reached_ms is None else reached_ms
    for number in np.flatnonzero(_HAS_GOODS[types]).tolist():
        event = events[number]
        cells[number, c.GOODS_MICROS] = amounts.items_micros(event.items)
        if event.type == "purchase":
            cells[number, c.VALUE_MICROS] = amounts.value_micros(event)
            cells[number, c.PIECES] = amounts.unit_count(event.items)
            cells[number, c.EVENT_CURRENCY] = texts.code_of(event.currency or "")
    # Of other types of events no item counts.
    counts = np.array([len(event.items) for event in events]) * _IS_INTERACTION[types]
    owners = np.repeat(np.arange(len(events)), counts)
    items = [item for event in events if event.type in INTERACTION_TYPES for item in event.items]
    cells[:, c.ITEM_TO] = np.cumsum(counts)
    cells[:, c.ITEM_FROM] = cells[:, c.ITEM_TO] - counts
    return PlainEventColumns(cells, _item_columns(items, texts), items, owners)


def _item_columns(items: list[Item], texts: TextPool) -> Cells:
    cells = np.empty((len(items), 2), np.int64)
    code_of_path = texts.code_of_path
    cells[:, c.CATEGORY] = [code_of_path(item.category) for item in items]
    # An item without a price has NaN here. Not by `to_column`, which takes longer for few items.
    prices = np.array([item.price for item in items], np.float64)
    micros = np.fmin(np.rint(prices * MICROS_PER_UNIT), AMOUNT_MAX).astype(np.int64)
    np.minimum(micros, AMOUNT_MAX, out=micros)
    cells[:, c.PRICE_MICROS] = np.where(np.isnan(prices), c.NO_PRICE, micros)
    return cells
