"""Key figures: what is kept of a shopper's events, the sums, and the stored state of the step `kpis`.

Stored: fields are only appended, with defaults; `FIGURES` and the kinds only grow at their end.
"""

from __future__ import annotations

import msgspec

from state.entries import Entry
from state.journal_files import JournalPosition

VIEW, CLICK, CART, ORDER, REFUND = range(5)
"""Kinds of facts: a list seen, an item of one clicked, a cart filled, an order, a refund."""

KIND_BY_TYPE = {
    "reco_view": VIEW,
    "reco_click": CLICK,
    "cart_add": CART,
    "purchase": ORDER,
    "refund": REFUND,
}

FIGURES = (
    "views",
    "clicked",
    "clicks",
    "orphan_clicks",
    "carts",
    "orders",
    "revenue",
    "gross",
    "direct_orders",
    "direct_revenue",
    "assisted_orders",
    "assisted_revenue",
    "late_corrections",
)
"""What is added up by hour and scope; money in millionths."""

Sums = list[int]
"""A sum for each of `FIGURES`."""


class FactItem(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An item of a fact: its place in the list from 1, and price times quantity in millionths."""

    item: str
    place: int
    goods_micros: int


class Fact(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What is kept of one event for the key figures. Times in ms.

    `event_hash` makes it count once. `list_id` and what follows it are those of the list that was seen
    or clicked, "" where the event does not say; `order_id` is that of an order or a refund.
    `value_micros`, `units` and `packed` (prices of the items, or the refund) are as in
    `state.shopper.Order`.
    """

    event_hash: bytes
    kind: int
    at_ms: int
    items: tuple[FactItem, ...] = ()
    list_id: str = ""
    slot: str = ""
    source: str = ""
    experiment: str = ""
    variant: str = ""
    device: str = ""
    country: str = ""
    campaign: str = ""
    order_id: str = ""
    value_micros: int = 0
    units: int = 0
    packed: bytes = b""


class CountedEvent(Entry, frozen=True):
    """A fact of a shopper, from the event at a position of the batch."""

    position: int
    shopper: str
    fact: Fact


class KpiRecord(msgspec.Struct):
    """One record of the journal: facts by shopper, sums by scope and hour; empty for what is gone."""

    facts: dict[str, list[Fact]] = {}
    sums: dict[str, dict[int, Sums]] = {}


class KpiState(msgspec.Struct):
    """The state of the step `kpis`; `facts` and `sums` are in the `journal`, if there is one.

    `published_hour` is the hour of the last report, `is_unclean` says that the journal names somebody
    who was erased, `unpublished` are the scopes and hours that changed since that report.
    """

    batches: dict[str, int] = {}
    newest_ms: int = 0
    clock_ms: int = 0
    report_ms: int = 0
    published_hour: int = 0
    is_unclean: bool = False
    journal: JournalPosition | None = None
    record: KpiRecord = msgspec.field(default_factory=KpiRecord)
    unpublished: list[tuple[str, int]] = []
