"""The step of a device shard as its specification: messages in, the whole output."""

from __future__ import annotations

import pytest

from operators.shards.config import ProcessorConfig
from operators.shards.device_shard import DeviceShard
from operators.tables.barrier import BarrierError
from state.config import Lifecycle, Profiles, Sessions, State
from state.entries import UserMention
from state.messages import BatchId, BatchTurn, DeviceShardInput
from tests.plain_values import plain
from tests.streams import MINUTE_MS, START_MS, event, view

CONFIG = ProcessorConfig.from_config(Sessions(shards=1), Profiles(), State(), Lifecycle())
VIEWED_MS = START_MS + MINUTE_MS
IDENTIFIED_MS = START_MS + 2 * MINUTE_MS
LATER_MS = START_MS + 60 * MINUTE_MS

FIRST = DeviceShardInput(
    BatchId("0", 0),
    shard=0,
    events=[
        view(1, 0, "ann"),
        view(2, MINUTE_MS, "bob"),
        event("identify", 3, 2 * MINUTE_MS, "ann", "u1"),
    ],
    positions=[0, 1, 2],
    watermarks_ms=[0, 0, 0],
    user_mentions=[UserMention(2, "u1", IDENTIFIED_MS, 0)],
)
"""Two devices look at an item, and one of them identifies."""

SECOND = DeviceShardInput(
    BatchId("0", 1, watermark_ms=LATER_MS),
    shard=0,
    events=[view(4, 60 * MINUTE_MS, "ann")],
    positions=[0],
    watermarks_ms=[LATER_MS],
)
"""An hour later the device that has identified comes back."""

TURNS = (BatchTurn("0", 0), BatchTurn("0", 1))


def test_anonymous_shoppers_are_put_out_and_users_forwarded() -> None:
    (output,) = DeviceShard(CONFIG).process(FIRST)
    assert plain(output) == {
        "batch": "0/0",
        "active": [
            {
                "shopper": "bob",
                "known": False,
                "refused": 0,
                "features": {
                    "sessions": 1,
                    "session_events": 1,
                    "views": 1,
                    "viewed_price": 9_990_000,
                    "viewed_prices": 1,
                    "first_ms": VIEWED_MS,
                    "last_ms": VIEWED_MS,
                    "top_share": 1,
                    "session_start_ms": VIEWED_MS,
                    "session_last_ms": VIEWED_MS,
                    "open_events": 1,
                    "open_views": 1,
                },
                "profile": {
                    "known": "0",
                    "first_ms": str(VIEWED_MS),
                    "last_ms": str(VIEWED_MS),
                    "events": "1",
                    "sessions": "1",
                    "session_s_mean": "0.0",
                    "depth": "1.00",
                    "views": "1",
                    "carts": "0",
                    "cart_rate": "0.0000",
                    "purchases": "0",
                    "revenue": "0.00",
                    "price_level": "9.99",
                    "top_category": "wear/kind 1",
                    "top_category_share": "1.0000",
                    "intent": "considering",
                },
            }
        ],
        "interactions": [
            (1, "bob", "item 1", "item_view", VIEWED_MS, VIEWED_MS, "wear/kind 1", "")
        ],
        "item_updates": [(VIEWED_MS, "item 1", "", 0)],
        "removal_writes": [
            (
                "DEL",
                "ps:1:shopper:{ann}:profile",
                "ps:1:shopper:{ann}:session",
                "ps:1:shopper:{ann}:segments",
                "ps:1:shopper:{ann}:top:home",
            )
        ],
        "writes": [
            ("SET", "ps:1:alias:{ann}", "u1", "EX", 180 * 86_400),
            (
                "HSET",
                "ps:1:shopper:{bob}:session",
                {
                    "id": f"bob:{VIEWED_MS}",
                    "start_ms": str(VIEWED_MS),
                    "last_ms": str(VIEWED_MS),
                    "events": "1",
                    "views": "1",
                    "carts": "0",
                    "purchases": "0",
                    "cart_value": "0.00",
                    "intent": "considering",
                },
            ),
            ("PEXPIRE", "ps:1:shopper:{bob}:session", str(31 * MINUTE_MS)),
        ],
        "expiry_writes": [("EXPIRE", "ps:1:shopper:{bob}:profile", str(30 * 86_400))],
        "forwarded_events": [(2, "u1", "3", 0, -1)],
        "state_transfers": [
            {
                "position": 2,
                "anonymous_id": "ann",
                "shopper": "u1",
                "state": {
                    "first_ms": START_MS,
                    "last_ms": START_MS,
                    "events": 1,
                    "views": 1,
                    "viewed_price_micros": 9_990_000,
                    "viewed_prices": 1,
                    "sessions": 1,
                    "session_events": 1,
                    "open_sessions": [
                        {
                            "start_ms": START_MS,
                            "last_ms": START_MS,
                            "events": 1,
                            "views": 1,
                            "intent": 1,
                        }
                    ],
                    "recent_event_hashes": "f6fc42039fba3776",
                    "recent_event_details": "00002e90edd00003",
                    "affinity": {"wear/kind 1": 1.681793212890625},
                    "affinity_scale": 1322,
                    "consent": (0, None, None, None),
                    "refused_ms": (0, 0, 0),
                },
                "at_ms": IDENTIFIED_MS,
                "interactions": [
                    (0, "u1", "item 1", "item_view", START_MS, START_MS, "wear/kind 1", "")
                ],
            }
        ],
        "new_aliases": [(2, "u1", "ann")],
        "totals": {"devices:0": {"accepted": 2, "shoppers": 1, "sessions_opened": 1}},
    }


def test_later_events_of_the_device_are_forwarded_and_ended_sessions_closed() -> None:
    _, output = DeviceShard(CONFIG).process_batch([FIRST, *TURNS, SECOND])
    assert plain(output) == {
        "batch": "0/1",
        "watermark_ms": LATER_MS,
        "writes": [("DEL", "ps:1:shopper:{bob}:session")],
        "forwarded_events": [(0, "u1", "4", LATER_MS, -1)],
        "totals": {
            "devices:0": {
                "accepted": 2,
                "shoppers": 1,
                "sessions_opened": 1,
                "sessions_closed": 1,
            }
        },
        "sequence": 1,
    }


def test_a_batch_waits_for_its_turn_and_a_turn_for_its_batch() -> None:
    shard = DeviceShard(CONFIG)
    assert shard.process_batch([SECOND, TURNS[0]]) == []
    with pytest.raises(BarrierError, match="1 batches and 1 turns wait"):
        shard.snapshot()
    assert [output.batch.number for output in shard.process_batch([FIRST])] == [0]
    with pytest.raises(BarrierError, match="1 batches and 0 turns wait"):
        shard.on_epoch_end()
    assert [output.batch.number for output in shard.process_batch([TURNS[1]])] == [1]
    assert shard.snapshot()
