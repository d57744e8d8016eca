"""What the models of the weeks to come are told at an event: how its shopper was before, and what it
brought.

A shopper has times at which its chances are asked for (`operators.segments.propensity.decision_times`).
What was known
then is how it stood when the first event after it came: said here, event by event, it does not depend
on batches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.segments.propensity.decision_times import TICK_MS, first_tick_ms
from operators.shoppers.features import feature_row
from state.messages import ShopperObservation

if TYPE_CHECKING:
    from operators.shards.processor import ProcessorConfig
    from state.shopper import Shopper


def may_contain_decision_time(last_ms: int, known_ms: int) -> bool:
    """Whether any shopper's time to decide lies between two times, the second not included."""
    return -(-last_ms // TICK_MS) * TICK_MS < known_ms


def observation_of_event(
    config: ProcessorConfig,
    shopper_id: str,
    shopper: Shopper,
    at_ms: int,
    watermark_ms: int,
    value_micros: int | None = None,
) -> ShopperObservation | None:
    """What an event tells before it is counted; None for nothing. `value_micros` of an order."""
    known_ms = max(at_ms, watermark_ms)
    until_ms, features_before = 0, b""
    if not shopper.events:
        # A late first event: at times before it came nobody knew of the shopper.
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


def observation_of_merge(
    config: ProcessorConfig,
    shopper_id: str,
    shopper: Shopper,
    other: Shopper,
    at_ms: int,
    watermark_ms: int,
) -> ShopperObservation | None:
    """What it tells of a user that somebody turned out to be it, before the two are one."""
    if shopper.events:
        return observation_of_event(config, shopper_id, shopper, at_ms, watermark_ms)
    # Whatever was known of the other: nobody knew that it was this user.
    until_ms = max(at_ms, watermark_ms)
    return ShopperObservation(shopper_id, other.first_ms, until_ms, features_until_ms=until_ms)
