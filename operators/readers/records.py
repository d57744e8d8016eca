"""Readers of JSON records: one record in, an event or a dead letter for each event in it.

A record is a line of a file or a Kafka record. An adapter is two functions: one splits a record
into records of one event, the other makes the event of such a record. It may have a fast twin
(`operators/readers/fast/`).
"""

from __future__ import annotations

from itertools import count, islice, repeat
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from operators.events.batch_decode import decode_batch, is_sound
from operators.events.decode import (
    NESTING_MAX,
    RecordPosition,
    dead_letter,
    decode,
    decode_fast,
    record_processing_error,
    stable_event_id,
    validate,
)
from operators.events.validation import normalize
from operators.readers import penstock
from operators.readers.common_fields import AdapterContext
from operators.readers.fields import Fields
from operators.readers.json_parsing import parse_record
from operators.readers.values import BadFieldError
from state.dead_letters import DeadLetter
from state.limits import DEFAULT, Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from operators.events.violations import Violation
    from operators.readers.base import FastReader, LogReader, RecordReader
    from state.events import Event

_FILE_PARTITION = "0"
_CHUNK_LINES = 256


class RecordAdapter:
    """A `RecordReader` made of the two functions of an adapter, which may raise `BadFieldError`.

    A dead letter holds the record of one event only, so that the good events beside it are not sent
    again when it is.
    """

    def __init__(
        self,
        format_name: str,
        split: Callable[[dict[str, Any]], list[Any]],
        to_event: Callable[[Fields, AdapterContext], Event],
        read_usual: FastReader | None = None,
    ) -> None:
        self._read_usual = read_usual
        self._format_name = format_name
        self._split = split
        self._to_event = to_event

    def __call__(
        self,
        raw: bytes,
        position: RecordPosition,
        *,
        now_ms: int,
        received_ms: int = 0,
        limits: Limits = DEFAULT,
    ) -> list[Event | DeadLetter]:
        """Read one record."""
        events = self.try_fast(raw, now_ms, received_ms, limits)
        return self._read(raw, position, now_ms, received_ms, limits) if events is None else events

    def _read(
        self, raw: bytes, position: RecordPosition, now_ms: int, received_ms: int, limits: Limits
    ) -> list[Event | DeadLetter]:
        try:
            parts = self._split(parse_record(raw, limits))
        except Exception as error:
            return [dead_letter(raw, [_violation(error)], position)]
        results: list[Event | DeadLetter] = []
        for index, part in enumerate(parts):
            part_raw = raw if len(parts) == 1 else msgspec.json.encode(part)
            context = AdapterContext(
                stable_event_id(self._format_name, raw, str(index)), now_ms, received_ms
            )
            try:
                event = self._read_part(part, context)
                result = validate(event, part_raw, position, now_ms=now_ms, limits=limits)
            except Exception as error:
                result = dead_letter(part_raw, [_violation(error)], position)
            results.append(result)
        return results

    def try_fast(
        self, raw: bytes, now_ms: int, received_ms: int, limits: Limits
    ) -> list[Event | DeadLetter] | None:
        """The events of a record of the usual shape that break no rule, else None. Hot."""
        if self._read_usual is None or len(raw) > limits.event_bytes_max:
            return None
        try:
            if not raw.isascii():
                raw.decode()
            if raw.count(b"{") + raw.count(b"[") > NESTING_MAX:
                return None
            events: list[Event | DeadLetter] = []
            for event in self._read_usual(raw, now_ms, received_ms):
                if not is_sound(event, now_ms, limits.event_items_max) and (
                    len(event.items) > limits.event_items_max or not normalize(event, now_ms)
                ):
                    return None
                events.append(event)
        except Exception:  # whatever it is, the adapter finds out what to say of it
            return None
        return events

    def _read_part(self, part: object, context: AdapterContext) -> Event:
        """The event of a record of one event, with the names of what could not be read."""
        if not isinstance(part, dict):
            raise BadFieldError("schema_violation", "$", "expected an object")
        fields = Fields(part)
        event = self._to_event(fields, context)
        if event.event_id is context.event_id and event.event_ts == context.received_ms:
            # Equal records with neither an id nor a time of their own are different events.
            received = str(context.received_ms)
            event_id = stable_event_id(self._format_name, context.event_id, received)
            event = replace(event, event_id=event_id)
        if fields.unreadable:
            event = replace(event, left_out=tuple(fields.unreadable))
        return event


def _violation(error: Exception) -> Violation:
    if isinstance(error, BadFieldError):
        return error.violation
    return record_processing_error(error)


_read_leniently = RecordAdapter("penstock", penstock.split, penstock.to_event)


def read_canonical(
    raw: bytes,
    position: RecordPosition,
    *,
    now_ms: int,
    received_ms: int = 0,
    limits: Limits = DEFAULT,
) -> list[Event | DeadLetter]:
    """`penstock`: a record is one event. Where it breaks a rule it is read field by field, as by an
    adapter."""
    event = decode_fast(raw, now_ms, limits)
    if event is not None:
        return [event]
    strict_result = decode(raw, position, now_ms=now_ms, limits=limits)
    if len(raw) > limits.event_bytes_max:
        return [strict_result]
    (lenient_result,) = _read_leniently(
        raw, position, now_ms=now_ms, received_ms=received_ms, limits=limits
    )
    is_unread = isinstance(lenient_result, DeadLetter) and lenient_result.failure_type == "not_json"
    return [strict_result if is_unread else lenient_result]


def read_canonical_lines(
    lines: Iterable[bytes], *, source: str, now_ms: int, limits: Limits = DEFAULT
) -> Iterator[Event | DeadLetter]:
    """A file of canonical records; offsets are line numbers from 1."""
    first_number = 1
    for chunk in _chunks(lines):
        events = decode_batch(chunk, repeat(now_ms), limits)
        for number, raw, event in zip(count(first_number), chunk, events, strict=False):
            if event is not None:
                yield event
            else:
                position = RecordPosition(source, _FILE_PARTITION, number)
                yield from read_canonical(raw, position, now_ms=now_ms, limits=limits)
        first_number += len(chunk)


def _chunks(lines: Iterable[bytes]) -> Iterator[list[bytes]]:
    """The lines, many at a time; those before an error come before it."""
    source_lines, error = iter(lines), None
    while error is None:
        chunk: list[bytes] = []
        try:
            chunk.extend(islice(source_lines, _CHUNK_LINES))
        except Exception as failure:
            error = failure
        if chunk:
            yield chunk
        elif error is None:
            return
    raise error


def line_reader(reader: RecordReader) -> LogReader:
    """A reader of files with one such record on each line; offsets are line numbers from 1."""
    try_fast = reader.try_fast if isinstance(reader, RecordAdapter) else None

    def read(
        lines: Iterable[bytes], *, source: str, now_ms: int, limits: Limits = DEFAULT
    ) -> Iterator[Event | DeadLetter]:
        for number, raw in enumerate(lines, 1):
            results = try_fast(raw, now_ms, 0, limits) if try_fast else None
            if results is None:
                position = RecordPosition(source, _FILE_PARTITION, number)
                results = reader(raw, position, now_ms=now_ms, limits=limits)
            yield from results

    return read
