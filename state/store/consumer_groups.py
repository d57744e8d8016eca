"""Consumer groups: streams read by one process, each entry until it says it is done.

What was given out stays listed in Redis until it is acknowledged, so a reader that was killed is given
it again. A group that went with the data of its Redis begins anew at the first entry there is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from redis.exceptions import RedisError, ResponseError

from state.store import error_messages

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from state.store.store import Store

CONSUMER = "penstock"
FIRST, NEWEST = "0", "$"


class Entry(NamedTuple):
    """An entry of a stream, by the stream's place among those read.

    One that was given out before and is gone from the stream since has no fields.
    """

    stream: int
    id: bytes
    fields: dict[bytes, bytes]


class Group:
    """A group over several streams. All methods raise UserError where Redis does not answer.

    After that, what Redis gave out may not have arrived: it is given out again, first.
    """

    def __init__(self, store: Store, streams: Sequence[str], name: str, start: str) -> None:
        self._store = store
        self._streams = list(streams)
        self._name = name
        self._start = start
        self._after: list[bytes | None] = [b"0"] * len(streams)
        """Up to where what was given out before was read again; None: all of it."""
        self._held: set[tuple[int, bytes]] = set()

    def read(self, most: int) -> list[Entry]:
        """Entries nobody here holds, about so many, those of a stream in order."""
        count = max(1, most // len(self._streams))
        asked = [b">" if after is None else after for after in self._after]
        replies = self._ask(
            ("XREADGROUP", "GROUP", self._name, CONSUMER, "COUNT", count, "STREAMS", key, after)
            for key, after in zip(self._streams, asked, strict=True)
        )
        if any(isinstance(reply, ResponseError) for reply in replies):
            self._join(replies)
            return []
        self._start = FIRST
        return [one for n, reply in enumerate(replies) for one in self._taken(n, reply or [])]

    def done(self, entries: Iterable[Entry]) -> None:
        """These need not come again."""
        by_stream: dict[int, list[bytes]] = {}
        for one in entries:
            by_stream.setdefault(one.stream, []).append(one.id)
        self._ask(("XACK", self._streams[n], self._name, *ids) for n, ids in by_stream.items())
        self._held -= {(n, one) for n, ids in by_stream.items() for one in ids}

    def behind_ms(self) -> int:
        """How much older the oldest entry not done is than the newest of its stream, by their ids."""
        asked = [("XINFO GROUPS", key) for key in self._streams]
        newest = self._ask(("XINFO STREAM", key) for key in self._streams)
        oldest = self._oldest()
        behind_ms = 0
        for n, (stream, groups) in enumerate(zip(newest, self._ask(asked), strict=True)):
            if isinstance(stream, Exception) or isinstance(groups, Exception):
                continue
            reached = {one["name"]: one["last-delivered-id"] for one in groups}
            at = oldest.get(n) or reached.get(self._name.encode(), b"0-0")
            if stream["length"]:
                behind_ms = max(behind_ms, _ms(stream["last-generated-id"]) - _ms(at))
        return behind_ms

    def _oldest(self) -> dict[int, bytes]:
        oldest: dict[int, bytes] = {}
        for n, entry_id in self._held:
            if n not in oldest or _order(entry_id) < _order(oldest[n]):
                oldest[n] = entry_id
        return oldest

    def _taken(self, n: int, reply: Any) -> Iterator[Entry]:
        entries = reply[0][1] if reply else []
        if self._after[n] is not None:
            self._after[n] = entries[-1][0] if entries else None
        for entry_id, fields in entries:
            if (n, entry_id) in self._held:
                continue
            self._held.add((n, entry_id))
            yield Entry(n, entry_id, fields)

    def _join(self, replies: list[Any]) -> None:
        """Make the group where there is none."""
        lacking = []
        for n, reply in enumerate(replies):
            if not isinstance(reply, Exception):
                # What it gave out has not been passed on: it is asked for once more.
                self._after[n] = b"0"
            elif str(reply).startswith("NOGROUP"):
                lacking.append(n)
            else:
                raise error_messages.failure(
                    self._store.address, reply, self._streams[n], "XREADGROUP"
                ) from reply
        made = self._ask(
            ("XGROUP", "CREATE", self._streams[n], self._name, self._start, "MKSTREAM")
            for n in lacking
        )
        for reply in made:
            if isinstance(reply, Exception) and not str(reply).startswith("BUSYGROUP"):
                raise error_messages.failure(
                    self._store.address, reply, self._name, "XGROUP"
                ) from reply
        self._start = FIRST

    def _ask(self, commands: Iterable[tuple[str | bytes | int, ...]]) -> list[Any]:
        """The replies, errors of commands among them."""
        asked = list(commands)
        if not asked:
            return []
        try:
            pipeline = self._store.client.pipeline(transaction=False)
            for command in asked:
                pipeline.execute_command(*command)
            return list(pipeline.execute(raise_on_error=False))
        except (RedisError, OSError, error_messages.RefusedError) as error:
            self._after = [b"0"] * len(self._streams)
            self._store.client.close()
            key, name = str(asked[0][1]), str(asked[0][0])
            raise error_messages.failure(self._store.address, error, key, name) from error


def _order(entry_id: bytes) -> tuple[int, int]:
    ms, _, sequence = entry_id.partition(b"-")
    return int(ms), int(sequence)


def _ms(entry_id: bytes) -> int:
    return _order(entry_id)[0]
