"""Decodes records: bytes of JSON in, an `Event` or a `DeadLetter` out, never an exception.

Readers of other formats check the events that they build by the same rules, with `validate`.
"""

from __future__ import annotations

import json
import re
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec.structs import replace

from operators.events.processing_errors import ProcessingErrors
from operators.events.validation import ORDER_TYPES, normalize
from operators.events.violations import Violation, event_time_or_zero, find_violations
from operators.shoppers.amounts import items_micros
from state.dead_letters import BASE64_BYTES_MAX, RAW_BYTES_MAX, DeadLetter, FieldError, raw_text
from state.events import PROPS_BYTES_MAX, QUANTITY_MAX, SHOPPER_ID_CHARS_MAX, SHORTENED, Event
from state.limits import DEFAULT, Limits
from state.money import MICROS_PER_UNIT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NESTING_MAX = 99
"""Levels of objects and arrays. A record with more is an attack on the parser."""


class RecordPosition(NamedTuple):
    """The position of a record in its log."""

    source: str
    partition: str
    offset: int


_processing_errors = ProcessingErrors("events")
_decode = msgspec.json.Decoder(Event).decode
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def decode(
    raw: bytes, position: RecordPosition, *, now_ms: int, limits: Limits = DEFAULT
) -> Event | DeadLetter:
    """Decode one canonical JSON record. `now_ms` is its time of arrival: event times are compared to it.

    >>> line = b'{"event_id":"1","type":"page_view","event_ts":1600000000000,"user_id":"ann"}'
    >>> decode(line, RecordPosition("s", "0", 0), now_ms=1600000000000).user_id
    'ann'
    """
    event = decode_fast(raw, now_ms, limits)
    if event is not None:
        return event
    return _reject_raw(raw, position, now_ms, limits)


def decode_lines(
    lines: Iterable[bytes], *, source: str, partition: str, first_offset: int, now_ms: int
) -> Iterator[Event | DeadLetter]:
    """Decode many records with consecutive offsets; one result per record, in order."""
    for offset, raw in enumerate(lines, first_offset):
        yield decode(raw, RecordPosition(source, partition, offset), now_ms=now_ms)


def _prefix(size: int) -> bytes:
    return b"\0%d:" % size


_PREFIXES = tuple(map(_prefix, range(256)))
"""What comes before a field of so many bytes in the digest of an event id."""


def stable_event_id(source: str, *fields: str | bytes) -> str:
    """An event id for a source that has none. The same fields always give the same id.

    >>> stable_event_id("shop", "12", "view")
    '04106f4be9535032ee8ec7a729abea3b'
    """
    parts = [source.encode()]
    for field in fields:
        data = field.encode() if isinstance(field, str) else field
        size = len(data)
        parts += (_PREFIXES[size] if size < len(_PREFIXES) else _prefix(size), data)
    return blake2b(b"".join(parts), digest_size=16).hexdigest()


def decode_fast(raw: bytes, now_ms: int, limits: Limits = DEFAULT) -> Event | None:
    """The event of a canonical record that breaks no rule, else None. Hot."""
    size = len(raw)
    if size > limits.event_bytes_max:
        return None
    try:
        if not raw.isascii():
            raw.decode()
        event = _decode(raw)
        if size > 2 * NESTING_MAX and not _is_within_limits(raw, event):
            return None
        if not normalize(event, now_ms):
            return None
    except Exception:
        return None
    return event if len(event.items) <= limits.event_items_max else truncate_items(event, limits)


def _is_within_limits(raw: bytes, event: Event) -> bool:
    if nesting_violation(raw) is not None:
        return False
    return len(raw) <= PROPS_BYTES_MAX or len(bytes(event.props)) <= PROPS_BYTES_MAX


def nesting_violation(raw: bytes) -> Violation | None:
    """The violation of JSON that is nested too deep for a parser; None if it is not."""
    if raw.count(b"{") + raw.count(b"[") <= NESTING_MAX or _nesting_depth(raw) <= NESTING_MAX:
        return None
    return ("not_json", "$", f"nested more than {NESTING_MAX} levels deep")


