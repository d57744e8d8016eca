"""Following streams of Redis: the newest entries at first, then what came since."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from serving.dashboard.redis_values import json, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from state.store import Read

Entry = tuple[bytes, dict[bytes, bytes]]


class Follower:
    """Where we are in each of some streams."""

    def __init__(self, names: Sequence[str], *, first: int, most: int) -> None:
        self.names = names
        self._first = first
        self._most = most
        self._last: dict[str, bytes] = {}

    def reads(self) -> list[Read]:
        """What to ask of each stream: the newest, to know an emptied one, and what came."""
        reads: list[Read] = []
        for name in self.names:
            reads.append(("XREVRANGE", name, "+", "-", "COUNT", 1))
            if last := self._last.get(name):
                reads.append(("XRANGE", name, b"(" + last, "+", "COUNT", self._most))
            else:
                reads.append(("XREVRANGE", name, "+", "-", "COUNT", self._first))
        return reads

    def take(self, replies: Sequence[list[Entry] | None]) -> tuple[list[Entry], bool]:
        """The entries that came, oldest first in each stream; whether a stream was emptied.

        After that the next look begins anew.
        """
        came: list[Entry] = []
        for i, name in enumerate(self.names):
            newest, entries = replies[2 * i] or [], replies[2 * i + 1] or []
            last = self._last.get(name)
            if last is not None and (not newest or order(newest[0][0]) < order(last)):
                self._last.clear()
                return [], True
            if last is None:
                entries = entries[::-1]
            if entries:
                self._last[name] = entries[-1][0]
            came += entries
        return came, False

    def begin_anew(self) -> None:
        """Take the newest again."""
        self._last.clear()


class Change(NamedTuple):
    """Somebody entered or left a segment, went on to a stage, became another shopper or was erased, or
    is concerned by what happened to an item (`segment` says what); event time, ms."""

    kind: str
    shopper: str
    segment: str
    at_ms: int
    item: str = ""


def changes(entries: Iterable[Entry]) -> list[Change]:
    """Entries of change streams, in the order of event time."""
    found = [
        Change(
            text(fields.get(b"kind")),
            text(fields.get(b"shopper")),
            text(fields.get(b"segment")),
            int(fields.get(b"event_ts", b"0")),
            text(fields.get(b"item")),
        )
        for _, fields in entries
    ]
    return sorted(found, key=lambda change: change.at_ms)


def events(entries: Iterable[Entry]) -> list[list[Any]]:
    """The events in entries of `ps:1:recent`: shopper, type, item, event time (ms)."""
    return [event for _, fields in entries for event in json(fields.get(b"events")) or []]


def minutes(entries: Iterable[Entry], fields: Sequence[str]) -> list[list[float | None]]:
    """Entries of a history: when (ms), and each field as a number."""
    return [
        [order(entry_id)[0], *(_number(named, field) for field in fields)]
        for entry_id, named in entries
    ]


def order(entry_id: bytes) -> tuple[int, int]:
    """What the ids of a stream are ordered by.

    >>> order(b"12-3")
    (12, 3)
    """
    ms, _, sequence = entry_id.partition(b"-")
    return int(ms), int(sequence or 0)


def _number(named: Mapping[bytes, bytes], field: str) -> float | None:
    raw = named.get(field.encode())
    return None if raw is None else float(raw)
