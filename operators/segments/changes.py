"""The change stream: who entered, left, was merged or erased, each with an id of its own.

Ids come from event time, a counter that is stored with the flow, and what the change says. A replay
of the same batches writes the same ids, and Redis refuses what it already has. A live run goes on
with other batches after a crash: it writes after what the lost run wrote, and takes back
what of that does not hold (`operators.segments.membership_index`).
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, NamedTuple, Protocol

from state import keys
from state.resp import pack_command, pack_int, pack_str, unpack_command
from state.shopper import purpose_names

if TYPE_CHECKING:
    from collections.abc import Iterable

    from state.messages import Write

Ids = dict[int, tuple[int, int]]
"""By stream, the last id written: ms, and the count within it."""

ChangeFields = dict[str, str | int]
"""An entry of a change stream: `id kind shopper segment version event_ts known`, `item`, `refused`."""


class Change(NamedTuple):
    """A shopper entered or left a segment, changed stage, became another shopper, or was erased.

    Or a trigger named `segment` concerns the shopper and an `item`
    (`operators.catalogue.item_alerts`). `known` is
    whether the shopper's id is a user's. A shopper who goes on being counted may withdraw the purpose
    that `segment` names; `refused` are those that the shopper refuses, as bits: none is told for them.
    """

    kind: str
    shopper: str
    segment: str
    at_ms: int
    known: bool = False
    item: str = ""
    refused: int = 0


CONTENT_BITS = 32
"""Of the second part of an id: the lower half says what the change is, the upper one counts."""


class ChangeLog:
    """The last id of each stream, as (ms, count within it)."""

    def __init__(self, entries_max: int) -> None:
        self.ids: Ids = {}
        end = pack_str("MAXLEN") + pack_str("~") + pack_int(entries_max)
        self._heads = [
            pack_str("XADD") + pack_str(keys.change_stream_key(stream)) + end
            for stream in range(keys.CHANGE_STREAMS)
        ]
        self._packed = _PackedFields()

    def writes(self, changes: Iterable[Change]) -> list[Write]:
        """Append changes to the streams of their shoppers.

        >>> log = ChangeLog(1000)
        >>> twice = log.writes([Change("enter", "ann", "x", 7)] * 2)
        >>> [entry["id"] for entry in changes_in(twice)]
        ['7-1829306549', '7-6124273845']
        """
        writes: list[Write] = []
        ids, packed = self.ids, self._packed
        streams: dict[str, tuple[int, str, str]] = {}
        for kind, shopper, segment, at_ms, known, item, refused in changes:
            stream, head, name = streams.get(shopper) or streams.setdefault(
                shopper, self._stream_of(shopper)
            )
            ms, count = ids.get(stream, (0, -1))
            ms, count = now = (at_ms, 0) if at_ms > ms else (ms, count + 1)
            ids[stream] = now
            text = f"{kind} {shopper} {segment} {at_ms}"
            content = zlib.crc32((f"{text} {item}".rstrip() if item else text).encode())
            # Of one that became a user it is the user.
            target = pack_str(segment) if kind == "merge" else packed[segment]
            entry_id = f"{ms}-{count << CONTENT_BITS | content}"
            entry = (
                f"{head}${len(entry_id)}\r\n{entry_id}\r\n{_KIND}{packed[kind]}{name}{target}"
                f"{_VERSION}{pack_int(at_ms)}{_KNOWN[known]}"
            )
            count = 18
            if item:
                entry, count = f"{entry}{_ITEM}{pack_str(item)}", count + 2
            if refused:
                entry, count = f"{entry}{_REFUSED}{packed[purpose_names(refused)]}", count + 2
            writes.append(pack_command(entry, count))
        return writes

    def _stream_of(self, shopper: str) -> tuple[int, str, str]:
        """The stream that tells of a shopper, how its entries begin, and how they name it."""
        stream = keys.change_stream(shopper)
        return stream, self._heads[stream], f"{_SHOPPER}{pack_str(shopper)}{_SEGMENT}"


class _PackedFields(dict[str, str]):
    """Few texts that come again and again, each packed once."""

    def __missing__(self, text: str) -> str:
        packed = self[text] = pack_str(text)
        return packed


_KIND, _SHOPPER, _SEGMENT, _ITEM, _REFUSED = map(
    pack_str, ("kind", "shopper", "segment", "item", "refused")
)
_VERSION = pack_str("version") + pack_int(1) + pack_str("event_ts")
_KNOWN = tuple(pack_str("known") + pack_int(known) for known in (0, 1))


class OrphanedChanges(NamedTuple):
    """What the streams say of each membership last, after the ids of a snapshot; their last ids.

    `triggers` are those that need not be told again.
    """

    changes: list[Change]
    ids: Ids
    triggers: frozenset[Change]


class OrphanedChangesReader(Protocol):
    """What former runs left in Redis."""

    def orphans_after(self, ids: Ids) -> OrphanedChanges:
        """What stands in the change streams after these ids."""


def stream_id(entry_id: str) -> tuple[int, int]:
    """Time and count of an entry's id.

    >>> stream_id("7-6124273845")
    (7, 1)
    """
    ms, _, sequence = entry_id.partition("-")
    return int(ms), int(sequence) >> CONTENT_BITS


def changes_in(writes: Iterable[Write]) -> list[ChangeFields]:
    """What goes into the change stream of Redis, out of all that goes to Redis.

    >>> log = ChangeLog(1000)
    >>> changes_in([("DEL", "k"), *log.writes([Change("merge", "a b", "bob", 7)])])[0]["segment"]
    'bob'
    """
    changes: list[ChangeFields] = []
    for write in writes:
        if isinstance(write, bytes) and _STREAM in write[:_HEAD_BYTES]:
            parts = unpack_command(write)
            fields = zip(parts[6::2], parts[7::2], strict=True)
            changes.append(
                {
                    "id": parts[5],
                    **{name: int(one) if name in _NUMBERS else one for name, one in fields},
                }
            )
    return changes


_STREAM = keys.change_stream_key(0).partition("{")[0].encode()
_HEAD_BYTES = 48
_NUMBERS = frozenset({"version", "event_ts", "known"})
