"""The change stream: who entered, left, was merged or erased, each with an id of its own.

Ids come from event time, a counter that is stored with the flow, and what the change says. A replay
of the same batches writes the same ids, and Redis refuses what it already has. A live run goes on
with other batches after a crash: it writes after what the lost run wrote, and takes back
what of that does not hold (`operators.audience`).
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, NamedTuple, Protocol

from state import keys

if TYPE_CHECKING:
    from collections.abc import Iterable

    from state.messages import Write

Ids = dict[int, tuple[int, int]]
"""By stream, the last id written: ms, and the count within it."""

ChangeFields = dict[str, str | int]
"""An entry of a change stream: `id kind shopper segment version event_ts known`, and `item`."""


class Change(NamedTuple):
    """A shopper entered or left a segment, changed stage, became another shopper, or was erased.

    Or a trigger named `segment` concerns the shopper and an `item` (`operators.triggers`). `known` is
    whether the shopper's id is a user's.
    """

    kind: str
    shopper: str
    segment: str
    at_ms: int
    known: bool = False
    item: str = ""


CONTENT_BITS = 32
"""Of the second part of an id: the lower half says what the change is, the upper one counts."""


class ChangeLog:
    """The last id of each stream, as (ms, count within it)."""

    def __init__(self, entries_max: int) -> None:
        self.ids: Ids = {}
        self._entries_max = entries_max

    def writes(self, changes: Iterable[Change]) -> list[Write]:
        """Append changes to the streams of their shoppers.

        >>> log = ChangeLog(1000)
        >>> [write[5] for write in log.writes([Change("enter", "ann", "x", 7)] * 2)]
        ['7-1829306549', '7-6124273845']
        """
        writes: list[Write] = []
        for change in changes:
            stream = keys.change_stream(change.shopper)
            ms, count = self.ids.get(stream, (0, -1))
            now = (change.at_ms, 0) if change.at_ms > ms else (ms, count + 1)
            self.ids[stream] = now
            text = f"{change.kind} {change.shopper} {change.segment} {change.at_ms}"
            more = ("item", change.item) if change.item else ()
            content = zlib.crc32(f"{text} {change.item}".rstrip().encode())
            writes.append(
                (
                    "XADD",
                    keys.changes_key(change.shopper),
                    "MAXLEN",
                    "~",
                    self._entries_max,
                    f"{now[0]}-{now[1] << CONTENT_BITS | content}",
                    "kind",
                    change.kind,
                    "shopper",
                    change.shopper,
                    "segment",
                    change.segment,
                    "version",
                    1,
                    "event_ts",
                    change.at_ms,
                    "known",
                    int(change.known),
                    *more,
                )
            )
        return writes


class Lost(NamedTuple):
    """What the streams say of each membership last, after the ids of a snapshot; their last ids.

    `triggers` are those that need not be told again.
    """

    changes: list[Change]
    ids: Ids
    triggers: frozenset[Change]


class Before(Protocol):
    """What former runs left in Redis."""

    def changes_after(self, ids: Ids) -> Lost:
        """What stands in the change streams after these ids."""


def stream_id(entry_id: str) -> tuple[int, int]:
    """Time and count of an entry's id.

    >>> stream_id("7-6124273845")
    (7, 1)
    """
    ms, _, sequence = entry_id.partition("-")
    return int(ms), int(sequence) >> CONTENT_BITS


def changes_among(writes: Iterable[Write]) -> list[ChangeFields]:
    """What goes into the change stream of Redis, out of all that goes to Redis.

    >>> changes_among([("DEL", "k"), ("XADD", "s", "MAXLEN", "~", 9, "7-0", "kind", "enter")])
    [{'id': '7-0', 'kind': 'enter'}]
    """
    changes: list[ChangeFields] = []
    for write in writes:
        if isinstance(write, tuple) and write[0] == "XADD" and write[6] == "kind":
            named = zip(map(str, write[6::2]), map(_plain, write[7::2]), strict=True)
            changes.append({"id": str(write[5]), **dict(named)})
    return changes


def _plain(value: str | float) -> str | int:
    return value if isinstance(value, str) else int(value)
