"""Batches of a synthetic shop as the learning step gets them, cut as a test likes."""

from __future__ import annotations

import gzip
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING

from operators.events.decode import decode_lines
from operators.readers import online_retail
from operators.segments.changes import changes_in
from operators.shards.batching import SourceBatcher
from operators.shards.device_shard import DeviceShard
from operators.shards.sharding import regroup
from operators.shards.user_shard import UserShard
from operators.synthetic.traffic import encode_lines, generate_events
from state.config_loader import load
from state.events import Event
from tests.shared import shared_data
from tests.streams import LATENESS_MS, RULES, SHARDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from state.changes import ChangeFields
    from state.config import Settings
    from state.messages import BatchOutput, ShardPart
    from tests.personalization import Personalization

RETAIL = "online_retail_2010-12_2011-07.csv.gz"
SETTINGS: Settings = load(
    environment={}, overrides=(f"sessions.shards={SHARDS}", "lists.figures_every_ms=60000")
)


@cache
def batches(
    events: int = 3000, *, size: int = 150, shoppers: int = 250, items: int = 50
) -> Sequence[Sequence[ShardPart]]:
    """The parts of each batch of a shop's stream."""
    told = encode_lines(
        generate_events(events=events, shoppers=shoppers, items=items, events_per_s=0.15)
    )
    decoded = decode_lines(
        told, source="shop", partition="0", first_offset=0, now_ms=1_900_000_000_000
    )
    records = (event for event in decoded if isinstance(event, Event))
    devices = [DeviceShard(RULES) for _ in range(SHARDS)]
    users = [UserShard(RULES) for _ in range(SHARDS)]
    clock = SourceBatcher()
    found = []
    while some := list(islice(records, size)):
        batch = clock.batch(
            some, partition="0", shards=SHARDS, allowed_lateness_ms=LATENESS_MS, partitions=1
        )
        arrived = [devices[group.shard].process(group)[0] for group in batch.shard_inputs]
        found.append([part for m in regroup(arrived, SHARDS) for part in users[m.shard].process(m)])
    return found


def fed(
    learning: Personalization, events: Sequence[Event], *, size: int, until_ms: int = 0
) -> Iterator[list[ChangeFields]]:
    """What the change streams say of events, so many a batch; then nothing comes until a time."""
    for outputs in outputs_of(learning, events, size=size, until_ms=until_ms):
        yield [change for output in outputs for change in changes_in(output.writes)]


def outputs_of(
    learning: Personalization, events: Sequence[Event], *, size: int, until_ms: int = 0
) -> Iterator[list[BatchOutput]]:
    """What is written of events, so many a batch; then nothing comes until a time."""
    devices = [DeviceShard(RULES) for _ in range(SHARDS)]
    users = [UserShard(RULES) for _ in range(SHARDS)]
    clock = SourceBatcher()

    def feed(some: Sequence[Event], idle_ms: int = 0) -> list[BatchOutput]:
        batch = clock.batch(
            some,
            partition="0",
            shards=SHARDS,
            allowed_lateness_ms=LATENESS_MS,
            idle_ms=idle_ms,
            live=True,
        )
        arrived = [devices[group.shard].process(group)[0] for group in batch.shard_inputs]
        parts = [part for m in regroup(arrived, SHARDS) for part in users[m.shard].process(m)]
        return learning.process_batch(parts)

    for start in range(0, len(events), size):
        yield feed(events[start : start + size])
    if until_ms:
        yield feed([], until_ms - LATENESS_MS - clock.watermark_ms)


def retail(events: int) -> list[Event]:
    """The first events of Online Retail; skips the test where that is absent."""
    with gzip.open(shared_data(RETAIL)) as lines:
        records = online_retail.read(lines, source="retail", now_ms=1_900_000_000_000)
        return list(islice((one for one in records if isinstance(one, Event)), events))
