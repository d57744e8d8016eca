"""Record formats: one JSON record in, an event or a dead letter for everything that it holds.

A record is a line of a file or a Kafka record. To add a format: one file here with an `Adapter`, one
line in `RECORDS`; `docs/adapters.md` has a table of each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from msgspec.structs import replace

from operators.events.decode import Place, admit, decode, good, reject, stable_event_id, unforeseen
from operators.readers import ga4, penstock, segment, snowplow
from operators.readers.common_fields import Told
from operators.readers.fields import BadFieldError, Fields
from operators.readers.json_parsing import parsed
from state.dead_letters import DeadLetter
from state.errors import UserError
from state.limits import DEFAULT, Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from operators.events.violations import Finding
    from operators.readers import Reader
    from state.events import Event


ALSO_CALLED = {"rudderstack": "segment", "jitsu": "segment", "posthog": "segment"}
"""Senders whose records a format of another name reads: the name of each is accepted too."""


class Named(dict[str, Any]):
    """Readers by the name of their format, and by the names of senders."""

    def __missing__(self, name: str) -> Any:
        return self[ALSO_CALLED[name]]


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


def canonical(
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
    event = good(raw, now_ms, limits)
    if event is not None:
        return [event]
    place: Place = {"source": source, "partition": partition, "offset": offset}
    letter = decode(raw, **place, now_ms=now_ms, limits=limits)
    if len(raw) > limits.event_bytes_max:
        return [letter]
    (mended,) = _leniently(raw, **place, now_ms=now_ms, received_ms=received_ms, limits=limits)
    is_unread = isinstance(mended, DeadLetter) and mended.failure_type == "not_json"
    return [letter if is_unread else mended]


def canonical_lines(
    lines: Iterable[bytes], *, source: str, now_ms: int, limits: Limits = DEFAULT
) -> Iterator[Event | DeadLetter]:
    """A file of canonical records; offsets are line numbers from 1."""
    for number, raw in enumerate(lines, 1):
        event = good(raw, now_ms, limits)
        if event is not None:
            yield event
        else:
            yield from canonical(
                raw, source=source, partition="0", offset=number, now_ms=now_ms, limits=limits
            )


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
        raw: bytes,
        *,
        source: str,
        partition: str,
        offset: int,
        now_ms: int,
        received_ms: int = 0,
        limits: Limits = DEFAULT,
    ) -> list[Event | DeadLetter]:
        place: Place = {"source": source, "partition": partition, "offset": offset}

        def one(part: object, piece: bytes, index: int) -> Event | DeadLetter:
            try:
                if not isinstance(part, dict):
                    raise BadFieldError("schema_violation", "$", "expected an object")
                told = Told(stable_event_id(name, raw, str(index)), now_ms, received_ms)
                fields = Fields(part)
                event = to_event(fields, told)
                if event.event_id is told.event_id and event.event_ts == received_ms:
                    # Equal records that tell neither an id nor a time are as many events.
                    again = stable_event_id(name, told.event_id, str(received_ms))
                    event = replace(event, event_id=again)
                if fields.left_out:
                    event = replace(event, left_out=tuple(fields.left_out))
                return admit(event, piece, **place, now_ms=now_ms, limits=limits)
            except Exception as error:
                return reject(piece, [_finding(error)], **place)

        try:
            parts = split(parsed(raw, limits))
        except Exception as error:
            return [reject(raw, [_finding(error)], **place)]
        if len(parts) == 1:
            return [one(parts[0], raw, 0)]
        return [one(part, msgspec.json.encode(part), index) for index, part in enumerate(parts)]

    return events_of


def _finding(error: Exception) -> Finding:
    if isinstance(error, BadFieldError):
        return error.finding
    return unforeseen(error)


_leniently = adapter("penstock", penstock.split, penstock.event)

RECORDS: dict[str, RecordReader] = Named(
    {
        "penstock": canonical,
        "segment": adapter("segment", segment.split, segment.event),
        "ga4": adapter("ga4", ga4.split, ga4.event),
        "ga4-bigquery": adapter("ga4-bigquery", ga4.split_row, ga4.row_event),
        "snowplow": adapter("snowplow", snowplow.split, snowplow.event),
    }
)


def record_reader(format_name: str) -> RecordReader:
    """What reads records of a format; `UserError` where it is none, or one of files only."""
    try:
        return RECORDS[format_name]
    except KeyError:
        raise UserError(
            f"kafka.format {format_name!r} is no format of records: choose one of "
            f"{', '.join([*RECORDS, *ALSO_CALLED])}"
        ) from None


def lines_of(events_of: RecordReader) -> Reader:
    """A reader of files that hold one such record a line; offsets are line numbers from 1."""

    def read(
        lines: Iterable[bytes], *, source: str, now_ms: int, limits: Limits = DEFAULT
    ) -> Iterator[Event | DeadLetter]:
        for number, raw in enumerate(lines, 1):
            yield from events_of(
                raw, source=source, partition="0", offset=number, now_ms=now_ms, limits=limits
            )

    return read
