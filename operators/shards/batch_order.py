"""One order of batches for all shards.

Batches of several partitions come to each shard in an order of their own. What shards put out about one
shopper needs one order: a user whose id was undecided was put out by a device shard, and then by a
user shard, and what is published last is what holds. So one key says whose turn it is, and device
shards wait for it; all steps after them keep the order.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from operators.tables.barrier import BarrierError
from state.messages import BatchTurn, DeviceShardInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def turn_of(message: DeviceShardInput) -> BatchTurn | None:
    """The turn of a batch, from the message of its first shard alone."""
    return BatchTurn(message.batch.partition, message.batch.number) if message.shard == 0 else None


class BatchTurns:
    """The batches of one device shard that came before their turn, and the turns that came before
    their batch. Not stored: an epoch is complete before its snapshot."""

    def __init__(self, step_id: str) -> None:
        self._step_id = step_id
        self._turns: deque[tuple[str, int]] = deque()
        self._waiting: dict[tuple[str, int], DeviceShardInput] = {}

    def in_order(
        self, messages: Iterable[DeviceShardInput | BatchTurn]
    ) -> Iterator[DeviceShardInput]:
        """Take in messages; the batches whose turn it is now."""
        turns, waiting = self._turns, self._waiting
        for message in messages:
            if isinstance(message, BatchTurn):
                turns.append((message.partition, message.number))
            else:
                waiting[message.batch.partition, message.batch.number] = message
        while turns and turns[0] in waiting:
            yield waiting.pop(turns.popleft())

    def check_empty(self) -> None:
        """Raise where a batch waits: called at the end of an epoch, when all of it has come."""
        if self._waiting or self._turns:
            raise BarrierError(
                f"{self._step_id}: {len(self._waiting)} batches and {len(self._turns)} turns wait at "
                "the end of an epoch: one of the two steps before this one left something out"
            )
