"""Puts out facts for the key figures: what an event says of lists, carts, orders and refunds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.shoppers import amounts
from operators.shoppers.refunds import pack_prices, pack_refund
from state.events import Reco
from state.kpis import KIND_BY_TYPE, ORDER, REFUND, CountedEvent, Fact, FactItem

if TYPE_CHECKING:
    from operators.shards.shard_shoppers import ShardShoppers
    from state.events import Event

_NO_RECO = Reco()


def count_event(
    shoppers: ShardShoppers, shopper_id: str, event: Event, event_hash: bytes, position: int
) -> None:
    """Put out the fact of an event, if the key figures count such events."""
    kind = KIND_BY_TYPE.get(event.type)
    if kind is None:
        return
    if kind == REFUND and event.apart is not None:
        return  # in a currency without a rate: no figure is in it
    is_order = kind == ORDER
    reco, campaign = event.reco or _NO_RECO, event.campaign
    packed = pack_prices(event) if is_order else b""
    if kind == REFUND:
        packed = pack_refund(event_hash, event)
    only_place = reco.position if len(event.items) == 1 else None
    fact = Fact(
        event_hash,
        kind,
        event.event_ts,
        tuple(
            FactItem(
                item.item_id,
                item.position or only_place or number,
                amounts.items_micros((item,)) if is_order else 0,
            )
            for number, item in enumerate(event.items, start=1)
        ),
        reco.list_id or "",
        reco.slot or "",
        reco.model or "",
        reco.experiment or "",
        reco.variant or "",
        event.device or "",
        event.country or "",
        (campaign and campaign.name) or "",
        event.order_id or "",
        amounts.value_micros(event) if is_order else 0,
        amounts.unit_count(event.items) if is_order else 0,
        packed,
    )
    shoppers.output.counted_events.append(CountedEvent(position, shopper_id, fact))
