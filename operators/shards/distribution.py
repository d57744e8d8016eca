"""Distributes the events of one batch to the device shards."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from operators.shards.identity_map import device_key
from operators.shards.sharding import shard_of
from state.entries import UserMention
from state.messages import DeviceShardInput, SourceBatch

if TYPE_CHECKING:
    from state.dead_letters import DeadLetter
    from state.events import Event
    from state.messages import BatchId, SourceTotals


class Distribution:
    """The inputs of all device shards for one batch.

    The first input speaks for the whole batch: totals of the source, and when each record was received.
    """

    def __init__(self, batch: BatchId, shards: int, allowed_lateness_ms: int) -> None:
        self.allowed_lateness_ms = allowed_lateness_ms
        self._shards = shards
        self._inputs = [DeviceShardInput(batch, shard, [], [], []) for shard in range(shards)]
        self._rejected: list[DeadLetter] = []
        self._received_ms = array("q")
        self._mentioned_users: set[str] = set()

    def reject(self, letter: DeadLetter) -> None:
        """Add a record that is no event."""
        self._rejected.append(letter)
        self._received_ms.append(0)

    def add(self, event: Event, position: int, watermark_ms: int, offset: int | None) -> None:
        """Add an event to the shard of its device, and note its user for the shard of that id. Hot."""
        own = self._inputs[shard_of(device_key(event), self._shards)]
        own.events.append(event)
        own.positions.append(position)
        own.watermarks_ms.append(watermark_ms)
        if offset is not None:
            own.offsets.append(offset)
        self._received_ms.append(event.received_ts)
        user_id = event.user_id
        if event.type == "erase":
            # After an erasure the ids have to be mentioned again.
            self._mentioned_users.clear()
            if user_id is not None:
                self._send_to_all(event, user_id, own)
        elif user_id is not None and user_id not in self._mentioned_users:
            self._mention(event, user_id, own)

    def finish(self, partition: str, totals: SourceTotals) -> SourceBatch:
        """The inputs of all shards, and the records that are no events."""
        self._inputs[0].source_totals = {partition: totals}
        self._inputs[0].received_ms = self._received_ms.tobytes()
        return SourceBatch(self._inputs, self._rejected)

    def _send_to_all(self, event: Event, user_id: str, own: DeviceShardInput) -> None:
        """Send the erasure of a user to all shards: each may keep a device of the user."""
        for shard_input in self._inputs:
            shard_input.erased_users.append(user_id)
            if shard_input is not own:
                shard_input.events.append(event)
                shard_input.positions.append(own.positions[-1])
                shard_input.watermarks_ms.append(own.watermarks_ms[-1])
                shard_input.offsets += own.offsets[-1:]

    def _mention(self, event: Event, user_id: str, own: DeviceShardInput) -> None:
        """Note for the shard of a user's id that a device names it as its user; once per batch.

        An event that is not the newest until now may be from before an erasure, and then proves
        nothing: a later event has to mention the user again.
        """
        if event.anonymous_id in (None, user_id):
            return
        watermark_ms = own.watermarks_ms[-1]
        mention = UserMention(own.positions[-1], user_id, event.event_ts, watermark_ms)
        self._inputs[shard_of(user_id, self._shards)].user_mentions.append(mention)
        if event.event_ts - self.allowed_lateness_ms > watermark_ms:
            self._mentioned_users.add(user_id)
