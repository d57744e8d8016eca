"""Puts the parts of a batch together in a user shard, and batches into the order of all shards."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from state.messages import BatchId, UserShardInput


class BatchSequencer:
    """Holds the parts of batches until a batch is complete and it is its turn.

    The device shards are kept by several workers, each of which sends its part; a batch is complete when
    its parts speak for all of them. Batches take turns in the order of `sharding.ORDERING_SHARD`, the
    same in every user shard. Not stored: an epoch is complete before its snapshot, so all shards begin
    to count anew after a resume.
    """

    def __init__(self) -> None:
        self._incomplete: dict[BatchId, list[UserShardInput]] = {}
        self._batch_by_sequence: dict[int, BatchId] = {}
        self._next_sequence = 0

    def add(self, part: UserShardInput) -> list[list[UserShardInput]]:
        """Take in a part; the batches that are complete and whose turn it is now, each as its parts."""
        self._incomplete.setdefault(part.batch, []).append(part)
        if part.sequence is not None:
            self._batch_by_sequence[part.sequence] = part.batch
        complete: list[list[UserShardInput]] = []
        while (batch := self._batch_by_sequence.get(self._next_sequence)) is not None:
            if sum(p.device_shards for p in self._incomplete[batch]) < part.device_shards_total:
                break
            del self._batch_by_sequence[self._next_sequence]
            self._next_sequence += 1
            complete.append(self._incomplete.pop(batch))
        return complete
