"""Record formats: one JSON record in, an event or a dead letter for everything that it holds.

A record is a line of a file or a Kafka record. To add a format: one file here with an `events_of`, one
line in `RECORDS`; `docs/adapters.md` has a table of each.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from typing import TYPE_CHECKING, Protocol

from operators.decode import decode
from state.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from operators.readers import Reader
    from state.deadletters import DeadLetter
    from state.events import Event


class RecordReader(Protocol):
    """One record to its events, in their order.

    Promises: at least one result (an empty record is a dead letter); the same record gives the same
    results, event ids included, wherever it stands; no exception. `source`, `partition` and `offset`
    go into dead letters, `now_ms` is what "too far in the future" is held against.
    """

    def __call__(
        self, raw: bytes, *, source: str, partition: str, offset: int, now_ms: int
    ) -> list[Event | DeadLetter]:
        """Read one record."""


def canonical(
    raw: bytes, *, source: str, partition: str, offset: int, now_ms: int
) -> list[Event | DeadLetter]:
    """`penstock`: a record is one event."""
    return [decode(raw, source=source, partition=partition, offset=offset, now_ms=now_ms)]


RECORDS: dict[str, RecordReader] = {
    "penstock": canonical,
}


def record_reader(format_name: str) -> RecordReader:
    """What reads records of a format; `UserError` where it is none, or one of files only."""
    try:
        return RECORDS[format_name]
    except KeyError:
        raise UserError(
            f"kafka.format {format_name!r} is no format of records: choose one of "
            f"{', '.join(RECORDS)}"
        ) from None


def lines_of(events_of: RecordReader) -> Reader:
    """A reader of files that hold one such record a line; offsets are line numbers from 1."""

    def read(lines: Iterable[bytes], *, source: str, now_ms: int) -> Iterator[Event | DeadLetter]:
        for number, line in enumerate(lines, 1):
            raw = line.removeprefix(BOM_UTF8) if number == 1 else line
            yield from events_of(raw, source=source, partition="0", offset=number, now_ms=now_ms)

    return read
