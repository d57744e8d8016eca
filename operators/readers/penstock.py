"""`penstock`: the canonical event, read field by field where a record breaks a rule.

A record that breaks none never comes here (`operators.events.decode.decode_fast`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec.structs import replace

from operators.events.validation import CLOCK_SKEW_MS, ORDER_TYPES
from operators.readers.common_fields import read_reco
from operators.readers.event_times import TimeReader
from operators.readers.identity import read_identity
from operators.readers.line_items import LineFieldNames, LineItems, read_line_items
from operators.readers.values import BadFieldError
from state.events import (
    EVENT_ID_CHARS_MAX,
    EVENT_TYPES,
    NO_PROPS,
    PROPS_BYTES_MAX,
    Campaign,
    Consent,
    Event,
    Page,
    Reco,
)

if TYPE_CHECKING:
    from operators.readers.common_fields import AdapterContext
    from operators.readers.fields import Fields
    from state.events import EventType

_Part = TypeVar("_Part", Page, Campaign)

_LINE_FIELDS = LineFieldNames(ids=("item_id",))


def split(record: dict[str, Any]) -> list[Any]:
    """A record is one event."""
    return [record]


def to_event(fields: Fields, context: AdapterContext) -> Event:
    """One event of the canonical schema, without the values that cannot be read."""
    event_type = _event_type(fields)
    anonymous_id, user_id = read_identity([(fields, "anonymous_id")], [(fields, "user_id")])
    event_ts, received_ts = _event_times(fields, context)
    order_id = fields.order_id("order_id", needed=event_type in ORDER_TYPES)
    lines = read_line_items(
        event_type,
        fields.children("items"),
        _LINE_FIELDS,
        "$.items",
        lambda item: item.flag("available"),
    )
    return Event(
        event_id=_event_id(fields),
        type=event_type,
        event_ts=event_ts,
        received_ts=received_ts,
        anonymous_id=anonymous_id,
        user_id=user_id,
        items=lines.items,
        order_id=order_id,
        value=_order_value(event_type, fields, lines),
        currency=fields.text("currency"),
        query=fields.text("query"),
        list_id=fields.text("list_id"),
        cart_id=fields.text("cart_id"),
        page=_texts(Page, fields.child("page")),
        campaign=_texts(Campaign, fields.child("campaign")),
        device=fields.text("device"),
        country=fields.text("country"),
        consent=_consent(fields.child("consent")),
        reco=_reco(fields.child("reco")),
        props=_props(fields),
    )


def _event_type(fields: Fields) -> EventType:
    event_type = fields.values.get("type")
    if not isinstance(event_type, str):
        raise BadFieldError("schema_violation", "$.type", "an event names its type")
    if event_type not in EVENT_TYPES:
        raise BadFieldError("unknown_type", "$.type", f"unknown event type {event_type[:100]!r}")
    return event_type  # type: ignore[return-value]


def _event_id(fields: Fields) -> str:
    event_id = fields.identifier("event_id")
    if event_id is None:
        raise BadFieldError("schema_violation", "$.event_id", "an event needs an id")
    if len(event_id) > EVENT_ID_CHARS_MAX:
        message = f"{len(event_id)} characters; at most {EVENT_ID_CHARS_MAX}"
        raise BadFieldError("schema_violation", "$.event_id", message)
    return event_id


def _event_times(fields: Fields, context: AdapterContext) -> tuple[int, int]:
    """When an event happened and when it was received (0: unknown); one may stand for the other."""
    times = TimeReader(fields, context.now_ms)
    received_ms = times.check("received_ts", times.read("received_ts"))
    happened_ms = times.read("event_ts")
    if happened_ms is not None and received_ms is not None:
        happened_ms = min(happened_ms, received_ms + CLOCK_SKEW_MS)
    happened_ms = times.check("event_ts", happened_ms)
    if happened_ms is None:
        happened_ms = times.received_or_raise(received_ms or context.received_ms, "event_ts")
    return happened_ms, received_ms or 0


def _order_value(event_type: EventType, fields: Fields, lines: LineItems) -> float | None:
    if event_type in ORDER_TYPES:
        is_refund = event_type == "refund"
        return lines.order_value(fields.amount("value", is_refund=is_refund), is_refund=is_refund)
    try:
        value = fields.number("value")
        return None if value is None else fields.amount("value")
    except BadFieldError:
        fields.note_unreadable("value")
        return None


def _texts(part: type[_Part], fields: Fields) -> _Part | None:
    """A part of an event that has texts only; None where all are missing."""
    texts = part(*(fields.text(name) for name in part.__struct_fields__))
    return None if texts == part() else texts


def _consent(fields: Fields) -> Consent | None:
    consent = Consent(*(fields.flag(name) for name in Consent.__struct_fields__))
    return None if consent == Consent() else consent


def _reco(fields: Fields) -> Reco | None:
    reco = read_reco(fields)
    return None if reco is None else replace(reco, propensity=_propensity(fields))


def _propensity(reco: Fields) -> float | None:
    try:
        propensity = reco.number("propensity")
    except BadFieldError:
        propensity = -1.0
    if propensity is None or 0 < propensity <= 1:
        return propensity
    reco.note_unreadable("propensity")
    return None


def _props(fields: Fields) -> msgspec.Raw:
    if "props" not in fields.values:
        return NO_PROPS
    props = msgspec.Raw(msgspec.json.encode(fields.values["props"]))
    if len(bytes(props)) > PROPS_BYTES_MAX:
        fields.note_unreadable("props")
        return NO_PROPS
    return props
