"""Several partitions read by several workers: the writes of a shopper have one order.

`Cluster` runs the shards of a flow and hands their messages on as a cluster may: those between two
shards come in the order they were sent in, but which of the others comes first is chance.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from bytewax.testing import cluster_main
from hypothesis import given
from hypothesis import strategies as st

from flows.dataflow import Sinks, StateStores, build
from flows.sinks.dead_letters import DeadLetterSink
from flows.sinks.redis import RedisSink
from flows.sources.recorded import RecordedSource
from operators.publish.counters import Counters
from operators.publish.digest import deterministic_rows
from operators.shards.batch_order import turn_of
from operators.shards.batching import SourceBatcher
from operators.shards.device_shard import DeviceShard
from operators.shards.sharding import regroup, shard_of
from operators.shards.user_shard import UserShard
from operators.shoppers import profile_hash
from state import keys
from state.store import Store
from tests.streams import (
    ITEMS,
    LATENESS_MS,
    MINUTE_MS,
    RULES,
    SHARDS,
    content,
    event,
    flow_settings,
    fold,
    run_flow,
    streams,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from state.events import Event, EventType
    from state.messages import (
        BatchTurn,
        DeviceShardInput,
        ShardOutput,
        ShardPart,
        UserShardInput,
    )
    from state.shopper import Shopper


class Cluster:
    """The shards of a flow on some workers, and the messages between them that have not come yet."""

    def __init__(self, workers: int, seed: int) -> None:
        # Written whole each time, as by a run that stores no state.
        config = replace(RULES, writes_changes_only=False)
        self.devices = [DeviceShard(config) for _ in range(SHARDS)]
        self.users = [UserShard(config) for _ in range(SHARDS)]
        self.workers, self.rng = workers, random.Random(seed)
        self.groups: dict[tuple[str, int], deque[DeviceShardInput]] = {}
        self.arrived: dict[str, deque[BatchTurn]] = {}
        self.turns: dict[int, deque[BatchTurn]] = {n: deque() for n in range(SHARDS)}
        self.visited: dict[int, list[ShardOutput]] = {}
        self.regrouped: dict[tuple[int, int], deque[UserShardInput]] = {}
        self.parts: dict[int, deque[ShardPart]] = {}
        self.learned: list[list[ShardOutput]] = []
        self.pending: dict[object, list[ShardPart]] = {}

    def read(self, partitions: dict[str, list[list[Event]]]) -> None:
        """Every batch of every partition, and the empty one that ends it."""
        self.send(partitions)
        self.deliver_all()

    def send(self, partitions: dict[str, list[list[Event]]]) -> None:
        for name, chunks in partitions.items():
            clock = SourceBatcher()
            for number, chunk in enumerate([*chunks, []]):
                batch = clock.batch(
                    chunk,
                    partition=name,
                    shards=SHARDS,
                    allowed_lateness_ms=LATENESS_MS,
                    partitions=len(partitions),
                    last=number == len(chunks),
                )
                for group in batch.shard_inputs:
                    self.groups.setdefault((name, group.shard), deque()).append(group)
                    if turn := turn_of(group):
                        self.arrived.setdefault(name, deque()).append(turn)

    def deliver_all(self) -> None:
        while moves := self.possible():
            kind, key = self.rng.choice(moves)
            getattr(self, f"deliver_{kind}")(key)

    def possible(self) -> list[tuple[str, Any]]:
        return [
            (kind, key)
            for kind in ("groups", "arrived", "turns", "visited", "regrouped", "parts")
            for key, waiting in getattr(self, kind).items()
            if waiting
        ]

    def deliver_groups(self, key: tuple[str, int]) -> None:
        self.visit(key[1], self.groups[key].popleft())

    def deliver_arrived(self, partition: str) -> None:
        turn = self.arrived[partition].popleft()
        for waiting in self.turns.values():
            waiting.append(turn)

    def deliver_turns(self, shard: int) -> None:
        self.visit(shard, self.turns[shard].popleft())

    def visit(self, shard: int, message: DeviceShardInput | BatchTurn) -> None:
        visited = self.devices[shard].process_batch([message])
        self.visited.setdefault(shard % self.workers, []).extend(visited)

    def deliver_visited(self, worker: int) -> None:
        arrived, self.visited[worker] = self.visited[worker], []
        for message in regroup(arrived, SHARDS):
            self.regrouped.setdefault((worker, message.shard), deque()).append(message)

    def deliver_regrouped(self, key: tuple[int, int]) -> None:
        parts = self.users[key[1]].process(self.regrouped[key].popleft())
        self.parts.setdefault(key[1], deque()).extend(parts)

    def deliver_parts(self, shard: int) -> None:
        part = self.parts[shard].popleft()
        parts = self.pending.setdefault(part.batch, [])
        parts.append(part)
        if len(parts) == SHARDS:
            parts = sorted(self.pending.pop(part.batch), key=lambda part: part.shard)
            self.learned.append([visited for part in parts for visited in part.outputs])

    def told(self) -> dict[str, Any]:
        """The last profile written of each shopper, without merged shoppers."""
        told: dict[str, Any] = {}
        for batch in self.learned:
            for merged in (moved for visited in batch for moved in visited.merged):
                told.pop(merged.anonymous_id, None)
            told |= {one.shopper: fields(one.profile) for v in batch for one in v.active}
        return told

    def known(self) -> dict[str, Any]:
        """The profile of each shopper as the shards know it."""
        rows: dict[str, Shopper] = {}
        for device in self.devices:
            rows |= device.shoppers.rows
        for user in self.users:
            rows |= user.shoppers.rows
        strongest = RULES.affinities.top
        return {
            name: fields(profile_hash.profile_command("key", shopper, *strongest(shopper))[0])
            for name, shopper in rows.items()
        }

    def counted(self) -> dict[str, int]:
        ledger = Counters()
        for visited in (one for batch in self.learned for one in batch):
            ledger.update(visited)
        return {"accepted": ledger.accepted}


def fields(arguments: str) -> dict[str, str]:
    """A packed profile without the fields that the end of a session changes without a write."""
    words = arguments.split("\r\n")[1::2]
    told = dict(zip(words[2::2], words[3::2], strict=True))
    return {name: told[name] for name in told if name != "intent"}


def dealt(
    stream: Sequence[Event], partitions: int, batch_events: int, *, is_keyed: bool
) -> dict[str, list[list[Event]]]:
    """A stream in partitions, keyed as Kafka's records should be or by chance, cut into batches."""
    by_partition: dict[str, list[Event]] = {str(n): [] for n in range(partitions)}
    for one in stream:
        key = (one.anonymous_id or one.user_id or "") if is_keyed else one.event_id
        by_partition[str(shard_of(key + "'s partition", partitions))].append(one)
    return {
        name: [events[n : n + batch_events] for n in range(0, len(events), batch_events)]
        for name, events in by_partition.items()
    }


