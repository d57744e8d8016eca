"""Record formats: one JSON record in, an event or a dead letter for everything that it holds.

A record is a line of a file or a Kafka record. To add a format: one file here with an `Adapter`, one
line in `RECORDS`; `docs/adapters.md` has a table of each.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from msgspec.structs import replace

from operators.decode import admit, decode, nesting_fault, reject, stable_event_id
from operators.readers import ga4, segment, snowplow
from operators.readers.fields import BadFieldError, Fields, Told
from state.errors import UserError
from state.events import EVENT_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from operators.faults import Finding
    from operators.readers import Reader
    from state.deadletters import DeadLetter
    from state.events import Event

RECORD_BYTES_MAX = 1024 * 1024 - 1
"""A record may hold many events, each of at most `EVENT_BYTES_MAX`."""

_decode = msgspec.json.Decoder().decode


class RecordReader(Protocol):
    """One record to its events, in their order.

    Promises: at least one result (an empty record is a dead letter); the same record gives the same
    results, event ids included; no exception. `source`, `partition` and `offset` go into dead
    letters, `now_ms` is what "too far in the future" is held against. `received_ms` is when the
    record came in, where something keeps that (Kafka does): the time of an event that tells none.
    """

    def __call__(
        self,
        raw: bytes,
        *,
        source: str,
        partition: str,
        offset: int,
        now_ms: int,
        received_ms: int = 0,
    ) -> list[Event | DeadLetter]:
        """Read one record."""


def canonical(
    raw: bytes, *, source: str, partition: str, offset: int, now_ms: int, received_ms: int = 0
) -> list[Event | DeadLetter]:
    """`penstock`: a record is one event."""
    return [decode(raw, source=source, partition=partition, offset=offset, now_ms=now_ms)]


def adapter(
    name: str,
    split: Callable[[dict[str, Any]], list[Any]],
    to_event: Callable[[Fields, Told], Event],
) -> RecordReader:
    """A reader made of how a record splits into records of one event, and what such a one means.

    Both may raise `BadFieldError`. A dead letter holds the record of one event, so that what was
    good beside it is not sent again with it.
    """

    def events_of(
        raw: bytes, *, source: str, partition: str, offset: int, now_ms: int, received_ms: int = 0
    ) -> list[Event | DeadLetter]:
        def one(part: object, piece: bytes, index: int) -> Event | DeadLetter:
            try:
                if len(piece) > EVENT_BYTES_MAX:
                    message = f"{len(piece)} bytes; at most {EVENT_BYTES_MAX}"
                    raise BadFieldError("too_large", "$", message)
                if not isinstance(part, dict):
                    raise BadFieldError("schema_violation", "$", "expected an object")
                told = Told(stable_event_id(name, raw, str(index)), now_ms, received_ms)
                event = to_event(Fields(part), told)
                if event.event_id is told.event_id and event.event_ts == received_ms:
                    # Equal records that tell neither an id nor a time are as many events.
                    again = stable_event_id(name, told.event_id, str(received_ms))
                    event = replace(event, event_id=again)
            except Exception as error:
                finding = _finding(error)
            else:
                return admit(
                    event, piece, source=source, partition=partition, offset=offset, now_ms=now_ms
                )
            return reject(piece, [finding], source=source, partition=partition, offset=offset)

        try:
            parts = split(_parsed(raw))
        except Exception as error:
            finding = _finding(error)
            return [reject(raw, [finding], source=source, partition=partition, offset=offset)]
        if len(parts) == 1:
            return [one(parts[0], raw, 0)]
        return [one(part, msgspec.json.encode(part), index) for index, part in enumerate(parts)]

    return events_of


def _finding(error: Exception) -> Finding:
    if isinstance(error, BadFieldError):
        return error.finding
    return ("processing_error", "$", f"{type(error).__name__}: {error}"[:300])


def _parsed(raw: bytes) -> dict[str, Any]:
    if len(raw) > RECORD_BYTES_MAX:
        message = f"{len(raw)} bytes or more; at most {RECORD_BYTES_MAX}"
        raise BadFieldError("too_large", "$", message)
    if (fault := nesting_fault(raw)) is not None:
        raise BadFieldError(*fault)
    try:
        record = _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadFieldError("not_json", "$", str(error)) from None
    if not isinstance(record, dict):
        raise BadFieldError("schema_violation", "$", "expected an object")
    return record


RECORDS: dict[str, RecordReader] = {
    "penstock": canonical,
    "segment": adapter("segment", segment.split, segment.event),
    "ga4": adapter("ga4", ga4.split, ga4.event),
    "ga4-bigquery": adapter("ga4-bigquery", ga4.split_row, ga4.row_event),
    "snowplow": adapter("snowplow", snowplow.split, snowplow.event),
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
