"""The step of a user shard as its specification: messages in, the whole output."""

from __future__ import annotations

from operators.shards.config import ProcessorConfig
from operators.shards.user_shard import UserShard
from state.config import Lifecycle, Profiles, Sessions, State
from state.entries import ForwardedEvent, NewAlias
from state.messages import BatchId, ShardOutput, StateTransfer, UserShardInput
from state.shopper import Session, Shopper
from tests.plain_values import plain
from tests.streams import MINUTE_MS, START_MS, event, view

CONFIG = ProcessorConfig.from_config(Sessions(shards=2), Profiles(), State(), Lifecycle())
BATCH = BatchId("0", 0)
IDENTIFIED_MS = START_MS + 2 * MINUTE_MS
VIEWED_MS = START_MS + 3 * MINUTE_MS


def identification() -> UserShardInput:
    """The part of the first device shard: `ann` has looked at an item and turned out to be `u1`."""
    row = Shopper(
        False,
        START_MS,
        START_MS,
        events=1,
        views=1,
        sessions=1,
        session_events=1,
        open_sessions=[Session(START_MS, START_MS, events=1, views=1)],
        recent_event_hashes=b"1" * 8,
        recent_event_details=b"\0" * 8,
    )
    identify = event("identify", 2, 2 * MINUTE_MS, "ann", "u1")
    return UserShardInput(
        BATCH,
        shard=0,
        parts=1,
        sequence=0,
        forwarded_events=[ForwardedEvent(2, "u1", identify, 0, -1)],
        state_transfers=[StateTransfer(2, "ann", "u1", row, IDENTIFIED_MS, 0)],
        device_outputs=[ShardOutput(BATCH, 0, 0, last=False)],
        new_aliases=[NewAlias(2, "u1", "ann")],
    )


def view_on_the_phone() -> UserShardInput:
    """The part of the second device shard: another device of `u1` looks at an item."""
    return UserShardInput(
        BATCH,
        shard=0,
        parts=1,
        sequence=0,
        forwarded_events=[ForwardedEvent(3, "u1", view(3, 3 * MINUTE_MS, "phone"), 0, -1)],
        state_transfers=[],
        device_outputs=[],
    )


def test_a_batch_waits_for_all_its_parts() -> None:
    assert UserShard(CONFIG).process(identification()) == []
    assert UserShard(CONFIG).process(view_on_the_phone()) == []


def test_a_complete_batch_merges_the_device_and_counts_events_in_the_order_of_reading() -> None:
    shard = UserShard(CONFIG)
    (part,) = shard.process_batch([view_on_the_phone(), identification()])
    assert plain(part) == {
        "batch": "0/0",
        "parts": 1,
        "outputs": [
            {"batch": "0/0"},
            {
                "batch": "0/0",
                "active": [
                    {
                        "shopper": "u1",
                        "known": True,
                        "refused": 0,
                        "features": {
                            "sessions": 1,
                            "session_ms": 3 * MINUTE_MS,
                            "session_events": 3,
                            "views": 2,
                            "viewed_price": 9_990_000,
                            "viewed_prices": 1,
                            "first_ms": START_MS,
                            "last_ms": VIEWED_MS,
                            "top_share": 1,
                            "session_start_ms": START_MS,
                            "session_last_ms": VIEWED_MS,
                            "open_events": 3,
                            "open_views": 2,
                        },
                        "profile": {
                            "known": "1",
                            "first_ms": str(START_MS),
                            "last_ms": str(VIEWED_MS),
                            "events": "3",
                            "sessions": "1",
                            "session_s_mean": "180.0",
                            "depth": "3.00",
                            "views": "2",
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
                    (3, "u1", "item 1", "item_view", VIEWED_MS, START_MS, "wear/kind 1", "")
                ],
                "item_updates": [(VIEWED_MS, "item 1", "", 0)],
                "merged": [("ann", "u1", IDENTIFIED_MS)],
                "writes": [
                    (
                        "HSET",
                        "ps:1:shopper:{u1}:session",
                        {
                            "id": f"u1:{START_MS}",
                            "start_ms": str(START_MS),
                            "last_ms": str(VIEWED_MS),
                            "events": "3",
                            "views": "2",
                            "carts": "0",
                            "purchases": "0",
                            "cart_value": "0.00",
                            "intent": "considering",
                        },
                    ),
                    ("PEXPIRE", "ps:1:shopper:{u1}:session", str(31 * MINUTE_MS)),
                ],
                "expiry_writes": [("EXPIRE", "ps:1:shopper:{u1}:profile", str(90 * 86_400))],
                "totals": {
                    "users:0": {"accepted": 2, "shoppers": 1, "sessions_opened": 1, "merges": 1}
                },
            },
        ],
    }
    assert shard.shoppers.rows["u1"].published_devices == ("ann",)
