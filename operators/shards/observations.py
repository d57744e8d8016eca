"""What models with decision times learn from an event: how its shopper was before, what it brought.

A shopper has times at which models decide about it (`segments.propensity.decision_times`). What was
known at such a time is how the shopper was when the first event after it came. It is put out event by
event, so that it does not depend on how events were cut into batches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.segments.propensity.decision_times import TICK_MS, first_tick_ms
from operators.shoppers import amounts
from operators.shoppers.features import feature_row
from state.messages import ShopperObservation
from state.shopper import PERSONALIZATION

if TYPE_CHECKING:
    from operators.shards.config import ProcessorConfig
    from operators.shards.duplicates import DuplicateOrder
    from operators.shards.shard_shoppers import ShardShoppers
    from state.events import Event
    from state.messages import StateTransfer
    from state.shopper import Shopper


def observe_event(
    shoppers: ShardShoppers,
    shopper_id: str,
    shopper: Shopper,
    event: Event,
    event_watermark_ms: int,
) -> None:
    """Put out how a shopper was before an event, and what the event brings. Call it before it counts."""
    at_ms, reached_ms = event.event_ts, shoppers.reached_ms(event_watermark_ms)
    known_ms = at_ms if at_ms > reached_ms else reached_ms
    is_order = event.type == "purchase"
    # Most events end here: no shopper has a decision time between the last event and this one.
    if is_order or -(-shopper.last_ms // TICK_MS) * TICK_MS < known_ms:
        value_micros = amounts.value_micros(event) if is_order else None
        observation = _observation(
            shoppers.config, shopper_id, shopper, at_ms, reached_ms, value_micros
        )
        if observation is not None:
            shoppers.output.observations.append(observation)


def observe_transfer(
    shoppers: ShardShoppers, shopper_id: str, at_ms: int, event_watermark_ms: int
) -> None:
    """Put out how an anonymous shopper was before it turns out to be a user. Call it before it moves."""
    shopper = shoppers.rows.get(shopper_id)
    if shopper is None or not shopper.events or shopper.refused & PERSONALIZATION:
        return
    if shoppers.config.decision_ticks:
        reached_ms = shoppers.reached_ms(event_watermark_ms)
        observation = _observation(shoppers.config, shopper_id, shopper, at_ms, reached_ms)
        if observation is not None:
            shoppers.output.observations.append(observation)


def observe_merge(shoppers: ShardShoppers, shopper: Shopper, transfer: StateTransfer) -> None:
    """Put out how a user was before another shopper is added to it, and that the two are one."""
    user_id, at_ms = transfer.shopper, transfer.at_ms
    reached_ms = shoppers.reached_ms(transfer.watermark_ms)
    known_ms = max(at_ms, reached_ms)
    observations = shoppers.output.observations
    if shopper.events:
        observation = _observation(shoppers.config, user_id, shopper, at_ms, reached_ms)
        if observation is not None:
            observations.append(observation)
    else:
        # Until now the other shopper was not known to be this user.
        first_ms = transfer.state.first_ms
        observations.append(
            ShopperObservation(user_id, first_ms, known_ms, features_until_ms=known_ms)
        )
    observations.append(
        ShopperObservation(transfer.anonymous_id, at_ms, known_ms, merged_into=user_id)
    )


def observe_duplicate_orders(
    shoppers: ShardShoppers, transfer: StateTransfer, orders: list[DuplicateOrder]
) -> None:
    """Take back orders that both shoppers of a merge had counted."""
    known_ms = max(transfer.at_ms, shoppers.reached_ms(transfer.watermark_ms))
    shoppers.output.observations += [
        ShopperObservation(transfer.shopper, at_ms, known_ms, value_micros=-value_micros)
        for value_micros, at_ms in orders
    ]


def _observation(
    config: ProcessorConfig,
    shopper_id: str,
    shopper: Shopper,
    at_ms: int,
    reached_ms: int,
    value_micros: int | None = None,
) -> ShopperObservation | None:
    """The observation of an event at `at_ms`; None where no decision time lies before it.

    `value_micros` is that of an order.
    """
    known_ms = max(at_ms, reached_ms)
    until_ms, features_before = 0, b""
    if not shopper.events:
        # A late first event: at decision times before it came, the shopper was not known.
        until_ms = known_ms if at_ms < known_ms else 0
    else:
        idle_ms = config.known_idle_ms if shopper.known else config.idle_ms
        last_ms = shopper.last_ms
        known_until_ms = min(known_ms, last_ms + idle_ms)
        if first_tick_ms(shopper_id, last_ms, config.decision_ticks) < known_until_ms:
            until_ms = known_until_ms
            features_before = feature_row(shopper, config.affinities.top_share(shopper), None)
    if not until_ms and value_micros is None:
        return None
    return ShopperObservation(
        shopper_id, at_ms, known_ms, value_micros, "", until_ms, features_before
    )
