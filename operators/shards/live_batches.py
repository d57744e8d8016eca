"""Live batches that came at once, processed as one.

Half of what a small batch costs does not depend on its events. Recorded batches stay as they are, so
that a replay gives the same result each time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from state.messages import DeviceShardInput, SourceBatch

_RECEIVED_BYTES = 8
"""Of `DeviceShardInput.received_ms`, for each record."""


def coalesce_live(batches: Iterable[SourceBatch]) -> Iterator[DeviceShardInput]:
    """The shard inputs of batches; live batches of several partitions become one."""
    live_batches: list[list[DeviceShardInput]] = []
    for batch in batches:
        if batch.shard_inputs[0].batch.live:
            live_batches.append(batch.shard_inputs)
        else:
            yield from batch.shard_inputs
    if live_batches:
        yield from _merge_batches(live_batches)


def _merge_batches(batches: list[list[DeviceShardInput]]) -> list[DeviceShardInput]:
    """Add the inputs of later batches to those of the first one, shard by shard.

    Positions go on over the batches, so that each event keeps a position of its own.
    """
    merged, *other_batches = batches
    if not other_batches:
        return merged
    ids, first_position = [], len(merged[0].received_ms) // _RECEIVED_BYTES
    for inputs in other_batches:
        ids.append(replace(inputs[0].batch, first_position=first_position))
        first_position += len(inputs[0].received_ms) // _RECEIVED_BYTES
    batch = replace(merged[0].batch, joined=tuple(ids))
    for target in merged:
        target.batch = batch
    for inputs, batch_id in zip(other_batches, ids, strict=True):
        merged[0].source_totals |= inputs[0].source_totals
        merged[0].received_ms += inputs[0].received_ms
        for target, added in zip(merged, inputs, strict=True):
            _append(target, added, batch_id.first_position)
    return merged


def _append(target: DeviceShardInput, added: DeviceShardInput, first_position: int) -> None:
    if added.events:
        target.events += added.events
        target.positions += [first_position + position for position in added.positions]
        target.watermarks_ms += added.watermarks_ms
        target.offsets += added.offsets
    if added.user_mentions:
        target.user_mentions += [
            replace(mention, position=first_position + mention.position)
            for mention in added.user_mentions
        ]
    target.erased_users += added.erased_users
