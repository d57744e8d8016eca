"""Bytes to events: one JSON record in, an `Event` or a `DeadLetter` out, never an exception.

The rules of the public event schema stand here twice: `settle` says yes or no on the hot path,
`find_faults` says why not, in words, and runs for rejected records only. A property test holds them
to each other. Readers of other formats use the same rules through `admit`.
"""

from __future__ import annotations

import json
import re
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import force_setattr

from state.deadletters import DeadLetter, FailureType, Fault, raw_text
from state.events import (
    EVENT_BYTES_MAX,
    EVENT_TYPES,
    MONEY_MAX,
    PROPS_BYTES_MAX,
    SHOPPER_ID_CHARS_MAX,
    Event,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CLOCK_SKEW_MS = 5 * 60 * 1000
"""An event may claim to be this much later than the collector saw it."""
FUTURE_MS = 24 * 3600 * 1000
"""A time further ahead of the clock than this is a fault of the sender."""
EARLIEST_MS = 946_684_800_000
"""2000-01-01: what is before it is a time at 0, or seconds sent for milliseconds."""
NESTING_MAX = 99

BLOCKED_IDS = frozenset(
    [
        "-1",
        "anonymous",
        "distinct_id",
        "distinctid",
        "email",
        "false",
        "guest",
        "id",
        "nan",
        "nil",
        "none",
        "not_authenticated",
        "null",
        "true",
        "undefined",
        "unknown",
    ]
) | {"[object object]"}
"""Values that stand for nobody (trimmed, any case): Segment's and PostHog's lists, and ours.

Besides these every id of only zeros and dashes, and the empty one, is blocked.
"""

NEEDS_ITEMS = frozenset({"item_view", "cart_add", "cart_remove", "wishlist_add", "item"})
"""A list or an order may come without its items; these say nothing without one."""
ORDERS = frozenset({"purchase", "refund"})

_decode = msgspec.json.Decoder(Event).decode
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
_MSGSPEC_PATH = re.compile(r"^(.*) - at `(.*)`$", re.DOTALL)


def decode(
    raw: bytes, *, source: str, partition: str, offset: int, now_ms: int
) -> Event | DeadLetter:
    """One canonical JSON record. `now_ms` is the arrival time that "too far ahead" is held against.

    >>> line = b'{"event_id":"1","type":"page_view","event_ts":1600000000000,"user_id":"ann"}'
    >>> decode(line, source="s", partition="0", offset=0, now_ms=1600000000000).user_id
    'ann'
    """
    event = _good(raw, now_ms)
    if event is not None:
        return event
    return _reject(raw, source=source, partition=partition, offset=offset, now_ms=now_ms)


def decode_lines(
    lines: Iterable[bytes], *, source: str, partition: str, first_offset: int, now_ms: int
) -> Iterator[Event | DeadLetter]:
    """`decode` for many records with consecutive offsets; one result a record, in order."""
    for offset, raw in enumerate(lines, first_offset):
        event = _good(raw, now_ms)
        if event is not None:
            yield event
        else:
            yield _reject(raw, source=source, partition=partition, offset=offset, now_ms=now_ms)


def stable_event_id(source: str, *fields: str | bytes) -> str:
    """An id for an event whose source has none: the same fields always give the same id.

    >>> stable_event_id("shop", "12", "view")
    '04106f4be9535032ee8ec7a729abea3b'
    """
    digest = blake2b(source.encode(), digest_size=16)
    for field in fields:
        data = field.encode() if isinstance(field, str) else field
        digest.update(b"\0%d:" % len(data))
        digest.update(data)
    return digest.hexdigest()


def usable_id(text: str) -> str | None:
    """The trimmed id, or None where it stands for nobody.

    >>> usable_id(" ann "), usable_id("NULL"), usable_id("00-00")
    ('ann', None, None)
    """
    trimmed = text.strip()
    if not trimmed.strip("0-") or trimmed.lower() in BLOCKED_IDS:
        return None
    return trimmed


def settle(event: Event, now_ms: int) -> bool:
    """Trim ids, fill `received_ts` and clamp `event_ts`, in place; False where a rule is broken.

    In place because the event was made a moment ago and nobody else holds it. A blocked id beside a
    good one is dropped: the event still tells who it was.
    """
    return (
        _settle_ids(event)
        and _settle_times(event, now_ms)
        and _settle_items(event)
        and _settle_order(event)
    )


def _settle_ids(event: Event) -> bool:
    event_id, user, anonymous = event.event_id, event.user_id, event.anonymous_id
    trimmed = event_id.strip()
    if trimmed is not event_id:
        force_setattr(event, "event_id", trimmed)
    if user is not None:
        given, user = user, usable_id(user)
        if user is not given:
            force_setattr(event, "user_id", user)
    if anonymous is not None:
        given, anonymous = anonymous, usable_id(anonymous)
        if anonymous is not given:
            force_setattr(event, "anonymous_id", anonymous)
    return trimmed != "" and (user is not None or anonymous is not None)


def _settle_times(event: Event, now_ms: int) -> bool:
    sent, received, latest = event.event_ts, event.received_ts, now_ms + FUTURE_MS
    if received == 0:
        force_setattr(event, "received_ts", sent)
    elif not EARLIEST_MS <= received <= latest:
        return False
    elif sent > received + CLOCK_SKEW_MS:
        sent = received + CLOCK_SKEW_MS
        force_setattr(event, "event_ts", sent)
    return EARLIEST_MS <= sent <= latest


def _settle_items(event: Event) -> bool:
    items = event.items
    for item in items:
        item_id, price = item.item_id, item.price
        trimmed = item_id.strip()
        if not trimmed or not (price is None or 0 <= price <= MONEY_MAX):
            return False
        if trimmed is not item_id:
            force_setattr(item, "item_id", trimmed)
    return items != () or event.type not in NEEDS_ITEMS


def _settle_order(event: Event) -> bool:
    order, value = event.order_id, event.value
    if order is not None:
        order = order.strip() or None
        force_setattr(event, "order_id", order)
    if order is None and event.type in ORDERS:
        return False
    return value is None or 0 <= value <= MONEY_MAX


def _good(raw: bytes, now_ms: int) -> Event | None:
    size = len(raw)
    if size > EVENT_BYTES_MAX:
        return None
    try:
        if not raw.isascii():
            raw.decode()
        event = _decode(raw)
        if size > 2 * NESTING_MAX and not _is_well_sized(raw, event):
            return None
        return event if settle(event, now_ms) else None
    except Exception:
        return None


def _is_well_sized(raw: bytes, event: Event) -> bool:
    if raw.count(b"{") + raw.count(b"[") > NESTING_MAX and _nesting(raw) > NESTING_MAX:
        return False
    return len(raw) <= PROPS_BYTES_MAX or len(bytes(event.props)) <= PROPS_BYTES_MAX


def _nesting(raw: bytes) -> int:
    """How deep objects and arrays go; brackets inside strings do not count."""
    depth = deepest = 0
    for byte in _STRING.sub(b"", raw):
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest


Finding = tuple[FailureType, str, str]
"""Failure type, path, message."""


def reject(
    raw: bytes, findings: list[Finding], *, source: str, partition: str, offset: int, at_ms: int = 0
) -> DeadLetter:
    """A dead letter of what was found; the first finding names the failure type."""
    text, is_base64 = raw_text(raw)
    return DeadLetter(
        failure_type=findings[0][0],
        errors=tuple(Fault(path, message) for _, path, message in findings),
        source=source,
        partition=partition,
        offset=offset,
        raw=text,
        base64=is_base64,
        at=at_ms,
    )


def admit(
    event: Event, raw: bytes, *, source: str, partition: str, offset: int, now_ms: int
) -> Event | DeadLetter:
    """An event that a reader built from `raw`, held to the same rules as a decoded one."""
    if not _is_too_long(event) and settle(event, now_ms):
        return event
    fields = msgspec.to_builtins(event)
    findings = find_faults(fields, now_ms) or [_unforeseen("no rule explains the rejection")]
    at_ms = _time_of(fields, now_ms)
    return reject(raw, findings, source=source, partition=partition, offset=offset, at_ms=at_ms)


def _is_too_long(event: Event) -> bool:
    """Lengths that decoding checks by itself, for events that were not decoded."""
    return (
        any(len(item.item_id) > SHOPPER_ID_CHARS_MAX for item in event.items)
        or len(event.user_id or "") > SHOPPER_ID_CHARS_MAX
        or len(event.anonymous_id or "") > SHOPPER_ID_CHARS_MAX
        or len(event.order_id or "") > SHOPPER_ID_CHARS_MAX
    )


def _reject(raw: bytes, *, source: str, partition: str, offset: int, now_ms: int) -> DeadLetter:
    at_ms = 0
    try:
        findings, fields = _explain(raw, now_ms)
        at_ms = _time_of(fields, now_ms)
    except Exception as error:
        findings = [_unforeseen(f"{type(error).__name__}: {error}")]
    return reject(raw, findings, source=source, partition=partition, offset=offset, at_ms=at_ms)


def _unforeseen(message: str) -> Finding:
    return ("processing_error", "$", message)


def _explain(raw: bytes, now_ms: int) -> tuple[list[Finding], dict[str, Any]]:
    """What is wrong with a record that `_good` refused, and its fields as far as it has any."""
    if len(raw) > EVENT_BYTES_MAX:
        message = f"{len(raw)} bytes or more; at most {EVENT_BYTES_MAX}"
        return [("too_large", "$", message)], {}
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        return [("not_json", "$", f"not UTF-8 at byte {error.start}")], {}
    if raw.count(b"{") + raw.count(b"[") > NESTING_MAX and _nesting(raw) > NESTING_MAX:
        return [("not_json", "$", f"nested more than {NESTING_MAX} levels deep")], {}
    try:
        fields = json.loads(text)
    except ValueError as error:
        return [("not_json", "$", str(error))], {}
    if not isinstance(fields, dict):
        return [("schema_violation", "$", "expected an object")], {}
    findings = find_faults(fields, now_ms)
    try:
        props = bytes(_decode(raw).props)
        if len(props) > PROPS_BYTES_MAX:
            message = f"{len(props)} bytes; at most {PROPS_BYTES_MAX}"
            findings.insert(0, ("too_large", "$.props", message))
    except msgspec.ValidationError:
        pass
    except msgspec.DecodeError as error:
        findings = findings or [("not_json", "$", str(error))]
    return findings or [_unforeseen("no rule explains the rejection")], fields


def find_faults(fields: dict[str, Any], now_ms: int) -> list[Finding]:
    """Every rule that an event, as plain values, breaks; the gravest first, none if it is good."""
    findings = [
        *_type_faults(fields),
        *_identity_faults(fields),
        *_time_faults(fields, now_ms),
        *_money_faults(fields),
        *_order_faults(fields),
        *_item_faults(fields),
    ]
    shape = _shape_fault(fields)
    if shape is not None and not any(path == shape[1] for _, path, _ in findings):
        findings.append(shape)
    return findings


def _type_faults(fields: dict[str, Any]) -> Iterator[Finding]:
    kind = fields.get("type")
    if isinstance(kind, str) and kind not in EVENT_TYPES:
        yield ("unknown_type", "$.type", f"unknown event type {kind[:100]!r}")


def _identity_faults(fields: dict[str, Any]) -> Iterator[Finding]:
    event_id = fields.get("event_id")
    if isinstance(event_id, str) and not event_id.strip():
        yield ("schema_violation", "$.event_id", "blank")
    given = {
        name: fields[name] for name in ("user_id", "anonymous_id") if fields.get(name) is not None
    }
    if not given:
        yield ("no_identity", "$", "neither user_id nor anonymous_id")
    elif all(isinstance(value, str) and usable_id(value) is None for value in given.values()):
        for name, value in given.items():
            yield ("blocked_id", f"$.{name}", f"{value[:100]!r} stands for nobody")


def _time_faults(fields: dict[str, Any], now_ms: int) -> Iterator[Finding]:
    sent, received = fields.get("event_ts"), fields.get("received_ts", 0)
    received_fault = _time_fault(received, now_ms) if received != 0 or received is False else None
    if received_fault is not None:
        yield ("bad_timestamp", "$.received_ts", received_fault)
    elif received and type(sent) is int:
        sent = min(sent, received + CLOCK_SKEW_MS)
    if "event_ts" in fields:
        sent_fault = _time_fault(sent, now_ms)
        if sent_fault is not None:
            yield ("bad_timestamp", "$.event_ts", sent_fault)


def _time_fault(value: object, now_ms: int) -> str | None:
    if type(value) is not int:
        return f"expected whole milliseconds since 1970, got {_kind(value)}"
    if value < EARLIEST_MS:
        return "before 2000; milliseconds since 1970 are expected"
    if value > now_ms + FUTURE_MS:
        return "more than 24 h ahead of the clock"
    return None


def _money_faults(fields: dict[str, Any]) -> Iterator[Finding]:
    items = fields.get("items")
    amounts = {"$.value": fields.get("value")} | {
        f"$.items[{n}].price": item.get("price")
        for n, item in enumerate(items if isinstance(items, list | tuple) else ())
        if isinstance(item, dict)
    }
    for path, amount in amounts.items():
        if amount is None:
            continue
        if type(amount) not in (int, float):
            yield ("bad_money", path, f"expected a number, got {_kind(amount)}")
        elif not 0 <= amount <= MONEY_MAX:
            yield ("bad_money", path, f"{amount!r:.40} is not between 0 and {MONEY_MAX:.0f}")


def _order_faults(fields: dict[str, Any]) -> Iterator[Finding]:
    order, kind = fields.get("order_id"), fields.get("type")
    if (
        isinstance(kind, str)
        and kind in ORDERS
        and (order is None or (isinstance(order, str) and not order.strip()))
    ):
        yield ("empty_order_id", "$.order_id", f"a {kind} needs an order_id")


def _item_faults(fields: dict[str, Any]) -> Iterator[Finding]:
    items, kind = fields.get("items") or (), fields.get("type")
    if not items and isinstance(kind, str) and kind in NEEDS_ITEMS:
        yield ("schema_violation", "$.items", f"a {kind} needs at least one item")
    for n, item in enumerate(items if isinstance(items, list | tuple) else ()):
        name = item.get("item_id") if isinstance(item, dict) else None
        if isinstance(name, str) and not name.strip():
            yield ("schema_violation", f"$.items[{n}].item_id", "blank")


def _shape_fault(fields: dict[str, Any]) -> Finding | None:
    """What msgspec says of the types and lengths; it names the first fault only."""
    try:
        msgspec.convert({k: v for k, v in fields.items() if k != "props"}, Event)
    except msgspec.ValidationError as error:
        found = _MSGSPEC_PATH.match(str(error))
        message, path = found.groups() if found else (str(error), "$")
        return ("schema_violation", path, message)
    return None


def _time_of(fields: dict[str, Any], now_ms: int) -> int:
    sent = fields.get("event_ts")
    return sent if type(sent) is int and _time_fault(sent, now_ms) is None else 0


def _kind(value: object) -> str:
    names = {str: "text", bool: "a boolean", float: "a decimal", type(None): "null"}
    return names.get(type(value), type(value).__name__)
