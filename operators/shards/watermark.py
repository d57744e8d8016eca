"""The watermark of a shard: how far event time has come for sure over all partitions of the source."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from state.messages import BatchId


class Watermark:
    """Combines the watermarks of the partitions into one. Stored with the shard.

    `partitions` maps each partition to its own watermark (ms) and whether it no longer holds the others
    back: it was read to its end, or is idle. `batches` counts the batches of each partition. Every batch
    comes to every shard, even if it is empty there; a start relies on that to find out whether all
    shards were stored at the same point.
    """

    def __init__(
        self, partitions: dict[str, tuple[int, bool]], batches: dict[str, int] | None = None
    ) -> None:
        self.partitions = partitions
        self.batches = {} if batches is None else batches
        self._reached_ms: int | None = None

    def update(self, batch: BatchId) -> int:
        """Take in a batch and those coalesced with it; the watermark after them."""
        reached_ms = self._update_partition(batch)
        for coalesced in batch.joined:
            reached_ms = self._update_partition(coalesced)
        return reached_ms

    def _update_partition(self, batch: BatchId) -> int:
        """Take in one partition. The watermark is the minimum over the partitions that go on, 0 until
        all have sent a batch; where none goes on, it is the maximum.

        It never goes back: a partition that was idle continues at what was reached without it.

        >>> from state.messages import BatchId
        >>> watermark = Watermark({})
        >>> [watermark._update_partition(BatchId(*batch)) for batch in (
        ...     ("a", 0, 5, False, 2), ("b", 0, 3, False, 2), ("b", 1, 4, True, 2), ("a", 1, 9, True, 2)
        ... )]
        [0, 3, 5, 9]
        >>> watermark = Watermark({"a": (5, False), "b": (3, False)})
        >>> [watermark._update_partition(BatchId(*batch)) for batch in (
        ...     ("b", 0, 4, False, 2, True), ("b", 1, 4, False, 2), ("a", 0, 9, False, 2)
        ... )]
        [5, 5, 5]
        """
        reached_ms = self._reached_ms
        if reached_ms is None:
            reached_ms = self._minimum_ms(batch.partitions)
        own_ms = max(batch.watermark_ms, reached_ms)
        self.partitions[batch.partition] = (own_ms, batch.last or batch.idle)
        self.batches[batch.partition] = batch.number + 1
        self._reached_ms = self._minimum_ms(batch.partitions)
        return self._reached_ms

    @property
    def reached_ms(self) -> int:
        """The watermark over the partitions that have sent a batch."""
        return self._minimum_ms(len(self.partitions)) if self.partitions else 0

    def _minimum_ms(self, partitions: int) -> int:
        if len(self.partitions) < partitions:
            return 0
        active_ms = [ms for ms, is_done in self.partitions.values() if not is_done]
        return min(active_ms) if active_ms else max(ms for ms, _ in self.partitions.values())
