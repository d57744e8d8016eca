"""Takes back an event whose processing raised: it counts nowhere, and is no duplicate if sent again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.shards.order_counting import undo_order
from operators.shards.shard_journal import is_storable
from operators.shoppers.id_hashes import HASH_BYTES, id_hash

if TYPE_CHECKING:
    from operators.shards.shard_shoppers import ShardShoppers
    from state.events import Event
    from state.shopper import Shopper


def undo_event(shoppers: ShardShoppers, shopper_id: str, event: Event, position: int) -> None:
    """Take back the output of an event and that it was remembered.

    A shopper whose first event it was is removed. In the counters of another shopper stays what the
    event had added before it raised.
    """
    shoppers.totals.failed += 1
    _undo_output(shoppers, event, position)
    shopper = shoppers.rows.get(shopper_id)
    if shopper is None or not (shopper.events or shopper_id in shoppers.active_before_ms):
        return
    event_hash = id_hash(event.event_id)
    if shopper.recent_event_hashes.endswith(event_hash):
        shopper.recent_event_hashes = shopper.recent_event_hashes[:-HASH_BYTES]
        shopper.recent_event_details = shopper.recent_event_details[:-HASH_BYTES]
        shoppers.totals.accepted -= 1
        _undo_model_output(shoppers, shopper_id, event, event_hash)
        if event.type == "purchase":
            undo_order(shoppers, shopper, event)
    is_first = not (shopper.recent_event_hashes or shopper.events > 1)
    if is_first or not is_storable(shopper):
        _remove(shoppers, shopper_id, shopper)
    else:
        shoppers.refresh_rules(shopper_id, shopper)


def _undo_output(shoppers: ShardShoppers, event: Event, position: int) -> None:
    output = shoppers.output
    for emitted in (output.interactions, output.feedback):
        while emitted and emitted[-1].position == position:
            emitted.pop()
    counted = output.counted_events
    while counted and counted[-1].position == position:
        counted.pop()
    limited = output.limited_interactions
    while limited and limited[-1].interaction.position == position:
        limited.pop()
    for item in event.items:
        shoppers.item_updates.pop(item.item_id, None)


def _undo_model_output(
    shoppers: ShardShoppers, shopper_id: str, event: Event, event_hash: bytes
) -> None:
    observations, decisions = shoppers.output.observations, shoppers.output.decisions
    this_event = shopper_id, event.event_ts
    while observations and (observations[-1].shopper, observations[-1].at_ms) == this_event:
        observations.pop()
    while decisions and decisions[-1].startswith(event_hash):
        decisions.pop()


def _remove(shoppers: ShardShoppers, shopper_id: str, shopper: Shopper) -> None:
    shoppers.remove_from_segments(shopper_id, shopper)
    del shoppers.rows[shopper_id]
    shoppers.dirty_names.add(shopper_id)
    shoppers.active_before_ms.pop(shopper_id, None)
    shoppers.totals.shoppers -= 1
    shoppers.totals.sessions_opened -= shopper.sessions
