"""Consumer groups: one process reads streams and acknowledges each entry.

Redis lists a delivered entry until it is acknowledged, so a reader that was killed gets it again.
If Redis lost its data and the group with it, the group is created again at the first entry of the
stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from redis.exceptions import ResponseError

from state.replies import parse_entry_id
from state.store import error_messages

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from state.store.store import Store

CONSUMER = "penstock"
FIRST, NEWEST = "0", "$"


class StreamEntry(NamedTuple):
    """An entry of a stream; `stream_index` is the position of its stream among those that are read.

    An entry that was delivered before and has been trimmed since has no fields.
    """

    stream_index: int
    id: bytes
    fields: dict[bytes, bytes]


class ConsumerGroup:
    """A consumer group over several streams. All methods raise StoreError if Redis does not answer.

    After such an error, entries may have been lost on their way here: they are delivered again, first.
    """

    def __init__(self, store: Store, streams: Sequence[str], name: str, start: str) -> None:
        self._store = store
        self._streams = list(streams)
        self._name = name
        self._start = start
        self._reread_after: list[bytes | None] = [b"0"] * len(streams)
        """Id after which unacknowledged entries are read again, for each stream.

        None: all were read.
        """
        self._unacked: set[tuple[int, bytes]] = set()

    def read(self, limit: int) -> list[StreamEntry]:
        """Return about `limit` entries that were not returned before, in order within each stream."""
        count = max(1, limit // len(self._streams))
        start_ids = [b">" if after is None else after for after in self._reread_after]
        replies = self._call(
            ("XREADGROUP", "GROUP", self._name, CONSUMER, "COUNT", count, "STREAMS", key, after)
            for key, after in zip(self._streams, start_ids, strict=True)
        )
        if any(isinstance(reply, ResponseError) for reply in replies):
            self._create_groups(replies)
            return []
        self._start = FIRST
        return [
            entry for n, reply in enumerate(replies) for entry in self._new_entries(n, reply or [])
        ]

    def ack(self, entries: Iterable[StreamEntry]) -> None:
        """Acknowledge entries, so that they are not delivered again."""
        by_stream: dict[int, list[bytes]] = {}
        for entry in entries:
            by_stream.setdefault(entry.stream_index, []).append(entry.id)
        self._call(("XACK", self._streams[n], self._name, *ids) for n, ids in by_stream.items())
        self._unacked -= {(n, one) for n, ids in by_stream.items() for one in ids}

    def lag_ms(self) -> int:
        """Return the largest lag: newest entry minus oldest unacknowledged one of a stream (ms)."""
        group_commands = [("XINFO GROUPS", key) for key in self._streams]
        newest = self._call(("XINFO STREAM", key) for key in self._streams)
        oldest = self._oldest()
        lag_ms = 0
        for n, (stream, groups) in enumerate(zip(newest, self._call(group_commands), strict=True)):
            if isinstance(stream, Exception) or isinstance(groups, Exception):
                continue
            delivered = {group["name"]: group["last-delivered-id"] for group in groups}
            position = oldest.get(n) or delivered.get(self._name.encode(), b"0-0")
            if stream["length"]:
                lag_ms = max(
                    lag_ms,
                    parse_entry_id(stream["last-generated-id"])[0] - parse_entry_id(position)[0],
                )
        return lag_ms

    def _oldest(self) -> dict[int, bytes]:
        oldest: dict[int, bytes] = {}
        for n, entry_id in self._unacked:
            if n not in oldest or parse_entry_id(entry_id) < parse_entry_id(oldest[n]):
                oldest[n] = entry_id
        return oldest

    def _new_entries(self, n: int, reply: Any) -> Iterator[StreamEntry]:
        entries = reply[0][1] if reply else []
        if self._reread_after[n] is not None:
            self._reread_after[n] = entries[-1][0] if entries else None
        for entry_id, fields in entries:
            if (n, entry_id) in self._unacked:
                continue
            self._unacked.add((n, entry_id))
            yield StreamEntry(n, entry_id, fields)

    def _create_groups(self, replies: list[Any]) -> None:
        """Create the group on the streams that lack it."""
        missing = []
        for n, reply in enumerate(replies):
            if not isinstance(reply, Exception):
                # The entries of this reply are not returned to the caller, so they are read again.
                self._reread_after[n] = b"0"
            elif str(reply).startswith("NOGROUP"):
                missing.append(n)
            else:
                raise error_messages.store_error(
                    self._store.address, reply, self._streams[n], "XREADGROUP"
                ) from reply
        created = self._call(
            ("XGROUP", "CREATE", self._streams[n], self._name, self._start, "MKSTREAM")
            for n in missing
        )
        for reply in created:
            if isinstance(reply, Exception) and not str(reply).startswith("BUSYGROUP"):
                raise error_messages.store_error(
                    self._store.address, reply, self._name, "XGROUP"
                ) from reply
        self._start = FIRST

    def _call(self, commands: Iterable[tuple[str | bytes | int, ...]]) -> list[Any]:
        """Return the replies; an error reply to a command is among them, not raised."""
        batch = list(commands)
        if not batch:
            return []
        try:
            pipeline = self._store.client.pipeline(transaction=False)
            for command in batch:
                pipeline.execute_command(*command)
            return list(pipeline.execute(raise_on_error=False))
        except error_messages.RETRYABLE_ERRORS as error:
            self._reread_after = [b"0"] * len(self._streams)
            self._store.client.close()
            key, name = str(batch[0][1]), str(batch[0][0])
            raise error_messages.store_error(self._store.address, error, key, name) from error
