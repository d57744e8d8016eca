"""Follows streams of Redis: the newest entries first, then each time the entries that were added."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from serving.dashboard.redis_values import parse_json, text
from state.replies import parse_entry_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from state.store import ReadCommand

Entry = tuple[bytes, dict[bytes, bytes]]


class StreamFollower:
    """The position in each of several streams."""

    def __init__(self, names: Sequence[str], *, first: int, limit: int) -> None:
        self.names = names
        self._first = first
        self._limit = limit
        self._last: dict[str, bytes] = {}

    def commands(self) -> list[ReadCommand]:
        """Return two reads for each stream: the newest entry (is it emptied?) and new entries."""
        commands: list[ReadCommand] = []
        for name in self.names:
            commands.append(("XREVRANGE", name, "+", "-", "COUNT", 1))
            if last := self._last.get(name):
                commands.append(("XRANGE", name, b"(" + last, "+", "COUNT", self._limit))
            else:
                commands.append(("XREVRANGE", name, "+", "-", "COUNT", self._first))
        return commands

    def apply(self, replies: Sequence[list[Entry] | None]) -> tuple[list[Entry], bool]:
        """Return the new entries, the oldest first in each stream, and whether a stream was emptied.

        After a stream was emptied the next read starts again.
        """
        new_entries: list[Entry] = []
        for i, name in enumerate(self.names):
            newest, entries = replies[2 * i] or [], replies[2 * i + 1] or []
            last = self._last.get(name)
            if last is not None and (
                not newest or parse_entry_id(newest[0][0]) < parse_entry_id(last)
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
        """Start again at the newest entries."""
        self._last.clear()


class ChangeEntry(NamedTuple):
    """A change of a shopper, with its event time (ms).

    A shopper entered or left a segment, changed the stage, was merged or erased, or an item that the
    shopper viewed has changed (`segment` says how).
    """

    kind: str
    shopper: str
    segment: str
    at_ms: int
    item: str = ""


def parse_changes(entries: Iterable[Entry]) -> list[ChangeEntry]:
    """Parse entries of change streams; return them by event time."""
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
    """Parse entries of `ps:1:recent` to events: shopper, type, item, event time (ms)."""
    return [event for _, fields in entries for event in parse_json(fields.get(b"events")) or []]


def history_rows(entries: Iterable[Entry], fields: Sequence[str]) -> list[list[float | None]]:
    """Parse entries of a history to rows: time (ms), then each field as a number."""
    return [
        [parse_entry_id(entry_id)[0], *(_number(values, field) for field in fields)]
        for entry_id, values in entries
    ]


def _number(values: Mapping[bytes, bytes], field: str) -> float | None:
    raw = values.get(field.encode())
    return None if raw is None else float(raw)
