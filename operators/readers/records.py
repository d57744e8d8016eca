"""Record formats: one JSON record in, an event or a dead letter for everything that it holds.

A record is a line of a file or a Kafka record. To add a format: one file here with an `Adapter`, one
line in `RECORD_READERS`; `docs/adapters.md` has a table of each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from msgspec.structs import replace

from operators.events.decode import (
    RecordPosition,
    dead_letter,
    decode,
    decode_fast,
    record_processing_error,
    stable_event_id,
    validate,
)
from operators.readers import ga4, penstock, segment, snowplow
from operators.readers.common_fields import AdapterContext
from operators.readers.fields import BadFieldError, Fields
from operators.readers.json_parsing import parse_record
from state.dead_letters import DeadLetter
from state.errors import ConfigurationError
from state.limits import DEFAULT, Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from operators.events.violations import Violation
    from operators.readers import Reader
    from state.events import Event


FORMAT_ALIASES = {"rudderstack": "segment", "jitsu": "segment", "posthog": "segment"}
"""Senders whose records a format of another name reads: the name of each is accepted too."""


class FormatTable(dict[str, Any]):
    """Readers by the name of their format, and by the names of senders."""

    def __missing__(self, name: str) -> Any:
        return self[FORMAT_ALIASES[name]]


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
        limits: Limits = DEFAULT,
    ) -> list[Event | DeadLetter]:
        """Read one record."""


def read_canonical(
    raw: bytes,
    *,
    source: str,
    partition: str,
    offset: int,
    now_ms: int,
    received_ms: int = 0,
    limits: Limits = DEFAULT,
) -> list[Event | DeadLetter]:
    """`penstock`: a record is one event; what is not as it should be is read as an adapter reads."""
    event = decode_fast(raw, now_ms, limits)
    if event is not None:
        return [event]
    place: RecordPosition = {"source": source, "partition": partition, "offset": offset}
    strict_result = decode(raw, **place, now_ms=now_ms, limits=limits)
    if len(raw) > limits.event_bytes_max:
        return [strict_result]
    (lenient_result,) = _read_leniently(
        raw, **place, now_ms=now_ms, received_ms=received_ms, limits=limits
    )
    is_unread = isinstance(lenient_result, DeadLetter) and lenient_result.failure_type == "not_json"
    return [strict_result if is_unread else lenient_result]


def read_canonical_lines(
    lines: Iterable[bytes], *, source: str, now_ms: int, limits: Limits = DEFAULT
) -> Iterator[Event | DeadLetter]:
    """A file of canonical records; offsets are line numbers from 1."""
    for number, raw in enumerate(lines, 1):
        event = decode_fast(raw, now_ms, limits)
        if event is not None:
            yield event
        else:
            yield from read_canonical(
                raw, source=source, partition="0", offset=number, now_ms=now_ms, limits=limits
            )


def make_record_reader(
    name: str,
    split: Callable[[dict[str, Any]], list[Any]],
    to_event: Callable[[Fields, AdapterContext], Event],
) -> RecordReader:
    """A reader made of how a record splits into records of one event, and what such a one means.

    Both may raise `BadFieldError`. A dead letter holds the record of one event, so that what was
    good beside it is not sent again with it.
    """

    def read_record(
        raw: bytes,
        *,
        source: str,
        partition: str,
        offset: int,
        now_ms: int,
        received_ms: int = 0,
        limits: Limits = DEFAULT,
    ) -> list[Event | DeadLetter]:
        place: RecordPosition = {"source": source, "partition": partition, "offset": offset}

        def read_part(part: object, piece: bytes, index: int) -> Event | DeadLetter:
            try:
                if not isinstance(part, dict):
                    raise BadFieldError("schema_violation", "$", "expected an object")
                context = AdapterContext(
                    stable_event_id(name, raw, str(index)), now_ms, received_ms
                )
                fields = Fields(part)
                event = to_event(fields, context)
                if event.event_id is context.event_id and event.event_ts == received_ms:
                    # Equal records that tell neither an id nor a time are as many events.
                    distinct_id = stable_event_id(name, context.event_id, str(received_ms))
                    event = replace(event, event_id=distinct_id)
                if fields.unreadable:
                    event = replace(event, left_out=tuple(fields.unreadable))
                return validate(event, piece, **place, now_ms=now_ms, limits=limits)
            except Exception as error:
                return dead_letter(piece, [_finding(error)], **place)

        try:
            parts = split(parse_record(raw, limits))
        except Exception as error:
            return [dead_letter(raw, [_finding(error)], **place)]
        if len(parts) == 1:
            return [read_part(parts[0], raw, 0)]
        return [
            read_part(part, msgspec.json.encode(part), index) for index, part in enumerate(parts)
        ]

    return read_record


def _finding(error: Exception) -> Violation:
    if isinstance(error, BadFieldError):
        return error.finding
    return record_processing_error(error)


_read_leniently = make_record_reader("penstock", penstock.split, penstock.to_event)

RECORD_READERS: dict[str, RecordReader] = FormatTable(
    {
        "penstock": read_canonical,
        "segment": make_record_reader("segment", segment.split, segment.to_event),
        "ga4": make_record_reader("ga4", ga4.split, ga4.to_event),
        "ga4-bigquery": make_record_reader("ga4-bigquery", ga4.split_row, ga4.row_to_event),
        "snowplow": make_record_reader("snowplow", snowplow.split, snowplow.to_event),
    }
)


def record_reader(format_name: str) -> RecordReader:
    """What reads records of a format; `UserError` where it is none, or one of files only."""
    try:
        return RECORD_READERS[format_name]
    except KeyError:
        raise ConfigurationError(
            f"kafka.format {format_name!r} is no format of records: choose one of "
            f"{', '.join([*RECORD_READERS, *FORMAT_ALIASES])}"
        ) from None


def line_reader(read_record: RecordReader) -> Reader:
    """A reader of files that hold one such record a line; offsets are line numbers from 1."""

    def read(
        lines: Iterable[bytes], *, source: str, now_ms: int, limits: Limits = DEFAULT
    ) -> Iterator[Event | DeadLetter]:
        for number, raw in enumerate(lines, 1):
            yield from read_record(
                raw, source=source, partition="0", offset=number, now_ms=now_ms, limits=limits
            )

    return read
