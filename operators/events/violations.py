"""Explains why an event is refused: the rules of `events.validation` again, each with a message."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from operators.events.validation import (
    CLOCK_SKEW_MS,
    EARLIEST_MS,
    FUTURE_MS,
    ORDER_TYPES,
    TYPES_WITH_ITEMS,
    normalize_id,
)
from state.dead_letters import FailureType
from state.events import EVENT_TYPES, MONEY_MAX, Event

if TYPE_CHECKING:
    from collections.abc import Iterator

Violation = tuple[FailureType, str, str]
"""Failure type, path, message."""

_MSGSPEC_PATH = re.compile(r"^(.*) - at `(.*)`$", re.DOTALL)


def find_violations(fields: dict[str, Any], now_ms: int) -> list[Violation]:
    """The rules that an event breaks, given as plain values; the gravest first."""
    violations = [
        *_type_violations(fields),
        *_identity_violations(fields),
        *_time_violations(fields, now_ms),
        *_money_violations(fields),
        *_order_violations(fields),
        *_item_violations(fields),
    ]
    schema_violation = _schema_violation(fields)
    if schema_violation is not None and not any(
        path == schema_violation[1] for _, path, _ in violations
    ):
        violations.append(schema_violation)
    return violations


def _type_violations(fields: dict[str, Any]) -> Iterator[Violation]:
    event_type = fields.get("type")
    if isinstance(event_type, str) and event_type not in EVENT_TYPES:
        yield ("unknown_type", "$.type", f"unknown event type {event_type[:100]!r}")


def _identity_violations(fields: dict[str, Any]) -> Iterator[Violation]:
    event_id = fields.get("event_id")
    if isinstance(event_id, str) and not event_id.strip():
        yield ("schema_violation", "$.event_id", "blank")
    ids = {
        name: fields[name] for name in ("user_id", "anonymous_id") if fields.get(name) is not None
    }
    if not ids:
        yield ("no_identity", "$", "neither user_id nor anonymous_id")
    elif all(isinstance(value, str) and normalize_id(value) is None for value in ids.values()):
        for name, value in ids.items():
            yield ("blocked_id", f"$.{name}", f"{value[:100]!r} identifies no shopper")


def _time_violations(fields: dict[str, Any], now_ms: int) -> Iterator[Violation]:
    sent, received = fields.get("event_ts"), fields.get("received_ts", 0)
    received_error = _time_error(received, now_ms) if received != 0 or received is False else None
    if received_error is not None:
        yield ("bad_timestamp", "$.received_ts", received_error)
    elif received and type(sent) is int:
        sent = min(sent, received + CLOCK_SKEW_MS)
    if "event_ts" in fields:
        sent_error = _time_error(sent, now_ms)
        if sent_error is not None:
            yield ("bad_timestamp", "$.event_ts", sent_error)


def _time_error(value: object, now_ms: int) -> str | None:
    if type(value) is not int:
        return f"expected whole milliseconds since 1970, got {_json_type(value)}"
    if value < EARLIEST_MS:
        return "before 2000; milliseconds since 1970 are expected"
    if value > now_ms + FUTURE_MS:
        return "more than 24 h ahead of the clock"
    return None


def _money_violations(fields: dict[str, Any]) -> Iterator[Violation]:
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
            yield ("bad_money", path, f"expected a number, got {_json_type(amount)}")
        elif not 0 <= amount <= MONEY_MAX:
            yield ("bad_money", path, f"{amount!r:.40} is not between 0 and {MONEY_MAX:.0f}")


def _order_violations(fields: dict[str, Any]) -> Iterator[Violation]:
    order_id, event_type = fields.get("order_id"), fields.get("type")
    if (
        isinstance(event_type, str)
        and event_type in ORDER_TYPES
        and (order_id is None or (isinstance(order_id, str) and not order_id.strip()))
    ):
        yield ("empty_order_id", "$.order_id", f"a {event_type} needs an order_id")


def _item_violations(fields: dict[str, Any]) -> Iterator[Violation]:
    items, event_type = fields.get("items") or (), fields.get("type")
    if not items and isinstance(event_type, str) and event_type in TYPES_WITH_ITEMS:
        yield ("schema_violation", "$.items", f"a {event_type} needs at least one item")
    for n, item in enumerate(items if isinstance(items, list | tuple) else ()):
        item_id = item.get("item_id") if isinstance(item, dict) else None
        if isinstance(item_id, str) and not item_id.strip():
            yield ("schema_violation", f"$.items[{n}].item_id", "blank")


def _schema_violation(fields: dict[str, Any]) -> Violation | None:
    """The first wrong type or length that msgspec finds."""
    try:
        msgspec.convert({k: v for k, v in fields.items() if k != "props"}, Event)
    except msgspec.ValidationError as error:
        match = _MSGSPEC_PATH.match(str(error))
        message, path = match.groups() if match else (str(error), "$")
        return ("schema_violation", path, message)
    return None


def event_time_or_zero(fields: dict[str, Any], now_ms: int) -> int:
    """The event time if it is valid, else 0."""
    sent = fields.get("event_ts")
    return sent if type(sent) is int and _time_error(sent, now_ms) is None else 0


def _json_type(value: object) -> str:
    names = {str: "text", bool: "a boolean", float: "a decimal", type(None): "null"}
    return names.get(type(value), type(value).__name__)
