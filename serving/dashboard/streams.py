"""Following streams of Redis: the newest entries at first, then what came since."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from serving.dashboard.redis_values import parse_json, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from state.store import ReadCommand

Entry = tuple[bytes, dict[bytes, bytes]]


class StreamFollower:
    """Where we are in each of some streams."""

    def __init__(self, names: Sequence[str], *, first: int, limit: int) -> None:
        self.names = names
        self._first = first
        self._limit = limit
        self._last: dict[str, bytes] = {}

    def commands(self) -> list[ReadCommand]:
        """What to ask of each stream: the newest, to know an emptied one, and what came."""
        commands: list[ReadCommand] = []
        for name in self.names:
            commands.append(("XREVRANGE", name, "+", "-", "COUNT", 1))
            if last := self._last.get(name):
                commands.append(("XRANGE", name, b"(" + last, "+", "COUNT", self._limit))
            else:
                commands.append(("XREVRANGE", name, "+", "-", "COUNT", self._first))
        return commands

    def apply(self, replies: Sequence[list[Entry] | None]) -> tuple[list[Entry], bool]:
        """The entries that came, oldest first in each stream; whether a stream was emptied.

        After that the next look begins anew.
        """
        new_entries: list[Entry] = []
        for i, name in enumerate(self.names):
            newest, entries = replies[2 * i] or [], replies[2 * i + 1] or []
            last = self._last.get(name)
            if last is not None and (
                not newest or entry_id_order(newest[0][0]) < entry_id_order(last)
            ):
                self._last.clear()
                return [], True
            if last is None:
                entries = entries[::-1]
            if entries:
                self._last[name] = entries[-1][0]
            new_entries += entries
        return new_entries, False

    def reset(self) -> None:
        """Take the newest again."""
        self._last.clear()


class ChangeEntry(NamedTuple):
    """Somebody entered or left a segment, went on to a stage, became another shopper or was erased, or
    is concerned by what happened to an item (`segment` says what); event time, ms."""

    kind: str
    shopper: str
    segment: str
    at_ms: int
    item: str = ""


def parse_changes(entries: Iterable[Entry]) -> list[ChangeEntry]:
    """Entries of change streams, in the order of event time."""
    parsed = [
        ChangeEntry(
            text(fields.get(b"kind")),
            text(fields.get(b"shopper")),
            text(fields.get(b"segment")),
            int(fields.get(b"event_ts", b"0")),
            text(fields.get(b"item")),
        )
        for _, fields in entries
    ]
    return sorted(parsed, key=lambda change: change.at_ms)


def parse_events(entries: Iterable[Entry]) -> list[list[Any]]:
    """The events in entries of `ps:1:recent`: shopper, type, item, event time (ms)."""
    return [event for _, fields in entries for event in parse_json(fields.get(b"events")) or []]


def history_rows(entries: Iterable[Entry], fields: Sequence[str]) -> list[list[float | None]]:
    """Entries of a history: when (ms), and each field as a number."""
    return [
        [entry_id_order(entry_id)[0], *(_number(values, field) for field in fields)]
        for entry_id, values in entries
    ]


def entry_id_order(entry_id: bytes) -> tuple[int, int]:
    """What the ids of a stream are ordered by.

    >>> entry_id_order(b"12-3")
    (12, 3)
    """
    ms, _, sequence = entry_id.partition(b"-")
    return int(ms), int(sequence or 0)


def _number(values: Mapping[bytes, bytes], field: str) -> float | None:
    raw = values.get(field.encode())
    return None if raw is None else float(raw)
