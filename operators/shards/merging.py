"""Adds a device's shopper to the user it turned out to be, in the shard of the user."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from operators.events.processing_errors import FATAL_ERRORS
from operators.shards import duplicates, observations
from operators.shards.consent import may_merge, withdraw_purposes
from operators.shoppers import inactivity, profile, sessions
from operators.shoppers.consent import merge_consent
from state.entries import MergedShopper, PlacedOrder
from state.shopper import Shopper

if TYPE_CHECKING:
    from operators.shards.shard_shoppers import ShardShoppers
    from state.events import Event
    from state.messages import StateTransfer


def merge_in(shoppers: ShardShoppers, transfer: StateTransfer, event: Event | None = None) -> None:
    """Merge a transferred shopper into its user, as far as the user's consent allows.

    `event` is that of the user at which it happens; it may say what the user refuses. Where merging
    raises, the user stays as it was; a user that was not there becomes the transferred shopper.
    """
    if not may_merge(shoppers, transfer, event):
        return
    user_id = transfer.shopper
    own = shoppers.rows.get(user_id)
    if own is not None:
        shoppers.unload_rules(user_id, own)
    own_bytes = None if own is None else msgspec.msgpack.encode(own)
    try:
        if own is None and transfer.anonymous_id == user_id:
            _adopt(shoppers, transfer)
        else:
            _merge_state(shoppers, transfer)
    except FATAL_ERRORS:
        raise
    except Exception:
        shoppers.processing_errors.record("merge", user_id)
        own = None if own_bytes is None else msgspec.msgpack.decode(own_bytes, type=Shopper)
        row = transfer.state if own is None else own
        row.known = True
        shoppers.rows[user_id] = row


def _adopt(shoppers: ShardShoppers, transfer: StateTransfer) -> None:
    """Continue with a shopper of the same id, which was kept where its devices are."""
    shoppers.adopt(transfer.shopper, transfer.state)
    _emit_transferred(shoppers, transfer)
    if transfer.position >= 0:
        shoppers.active_before_ms[transfer.shopper] = -1
        if not transfer.state.known:
            shoppers.set_known(transfer.shopper, transfer.watermark_ms, known=True)


def _merge_state(shoppers: ShardShoppers, transfer: StateTransfer) -> None:
    """Add up two shoppers that are one from now on.

    The order counts: each step reads of both what a later one changes.
    """
    config, engine, output = shoppers.config, shoppers.rule_engine, shoppers.output
    user_id, other = transfer.shopper, transfer.state
    shopper = _user_row(shoppers, transfer)
    shoppers.mark_active(user_id)
    refused_by_both = shopper.refused & other.refused
    event_time_ms = shoppers.event_time_ms(transfer.watermark_ms)
    # What is observed and decided up to now is about the user alone.
    if config.decision_ticks:
        observations.observe_merge(shoppers, shopper, transfer)
    if engine is not None:
        engine.unload_at(user_id, shopper, max(event_time_ms, other.last_ms - 1))
    # By the first and last times of both, which the profile merges.
    inactivity.merge(shopper, other, config.absence_ms)
    # Before anything is added up: what both have counted is taken out of one of them.
    _remove_duplicates(shoppers, shopper, transfer, event_time_ms)
    sessions_before = shopper.sessions
    merged_ms = max(transfer.at_ms, transfer.watermark_ms)
    sessions.merge(shopper, other, gap_ms=config.gap_ms, at_ms=merged_ms)
    shoppers.totals.sessions_opened += shopper.sessions - sessions_before
    profile.merge(shopper, other, config.affinities)
    bytes_max = config.event_hash_bytes_max
    hashes = shopper.recent_event_hashes + other.recent_event_hashes
    details = shopper.recent_event_details + other.recent_event_details
    shopper.recent_event_hashes = hashes[-bytes_max:]
    shopper.recent_event_details = details[-bytes_max:]
    for session in shopper.open_sessions:
        shoppers.watch_session(user_id, session)
    is_same = transfer.anonymous_id == user_id
    if engine is not None:
        engine.merge(user_id, shopper, other, event_time_ms, is_same=is_same)
    _emit_transferred(shoppers, transfer)
    if not is_same:
        shoppers.totals.merges += 1
        output.merged.append(MergedShopper(transfer.anonymous_id, user_id, transfer.at_ms))
    # Last: it takes back what both have put out in this batch.
    if newly_refused := shopper.refused & ~refused_by_both:
        withdraw_purposes(shoppers, user_id, shopper, newly_refused, transfer.at_ms)


def _user_row(shoppers: ShardShoppers, transfer: StateTransfer) -> Shopper:
    """The user's row; a new one with the times of the other shopper where the user was never counted."""
    user_id, other = transfer.shopper, transfer.state
    shopper = shoppers.rows.get(user_id)
    if shopper is not None and shopper.events:
        return shopper
    statement_only = shopper
    shopper = shoppers.add_shopper(user_id, other.first_ms, known=True)
    shopper.last_ms = other.last_ms
    shopper.absence_start_ms, shopper.returned_ms = other.absence_start_ms, other.returned_ms
    if statement_only is not None:
        merge_consent(shopper, statement_only)
    return shopper


def _remove_duplicates(
    shoppers: ShardShoppers, shopper: Shopper, transfer: StateTransfer, event_time_ms: int
) -> None:
    engine, user_id = shoppers.rule_engine, transfer.shopper
    window_kinds = {} if engine is None else engine.rules.window_kinds
    orders, count = duplicates.remove_duplicates(
        shopper, transfer.state, window_kinds, event_time_ms
    )
    shoppers.output.double_counted_orders += [PlacedOrder(user_id, *order) for order in orders]
    if shoppers.config.decision_ticks:
        observations.observe_duplicate_orders(shoppers, transfer, orders)
    shoppers.totals.repeats += count


def _emit_transferred(shoppers: ShardShoppers, transfer: StateTransfer) -> None:
    """Put out, as the user's, what the device's shopper did in this batch."""
    output = shoppers.output
    output.interactions += transfer.interactions
    output.feedback += transfer.feedback
    output.orders += transfer.orders
    output.transitions_before_merge += transfer.transitions
    output.limited_interactions += transfer.limited_interactions
