"""What is wrong with a refused event, in words for a person: the rules of `operators.events.validation`
again."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from operators.events.validation import (
    CLOCK_SKEW_MS,
    EARLIEST_MS,
    FUTURE_MS,
    NEEDS_ITEMS,
    ORDERS,
    usable_id,
)
from state.dead_letters import FailureType
from state.events import EVENT_TYPES, MONEY_MAX, Event

if TYPE_CHECKING:
    from collections.abc import Iterator

Finding = tuple[FailureType, str, str]
"""Failure type, path, message."""

_MSGSPEC_PATH = re.compile(r"^(.*) - at `(.*)`$", re.DOTALL)


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


def known_time_ms(fields: dict[str, Any], now_ms: int) -> int:
    """The event time if it is a good one, else 0."""
    sent = fields.get("event_ts")
    return sent if type(sent) is int and _time_fault(sent, now_ms) is None else 0


def _kind(value: object) -> str:
    names = {str: "text", bool: "a boolean", float: "a decimal", type(None): "null"}
    return names.get(type(value), type(value).__name__)
