"""The change streams: an entry for each membership change, merge and erasure.

An entry id is made of the event time, a counter that is stored with the flow, and a hash of the
change. So a replay of the same batches writes the same ids, and Redis refuses an id that it has.
After a crash a live run forms other batches: it continues after the ids of the crashed run, and
undoes those of its changes that do not hold (`operators.segments.compensation`).
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, NamedTuple, Protocol

from state import keys
from state.changes import CONTENT_BITS
from state.resp import pack_command, pack_int, pack_str, unpack_command
from state.shopper import purpose_names

if TYPE_CHECKING:
    from collections.abc import Iterable

    from state.changes import Change, ChangeFields, StreamIds
    from state.messages import Write


class ChangeLog:
    """Writes changes to the streams; keeps the last id of each, as (ms, counter)."""

    def __init__(self, entries_max: int) -> None:
        self.ids: StreamIds = {}
        self._trim = pack_str("MAXLEN") + pack_str("~") + pack_int(entries_max)
        self._heads = [
            pack_str("XADD") + pack_str(keys.change_stream_key(stream))
            for stream in range(keys.CHANGE_STREAMS)
        ]
        self._packed = _PackedFields()

    def writes(self, changes: Iterable[Change]) -> list[Write]:
        """Return the commands that append changes to the streams of their shoppers.

        The first entry of each stream trims it: looking for what to trim costs Redis an eighth of an
        entry.

            >>> from state.changes import Change
        >>> log = ChangeLog(1000)
            >>> twice = log.writes([Change("enter", "ann", "x", 7)] * 2)
            >>> [entry["id"] for entry in changes_in(twice)]
            ['7-1829306549', '7-6124273845']
        """
        writes: list[Write] = []
        ids, packed = self.ids, self._packed
        streams: dict[str, tuple[int, str, str]] = {}
        trimmed: set[int] = set()
        for kind, shopper, segment, at_ms, known, item, refused in changes:
            stream, head, name = streams.get(shopper) or streams.setdefault(
                shopper, self._stream_of(shopper)
            )
            ms, count = ids.get(stream, (0, -1))
            ms, count = now = (at_ms, 0) if at_ms > ms else (ms, count + 1)
            ids[stream] = now
            text = f"{kind} {shopper} {segment} {at_ms}"
            content = zlib.crc32((f"{text} {item}".rstrip() if item else text).encode())
            # In a merge this field has the id of the user.
            target = pack_str(segment) if kind == "merge" else packed[segment]
            entry_id = f"{ms}-{count << CONTENT_BITS | content}"
            trim = ""
            if stream not in trimmed:
                trimmed.add(stream)
                trim = self._trim
            entry = (
                f"{head}{trim}${len(entry_id)}\r\n{entry_id}\r\n{_KIND}{packed[kind]}{name}{target}"
                f"{_VERSION}{pack_int(at_ms)}{_KNOWN[known]}"
            )
            count = 18 if trim else 15
            if item:
                entry, count = f"{entry}{_ITEM}{pack_str(item)}", count + 2
            if refused:
                entry, count = f"{entry}{_REFUSED}{packed[purpose_names(refused)]}", count + 2
            writes.append(pack_command(entry, count))
        return writes

    def _stream_of(self, shopper: str) -> tuple[int, str, str]:
        """Return a shopper's stream, the packed start of its entries, and the packed shopper
        field."""
        stream = keys.change_stream(shopper)
        return stream, self._heads[stream], f"{_SHOPPER}{pack_str(shopper)}{_SEGMENT}"


class _PackedFields(dict[str, str]):
    """A cache of packed texts: few texts are used again and again."""

    def __missing__(self, text: str) -> str:
        packed = self[text] = pack_str(text)
        return packed


_KIND, _SHOPPER, _SEGMENT, _ITEM, _REFUSED = map(
    pack_str, ("kind", "shopper", "segment", "item", "refused")
)
_VERSION = pack_str("version") + pack_int(1) + pack_str("event_ts")
_KNOWN = tuple(pack_str("known") + pack_int(known) for known in (0, 1))


class OrphanedChanges(NamedTuple):
    """What a crashed run left in the change streams after the ids of a snapshot.

    `changes`: the last change of each membership. `ids`: the last id of each stream. `triggers`:
    triggers that need not be published again.
    """

    changes: list[Change]
    ids: StreamIds
    triggers: frozenset[Change]


class OrphanedChangesReader(Protocol):
    """Reads the change streams of Redis."""

    def orphans_after(self, ids: StreamIds) -> OrphanedChanges:
        """Return the entries after these ids."""


def changes_in(writes: Iterable[Write]) -> list[ChangeFields]:
    """Return the change stream entries among the commands of a batch.

    >>> from state.changes import Change
    >>> log = ChangeLog(1000)
    >>> changes_in([("DEL", "k"), *log.writes([Change("merge", "a b", "bob", 7)])])[0]["segment"]
    'bob'
    """
    changes: list[ChangeFields] = []
    for write in writes:
        if isinstance(write, bytes) and _STREAM in write[:_HEAD_BYTES]:
            parts = unpack_command(write)
            place = 5 if parts[2] == "MAXLEN" else 2
            fields = zip(parts[place + 1 :: 2], parts[place + 2 :: 2], strict=True)
            changes.append(
                {
                    "id": parts[place],
                    **{name: int(one) if name in _NUMBERS else one for name, one in fields},
                }
            )
    return changes


_STREAM = keys.change_stream_key(0).partition("{")[0].encode()
_HEAD_BYTES = 48
_NUMBERS = frozenset({"version", "event_ts", "known"})
