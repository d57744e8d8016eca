"""Puts out what an event says about items: interactions and feedback, from which models learn.

Only for the purposes that the shopper does not refuse. Hot: runs for nearly every event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.shoppers import amounts
from state.entries import Feedback, Interaction, ItemUpdate, LimitedInteraction, PlacedOrder
from state.money import AMOUNT_MAX, to_micros
from state.shopper import PERSONALIZATION

if TYPE_CHECKING:
    from operators.shards.shard_shoppers import ShardShoppers
    from state.events import Event
    from state.shopper import Session, Shopper

INTERACTION_TYPES = frozenset({"item_view", "cart_add", "purchase", "wishlist_add"})
"""Event types that say what a shopper likes: lists learn from them."""

FEEDBACK_TYPES = frozenset({"cart_remove", "refund", "reco_view", "reco_click"})
"""Event types that say what came of an item: given back, shown in a list, clicked in one."""

EMITTED_TYPES = INTERACTION_TYPES | FEEDBACK_TYPES


def emit_interactions(
    shoppers: ShardShoppers,
    shopper_id: str,
    shopper: Shopper,
    event: Event,
    position: int,
    session: Session | None,
    refused: int,
) -> None:
    """Put out the items of an event of `EMITTED_TYPES`; count its affinities and viewed prices."""
    at_ms, event_type = event.event_ts, event.type
    if event_type in FEEDBACK_TYPES:
        if not refused & PERSONALIZATION:
            put_out_feedback(shoppers, shopper_id, event, position)
        return
    session_ms = at_ms if session is None else session.start_ms
    put_out_items(shoppers, shopper_id, event, position, session_ms, refused)
    affinities = shoppers.config.affinities
    for item in event.items:
        if category := "/".join(item.category):
            affinities.add(shopper, category, at_ms)
        if item.price is not None and event_type == "item_view":
            price = shopper.viewed_price_micros + to_micros(item.price)
            shopper.viewed_price_micros = price if price < AMOUNT_MAX else AMOUNT_MAX
            shopper.viewed_prices += 1


def put_out_items(
    shoppers: ShardShoppers,
    shopper_id: str,
    event: Event,
    position: int,
    session_ms: int,
    refused: int,
) -> None:
    """Put out the items of an event of `INTERACTION_TYPES`, in a session that began at `session_ms`."""
    at_ms, event_type = event.event_ts, event.type
    output, item_updates = shoppers.output, shoppers.item_updates
    currency, country = amounts.price_currency(event), event.country or ""
    for item in event.items:
        interaction = Interaction(
            position,
            shopper_id,
            item.item_id,
            event_type,
            at_ms,
            session_ms,
            "/".join(item.category),
            country,
        )
        if not refused:
            output.interactions.append(interaction)
        else:
            output.limited_interactions.append(LimitedInteraction(refused, interaction))
        # An item whose price is in another currency says less than the same item before it.
        if not refused & PERSONALIZATION and (
            event.apart is None or item.item_id not in item_updates
        ):
            item_updates[item.item_id] = ItemUpdate(at_ms, item, currency)
    if event_type == "purchase":
        output.orders.append(PlacedOrder(shopper_id, amounts.value_micros(event), at_ms))


def put_out_feedback(shoppers: ShardShoppers, shopper_id: str, event: Event, position: int) -> None:
    """Put out what came of items, each with its position in the list where it was shown."""
    list_position = event.reco and event.reco.position
    for number, item in enumerate(event.items, start=1):
        only_item_position = list_position if len(event.items) == 1 else None
        item_position = item.position or only_item_position or number
        shoppers.output.feedback.append(
            Feedback(
                position,
                shopper_id,
                item.item_id,
                event.type,
                event.event_ts,
                item_position - 1,
            )
        )
