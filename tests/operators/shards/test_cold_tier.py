"""The cold tier: a run that evicts shoppers gives the same result as one that keeps all in memory.

`BoundedFlow` runs without Bytewax. What it writes reaches its Redis at the end of the epoch at the
earliest, and at the latest when the next one begins, as Bytewax has it.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hiredis import Reader
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.shards.cold_tier import RUN_ID_BYTES
from operators.shards.device_shard import DeviceShard
from operators.shards.sharding import shard_of
from operators.shards.user_shard import UserShard
from state.journal import Journals
from state.snapshots import SHARD_RECORD_CODEC
from tests.reference import persons
from tests.streams import (
    LATENESS_MS,
    RULES,
    SHARDS,
    Flow,
    Outcome,
    facts,
    fold,
    shuffled_within,
    streams,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from state.events import Event

NOBODY_STAYS = replace(RULES, rows_max=0)
HOUR_MS, DAY_MS = 3_600_000, 86_400_000

Blobs = list[tuple[bytes | None, bytes | None]]


class Redis:
    """Evicted rows by key; `read` are the names that were fetched."""

    def __init__(self, run_id: bytes = b"lineage.") -> None:
        self.run_id = run_id
        self.rows: dict[str, bytes] = {}
        self.sets: dict[str, set[bytes]] = {}
        self.read: list[str] = []

    def fetch(self, names: Sequence[str]) -> list[bytes | None]:
        self.read += names
        return [self.rows.get(name) for name in names]

    def members(self, names: Sequence[str]) -> list[set[bytes]]:
        return [self.sets.get(name, set()) for name in names]

    def take(self, packed: bytes | tuple[Any, ...]) -> None:
        arguments: Any = packed
        if isinstance(packed, bytes):
            reader = Reader()
            reader.feed(packed)
            arguments = reader.gets()
            arguments = [arguments[0].decode(), arguments[1].decode(), *arguments[2:]]
        if arguments[0] == "SADD":
            self.sets.setdefault(arguments[1], set()).add(arguments[2].encode())
        for key in arguments[1:]:
            if arguments[0] == "DEL":
                self.sets.pop(key, None)
            if not isinstance(key, str) or not key.endswith("}:row"):
                break
            if arguments[0] == "DEL":
                self.rows.pop(key, None)
            else:
                self.rows[key] = arguments[2]


class BoundedFlow(Flow):
    """A flow that evicts all shoppers that it may, and keeps rows in journals."""

    def __init__(self, folder: Path, redis: Redis, blobs: Blobs | None = None) -> None:
        super().__init__()
        blobs = blobs or [(None, None)] * SHARDS
        self.folder, self.redis = folder, redis
        journals = Journals(folder, ratio=1.0)
        self.devices = [DeviceShard(NOBODY_STAYS, blob, journals, redis) for blob, _ in blobs]
        self.users = [UserShard(NOBODY_STAYS, blob, journals, redis) for _, blob in blobs]

    def settle(self) -> None:
        """All that was written is in Redis."""
        for visited in self.visited:
            for write in visited.writes:
                self.redis.take(write)
        self.visited.clear()

    def end_epoch(self) -> Blobs:
        pairs = zip(self.devices, self.users, strict=True)
        blobs: Blobs = [(device.snapshot(), user.snapshot()) for device, user in pairs]
        self.settle()
        return blobs

    def going_on_from(self, blobs: Blobs, clocks: dict[str, Any]) -> BoundedFlow:
        other = BoundedFlow(self.folder, self.redis, blobs)
        other.clocks, other.rejected = clocks, self.rejected
        return other

    def outcome(self) -> Outcome:
        """The shoppers in memory and in Redis together."""
        known = super().outcome()
        kept: list[tuple[str, Sequence[DeviceShard | UserShard]]]
        kept = [("device", self.devices), ("shopper", self.users)]
        for kind, shards in kept:
            for number, shard in enumerate(shards):
                shard.cold_tier.reload(
                    name
                    for key, row in self.redis.rows.items()
                    if key.startswith(f"ps:1:{kind}:") and row.startswith(self.redis.run_id)
                    for state in [SHARD_RECORD_CODEC.decode(row[RUN_ID_BYTES:])]
                    for name in [*state.rows, *state.links, *state.known]
                    if shard_of(name, SHARDS) == number
                )
        return super().outcome()._replace(visited=known.visited)


def lossy(draw: st.DrawFn, stream: list[Event], folder: Path) -> BoundedFlow:
    """The stream with epochs and crashes: of a lost run all that it wrote may be in Redis."""
    redis = Redis()
    flow = BoundedFlow(folder, redis)
    rest, committed = list(stream), (flow.end_epoch(), flow.stored_clocks(), list(stream))
    crashes = draw(st.integers(0, 6))
    while rest:
        some = draw(st.integers(1, 6))
        flow.feed(rest[:some])
        del rest[:some]
        if draw(st.booleans()):
            blobs = flow.end_epoch()
            # The next epoch begins when this one is committed; or a crash comes before that.
            if crashes and draw(st.booleans()):
                crashes -= 1
                blobs, clocks, left = committed
                flow, rest = flow.going_on_from(blobs, clocks), list(left)
                clocks = flow.stored_clocks()
                committed = (blobs, clocks, left)
            else:
                committed = (blobs, flow.stored_clocks(), list(rest))
    flow.feed([], last=True)
    flow.settle()
    return flow


@settings(max_examples=20)
@given(persons.streams(most=15, bursts=4), st.data())
def test_eviction_does_not_change_who_is_one_person(
    stream: persons.Stream, data: st.DataObject
) -> None:
    """Known user ids are evicted and reloaded too."""
    with tempfile.TemporaryDirectory() as name:
        flow = data.draw(st.composite(lossy)(stream.events, Path(name)))
        shoppers = flow.outcome().shoppers
    assert {name: (one.events, one.purchases) for name, one in shoppers.items()} == {
        name: (figures.events, figures.purchases)
        for name, figures in persons.recount(stream).items()
    }


@settings(max_examples=40)
@given(
    streams(devices=4, settled=False, max_events=60, step_ms=2 * HOUR_MS),
    st.integers(0, 1000),
    st.data(),
)
def test_an_evicted_shopper_comes_back_as_if_it_had_stayed(
    stream: list[Event], seed: int, data: st.DataObject
) -> None:
    """Identified, merged, erased, late, with crashes in between."""
    stream = shuffled_within(stream, LATENESS_MS, seed)
    with tempfile.TemporaryDirectory() as name:
        flow = data.draw(st.composite(lossy)(stream, Path(name)))
        outcome = flow.outcome()
    assert facts(outcome) == facts(fold(stream))
