"""Takes shoppers out of a shard: erased, refusing analytics, or transferred to the shard of their user.

What the batch has put out about such a shopper is taken back (`retractions`); what it adds later under
the same id stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.shards.aliases import delete_alias
from state import keys
from state.messages import StateTransfer

if TYPE_CHECKING:
    from operators.shards.shard_shoppers import ShardShoppers
    from state.shopper import Shopper


def erase(shoppers: ShardShoppers, shopper_id: str, at_ms: int) -> None:
    """Remove a shopper here and in Redis. Its running sessions end with it, and teach nothing.

    The event that asks for the erasure is counted by the caller.
    """
    remove(shoppers, shopper_id)
    output = shoppers.output
    output.erased.append((shopper_id, at_ms))
    output.removal_writes.append(
        ("DEL", keys.profile_key(shopper_id), keys.session_key(shopper_id))
    )


def remove(shoppers: ShardShoppers, shopper_id: str) -> None:
    """Remove a shopper here; another shard publishes that it is erased."""
    shopper = shoppers.rows.pop(shopper_id, None)
    if shopper is not None:
        shoppers.dirty_names.add(shopper_id)
        shoppers.totals.shoppers -= shopper.events > 0
        shoppers.totals.sessions_closed += len(shopper.open_sessions)
        shoppers.remove_from_segments(shopper_id, shopper)
        discard_decisions(shoppers, shopper)
    shoppers.active_before_ms.pop(shopper_id, None)
    _retract_output(shoppers, shopper_id)


def withdraw_analytics(shoppers: ShardShoppers, shopper_id: str, at_ms: int) -> None:
    """Erase a shopper that was counted until now and refuses it from now on, with its aliases."""
    for device_id in shoppers.rows[shopper_id].published_devices:
        delete_alias(shoppers, device_id)
    erase(shoppers, shopper_id, at_ms)
    shoppers.refusing_analytics.append(shopper_id)


def transfer_out(
    shoppers: ShardShoppers,
    shopper_id: str,
    user_id: str,
    *,
    position: int,
    at_ms: int,
    event_watermark_ms: int,
) -> bool:
    """Remove a shopper whose state moves to the shard of its user, with what it had added to totals.

    What it did in this batch goes along: the user's shard knows whether it may be put out. False where
    there is no such shopper.
    """
    shopper = shoppers.rows.pop(shopper_id, None)
    if shopper is None:
        return False
    shoppers.dirty_names.add(shopper_id)
    # A shopper that only moves (the same id) keeps its segments.
    is_merge = shopper_id != user_id
    transitions = shoppers.remove_from_segments(shopper_id, shopper) if is_merge else []
    shoppers.unload_rules(shopper_id, shopper)
    shoppers.totals.shoppers -= shopper.events > 0
    shoppers.totals.sessions_opened -= shopper.sessions
    transfer = StateTransfer(
        position, shopper_id, user_id, shopper, at_ms, event_watermark_ms, transitions=transitions
    )
    if shoppers.active_before_ms.pop(shopper_id, None) is not None:
        shoppers.retractions.add(shoppers.output, shopper_id, transfer)
    shoppers.output.state_transfers.append(transfer)
    return True


def drop_transfer(shoppers: ShardShoppers, transfer: StateTransfer) -> None:
    """Refuse a transferred shopper, since its user is erased or refuses analytics: it goes too."""
    shopper = transfer.state
    shoppers.totals.sessions_opened += shopper.sessions
    shoppers.totals.sessions_closed += len(shopper.open_sessions)
    discard_decisions(shoppers, shopper)
    if transfer.anonymous_id != transfer.shopper:
        shoppers.output.erased.append((transfer.anonymous_id, transfer.at_ms))


def discard_decisions(shoppers: ShardShoppers, shopper: Shopper) -> None:
    """Have models learn nothing from decisions in sessions that are still open."""
    for session in shopper.open_sessions:
        shoppers.output.withdrawn_decisions += session.decision_hashes()


def _retract_output(shoppers: ShardShoppers, shopper_id: str) -> None:
    """Take back all that the batch has put out about a shopper until now."""
    output = shoppers.output
    shoppers.retractions.add(output, shopper_id, None)
    output.consent_withdrawals = [
        withdrawal for withdrawal in output.consent_withdrawals if withdrawal.shopper != shopper_id
    ]
    if output.transitions_before_merge:
        merged_ids = {merge.anonymous_id for merge in output.merged if merge.shopper == shopper_id}
        output.transitions_before_merge = [
            transition
            for transition in output.transitions_before_merge
            if transition.shopper not in merged_ids
        ]