@given(
    streams(devices=6),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 4),
    st.booleans(),
    st.integers(0),
)
def test_the_last_write_of_a_shopper_has_the_current_state(
    stream: list[Event],
    workers: int,
    partitions: int,
    batch_events: int,
    is_keyed: bool,
    seed: int,
) -> None:
    cluster = Cluster(workers, seed)
    cluster.read(dealt(stream, partitions, batch_events, is_keyed=is_keyed))
    assert not cluster.pending
    assert cluster.told() == cluster.known()
    assert cluster.counted() == {"accepted": fold(stream).totals["accepted"]}


def test_a_user_that_another_partition_names_is_written_last_by_its_own_shard() -> None:
    """Its id's shard puts it out while it is undecided, and hears of the other partition after that;
    the order of all shards has the other partition first."""
    user = "user 1"
    home = shard_of(user, SHARDS)
    assert home, "not the shard whose order was that of all"
    cluster = Cluster(workers=1, seed=0)
    named = event("page_view", 1, MINUTE_MS, "ann", user)
    cluster.send({"0": [[event("page_view", 0, 0, None, user)]], "1": [[named]]})
    cluster.deliver_groups(("0", home))
    cluster.deliver_groups(("1", home))
    cluster.deliver_arrived("1")
    cluster.deliver_groups(("1", 0))
    cluster.deliver_all()
    assert cluster.told() == cluster.known()
    assert cluster.told()[user]["events"] == "2"


def users_with_two_devices(users: int = 12) -> list[Event]:
    """Each looks around on both, without a name and with one, and buys; all within one session."""
    stream: list[Event] = []

    def happens(kind: EventType, n: int, minute: int, device: str | None, **more: Any) -> None:
        at_ms = minute * MINUTE_MS + n * 100
        stream.append(event(kind, f"{kind} {minute} {n} {device}", at_ms, device, **more))

    for n in range(users):
        phone, laptop, user = f"phone {n}", f"laptop {n}", f"user {n}"
        for minute, device in enumerate([phone, laptop] * 3):
            happens("item_view", n, minute, device, items=(ITEMS[n % 9],))
        for device in (phone, laptop):
            happens("identify", n, 7, device, user_id=user)
            happens("item_view", n, 8, device, items=(ITEMS[n % 9],))
        happens("purchase", n, 9, laptop, user_id=user, order_id=f"o {n}", value=10.0)
        happens("refund", n, 10, None, user_id=user, order_id=f"o {n}", value=2.5)
    return sorted(stream, key=lambda one: one.event_ts)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_two_devices_of_a_user_are_merged_whichever_worker_reads_them(
    workers: int, redis_url: str, tmp_path: Path
) -> None:
    """Each device in a partition of its own, and what the user did elsewhere in a third."""
    stream = users_with_two_devices()
    whole = dict(deterministic_rows(run_flow(stream, redis_url, tmp_path).items()))
    Store(redis_url, timeout_ms=2000, patience_s=2).client.flushall()
    names = ("phone", "laptop", "None")

    def partition(name: str) -> Iterator[Event]:
        return (one for one in stream if str(one.anonymous_id).startswith(name))

    settings = flow_settings(batch_events=5)
    flow = build(
        RecordedSource({name: partial(partition, name) for name in names}, settings),
        Sinks(
            RedisSink(lambda: Store(redis_url, timeout_ms=2000, patience_s=2)),
            DeadLetterSink(tmp_path / "dead_letters.jsonl"),
        ),
        settings,
        StateStores(),
    )
    epoch = timedelta(milliseconds=settings.source.epoch_ms)
    cluster_main(flow, [], 0, epoch_interval=epoch, worker_count_per_proc=workers)
    rows = content(redis_url)
    assert dict(deterministic_rows(rows.items())) == whole
    for n in range(12):
        profile_of = dict(rows[keys.profile_key(f"user {n}")])
        told = (b"views", b"purchases", b"revenue", b"refunded", b"sessions")
        assert [profile_of[name] for name in told] == [b"8", b"1", b"10.00", b"2.50", b"1"]
        for device in (f"phone {n}", f"laptop {n}"):
            assert rows[keys.alias_key(device)] == f"user {n}".encode()
            assert not [key for key in rows if key.startswith(keys.shopper_key(device))]
