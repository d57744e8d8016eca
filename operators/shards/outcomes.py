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
from state.messages import Heard

if TYPE_CHECKING:
    from operators.shards.processor import Rules
    from state.shopper import Shopper


def may_lie_between(last_ms: int, heard_ms: int) -> bool:
    """Whether any shopper's time to decide lies between two times, the second not included."""
    return -(-last_ms // TICK_MS) * TICK_MS < heard_ms


def of_event(
    rules: Rules,
    name: str,
    shopper: Shopper,
    at_ms: int,
    watermark_ms: int,
    worth: int | None = None,
) -> Heard | None:
    """What an event tells before it is counted; None for nothing. `worth` of an order."""
    heard_ms = max(at_ms, watermark_ms)
    until_ms, before = 0, b""
    if not shopper.events:
        # A late first event: at times before it came nobody knew of the shopper.
        until_ms = heard_ms if at_ms < heard_ms else 0
    else:
        idle_ms = rules.known_idle_ms if shopper.known else rules.idle_ms
        last_ms = shopper.last_ms
        reach_ms = min(heard_ms, last_ms + idle_ms)
        if first_tick_ms(name, last_ms, rules.decision_ticks) < reach_ms:
            until_ms = reach_ms
            before = feature_row(shopper, rules.tastes.share(shopper), None)
    if not until_ms and worth is None:
        return None
    return Heard(name, at_ms, heard_ms, worth, "", until_ms, before)


def of_move(
    rules: Rules, name: str, shopper: Shopper, other: Shopper, at_ms: int, watermark_ms: int
) -> Heard | None:
    """What it tells of a user that somebody turned out to be it, before the two are one."""
    if shopper.events:
        return of_event(rules, name, shopper, at_ms, watermark_ms)
    # Whatever was known of the other: nobody knew that it was this user.
    until_ms = max(at_ms, watermark_ms)
    return Heard(name, other.first_ms, until_ms, until_ms=until_ms)
