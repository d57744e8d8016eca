"""Which shard keeps a shopper, and which batch comes first.

First by device: anonymous shoppers live there, and users are recognised. Then by user. The state of an
anonymous shopper that turns out to be a user moves from the first kind of shard to the second, so the
flow needs no cycle.
"""

from __future__ import annotations

import zlib
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

from state.messages import BatchId, ShardOutput, ShardPart, UserShardInput

if TYPE_CHECKING:
    from collections.abc import Iterable

CANONICAL_SHARDS = 64
"""Only an order follows from it: that of the first releases, which had as many shards."""


def shard_of(name: str, shards: int) -> int:
    """The shard that keeps a shopper or a device. Stored state is found by it: it must not change."""
    return zlib.crc32(name.encode()) % shards


def canonical_order(name: str) -> int:
    """Where what is of a shopper stands among all of a batch: it does not depend on the shards.

    What is learned depends on the order in which it is learned. The sort by it must be stable.
    """
    return zlib.crc32(name.encode()) % CANONICAL_SHARDS


def regroup(outputs: Iterable[ShardOutput], shards: int) -> list[UserShardInput]:
    """Distribute the outputs of device shards to the user shards, one message per batch and shard."""
    batches: dict[BatchId, list[ShardOutput]] = {}
    for output in outputs:
        batches.setdefault(output.batch, []).append(output)
    return [message for parts in batches.values() for message in _regroup_batch(parts, shards)]


def _regroup_batch(parts: list[ShardOutput], shards: int) -> list[UserShardInput]:
    batch, sequence = parts[0].batch, parts[0].sequence
    messages = [
        UserShardInput(batch, shard, len(parts), sequence, [], [], []) for shard in range(shards)
    ]
    for part in parts:
        for forwarded in part.forwarded_events:
            messages[shard_of(forwarded.shopper, shards)].forwarded_events.append(forwarded)
        for transfer in part.state_transfers:
            messages[shard_of(transfer.shopper, shards)].state_transfers.append(transfer)
        for alias in part.new_aliases:
            messages[shard_of(alias.user_id, shards)].new_aliases.append(alias)
        part.forwarded_events, part.state_transfers, part.new_aliases = [], [], []
        messages[part.shard].device_outputs.append(part)
    return messages


def join_parts(parts: Iterable[ShardPart]) -> list[ShardPart]:
    """Parts of shards that came together, as one message a batch: what follows costs by the message."""
    batches: dict[int, list[ShardPart]] = {}
    for part in parts:
        batches.setdefault(part.sequence, []).append(part)
    return [_join_batch(found) for found in batches.values()]


def _join_batch(parts: list[ShardPart]) -> ShardPart:
    if len(parts) == 1:
        return parts[0]
    first = min(parts, key=lambda part: part.shard)
    # Stable: of a shard, the output of its devices comes before that of its users.
    outputs = sorted((one for part in parts for one in part.outputs), key=lambda one: one.shard)
    count = sum(part.parts for part in parts)
    return ShardPart(first.batch, first.shard, first.sequence, outputs, count)


def sortable_parts(part: ShardPart, shards: int) -> list[ShardPart]:
    """A part that brings all shards as it is, any other shard by shard.

    Who trains sorts the parts of a batch by shard: the order in which entries of equal time are learned
    must not depend on which shards one worker keeps.
    """
    if part.parts in (1, shards):
        return [part]
    return [
        ShardPart(part.batch, shard, part.sequence, list(outputs))
        for shard, outputs in groupby(part.outputs, key=attrgetter("shard"))
    ]
