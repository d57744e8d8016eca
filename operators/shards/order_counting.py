"""Money of an event: an order counts once, a refund gives back no more than its order was worth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from operators.shoppers import orders
from operators.shoppers.id_hashes import id_hash
from state.money import MICROS_PER_UNIT, is_saturated

if TYPE_CHECKING:
    from operators.shards.shard_shoppers import ShardShoppers
    from state.events import Event
    from state.shopper import Session, Shopper

MONEY_TYPES = frozenset({"cart_add", "cart_remove", "purchase", "refund"})
"""Event types whose amounts are added up."""


def is_duplicate_order(shopper: Shopper, event: Event, retention_ms: int) -> bool:
    """Whether the order of a purchase was counted before, under whatever event id."""
    assert event.order_id is not None
    order_hash = id_hash(event.order_id)
    order = orders.find(shopper, order_hash, event.event_ts, retention_ms)
    return order is not None and order.has_arrived


def apply_money(
    shoppers: ShardShoppers,
    shopper_id: str,
    shopper: Shopper,
    session: Session | None,
    event: Event,
    event_hash: bytes,
) -> Event:
    """Count an order or a refund. Gives the event back, a refund with the amount that it gave back."""
    retention_ms = shoppers.config.order_retention_ms
    if event.type == "purchase" and event.order_id is not None:
        order_hash = id_hash(event.order_id)
        refunded_more, at_ms = orders.record_order(shopper, order_hash, event, retention_ms)
        if refunded_more and shoppers.rule_engine is not None:
            shoppers.rule_engine.add_refund_difference(shopper_id, shopper, refunded_more, at_ms)
    elif event.type == "refund" and event.order_id is not None:
        order_hash = id_hash(event.order_id)
        refunded_micros = orders.record_refund(shopper, order_hash, event_hash, event, retention_ms)
        event = replace(event, value=refunded_micros / MICROS_PER_UNIT)
    shoppers.totals.saturated += _is_saturated(shopper, session)
    return event


def undo_order(shoppers: ShardShoppers, shopper: Shopper, event: Event) -> None:
    """Forget the order of a purchase whose processing failed: it counts when it is sent again."""
    assert event.order_id is not None
    order_hash = id_hash(event.order_id)
    order = shopper.orders.get(order_hash)
    if order is not None and order.at_ms == event.event_ts:
        del shopper.orders[order_hash]
    emitted = shoppers.output.orders
    if emitted and emitted[-1].at_ms == event.event_ts:
        emitted.pop()


def _is_saturated(shopper: Shopper, session: Session | None) -> bool:
    """Whether a sum of a shopper or of its session is at the largest amount there is."""
    sums = shopper.revenue_micros, shopper.refund_micros, shopper.units
    return is_saturated(*sums) or (session is not None and is_saturated(session.cart_micros))