def _nesting_depth(raw: bytes) -> int:
    """The number of levels of objects and arrays. Brackets inside strings do not count."""
    depth = deepest = 0
    for byte in _STRING.sub(b"", raw).translate(None, delete=_NO_BRACKETS):
        depth += 1 if byte in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def dead_letter(
    raw: bytes, violations: list[Violation], position: RecordPosition, *, at_ms: int = 0
) -> DeadLetter:
    """The dead letter of a record. The first violation gives the failure type."""
    text, is_base64 = raw_text(raw)
    return DeadLetter(
        failure_type=violations[0][0],
        errors=tuple(FieldError(path, message) for _, path, message in violations),
        source=position.source,
        partition=position.partition,
        offset=position.offset,
        raw=text,
        base64=is_base64,
        at=at_ms,
        cut=len(raw) > RAW_BYTES_MAX or (is_base64 and len(raw) > BASE64_BYTES_MAX),
    )


def validate(
    event: Event,
    raw: bytes,
    position: RecordPosition,
    *,
    now_ms: int,
    limits: Limits = DEFAULT,
) -> Event | DeadLetter:
    """Check an event that a reader built from `raw`, by the same rules as a decoded event."""
    if not _exceeds_bounds(event) and normalize(event, now_ms):
        return (
            event if len(event.items) <= limits.event_items_max else truncate_items(event, limits)
        )
    fields = msgspec.to_builtins(event)
    violations = find_violations(fields, now_ms) or [
        _processing_error("no rule explains the rejection")
    ]
    at_ms = event_time_or_zero(fields, now_ms)
    return dead_letter(raw, violations, position, at_ms=at_ms)


def truncate_items(event: Event, limits: Limits) -> Event:
    """The event with its first items only. The value of an order stays that of all items."""
    value = event.value
    if value is None and event.type in ORDER_TYPES:
        value = items_micros(event.items) / MICROS_PER_UNIT
    items = event.items[: limits.event_items_max]
    return replace(event, items=items, value=value, left_out=(*event.left_out, SHORTENED))


def _exceeds_bounds(event: Event) -> bool:
    """Whether lengths or quantities exceed their limits, which decoding checks by itself."""
    return (
        any(
            len(item.item_id) > SHOPPER_ID_CHARS_MAX or not 0 < item.quantity <= QUANTITY_MAX
            for item in event.items
        )
        or len(event.user_id or "") > SHOPPER_ID_CHARS_MAX
        or len(event.anonymous_id or "") > SHOPPER_ID_CHARS_MAX
        or len(event.order_id or "") > SHOPPER_ID_CHARS_MAX
    )


def _reject_raw(raw: bytes, position: RecordPosition, now_ms: int, limits: Limits) -> DeadLetter:
    at_ms = 0
    try:
        violations, fields = _explain_rejection(raw, now_ms, limits)
        at_ms = event_time_or_zero(fields, now_ms)
    except Exception as error:
        violations = [record_processing_error(error)]
    return dead_letter(raw, violations, position, at_ms=at_ms)


def record_processing_error(error: Exception) -> Violation:
    """Log and count an exception that reading a record raised; the violation for its dead letter."""
    _processing_errors.record(type(error).__name__)
    return _processing_error(f"{type(error).__name__}: {error}"[:300])


def _processing_error(message: str) -> Violation:
    return ("processing_error", "$", message)


def _explain_rejection(
    raw: bytes, now_ms: int, limits: Limits
) -> tuple[list[Violation], dict[str, Any]]:
    """The violations of a record that `decode_fast` refused, and its fields if it has any."""
    if len(raw) > limits.event_bytes_max:
        message = f"{len(raw)} bytes or more; at most {limits.event_bytes_max}"
        return [("too_large", "$", message)], {}
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        return [("not_json", "$", f"not UTF-8 at byte {error.start}")], {}
    if (violation := nesting_violation(raw)) is not None:
        return [violation], {}
    try:
        fields = json.loads(text)
    except ValueError as error:
        return [("not_json", "$", str(error))], {}
    if not isinstance(fields, dict):
        return [("schema_violation", "$", "expected an object")], {}
    violations = find_violations(fields, now_ms)
    try:
        props = bytes(_decode(raw).props)
        if len(props) > PROPS_BYTES_MAX:
            message = f"{len(props)} bytes; at most {PROPS_BYTES_MAX}"
            violations.insert(0, ("too_large", "$.props", message))
    except msgspec.ValidationError:
        pass
    except msgspec.DecodeError as error:
        violations = violations or [("not_json", "$", str(error))]
    return violations or [_processing_error("no rule explains the rejection")], fields
