"""`penstock`: the canonical event, read field by field where it is not as it should be.

A record that keeps all rules never comes here (`operators.events.decode.good`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from operators.events.validation import CLOCK_SKEW_MS, ORDERS
from operators.readers.common_fields import Times, who
from operators.readers.fields import BadFieldError, Fields
from operators.readers.line_items import Lines, Names, read_lines
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
    from operators.readers.common_fields import Told
    from state.events import EventType

_LINE = Names(ids=("item_id",))


def split(record: dict[str, Any]) -> list[Any]:
    """A record is one event."""
    return [record]


def event(fields: Fields, told: Told) -> Event:
    """One event of the canonical schema; of what is wrong it can do without all but the rules' own."""
    kind = _kind(fields)
    anonymous_id, user_id = who([(fields, "anonymous_id")], [(fields, "user_id")])
    event_ts, received_ts = _times(fields, told)
    order_id = fields.order_id("order_id", needed=kind in ORDERS)
    lines = read_lines(
        kind, fields.many("items"), _LINE, "$.items", lambda item: item.flag("available")
    )
    return Event(
        event_id=_event_id(fields),
        type=kind,
        event_ts=event_ts,
        received_ts=received_ts,
        anonymous_id=anonymous_id,
        user_id=user_id,
        items=lines.items,
        order_id=order_id,
        value=_value(kind, fields, lines),
        currency=fields.text("currency"),
        query=fields.text("query"),
        list_id=fields.text("list_id"),
        cart_id=fields.text("cart_id"),
        page=_page(fields.inner("page")),
        campaign=_campaign(fields.inner("campaign")),
        device=fields.text("device"),
        country=fields.text("country"),
        consent=_consent(fields.inner("consent")),
        reco=_reco(fields.inner("reco")),
        props=_props(fields),
    )


def _kind(fields: Fields) -> EventType:
    kind = fields.values.get("type")
    if not isinstance(kind, str):
        raise BadFieldError("schema_violation", "$.type", "an event names its type")
    if kind not in EVENT_TYPES:
        raise BadFieldError("unknown_type", "$.type", f"unknown event type {kind[:100]!r}")
    return kind  # type: ignore[return-value]


def _event_id(fields: Fields) -> str:
    found = fields.identifier("event_id")
    if found is None:
        raise BadFieldError("schema_violation", "$.event_id", "an event needs an id")
    if len(found) > EVENT_ID_CHARS_MAX:
        message = f"{len(found)} characters; at most {EVENT_ID_CHARS_MAX}"
        raise BadFieldError("schema_violation", "$.event_id", message)
    return found


def _times(fields: Fields, told: Told) -> tuple[int, int]:
    """When it happened, and when it was received (0: not told); one may stand for the other."""
    times = Times(fields, told.now_ms)
    received_ms = times.checked("received_ts", times.read("received_ts"))
    happened_ms = times.read("event_ts")
    if happened_ms is not None and received_ms is not None:
        happened_ms = min(happened_ms, received_ms + CLOCK_SKEW_MS)
    happened_ms = times.checked("event_ts", happened_ms)
    if happened_ms is None:
        happened_ms = times.when_received(received_ms or told.received_ms, "event_ts")
    return happened_ms, received_ms or 0


def _value(kind: EventType, fields: Fields, lines: Lines) -> float | None:
    if kind in ORDERS:
        is_refund = kind == "refund"
        return lines.order_value(fields.worth("value", is_refund=is_refund), is_refund=is_refund)
    try:
        found = fields.number("value")
        return None if found is None else fields.worth("value")
    except BadFieldError:
        fields.leave_out("value")
        return None


def _page(page: Fields) -> Page | None:
    found = Page(*(page.text(name) for name in Page.__struct_fields__))
    return None if found == Page() else found


def _campaign(campaign: Fields) -> Campaign | None:
    found = Campaign(*(campaign.text(name) for name in Campaign.__struct_fields__))
    return None if found == Campaign() else found


def _consent(consent: Fields) -> Consent | None:
    found = Consent(*(consent.flag(name) for name in Consent.__struct_fields__))
    return None if found == Consent() else found


def _reco(reco: Fields) -> Reco | None:
    if not reco.values:
        return None
    return Reco(
        slot=reco.text("slot"),
        model=reco.text("model"),
        position=reco.position("position"),
        experiment=reco.text("experiment"),
        variant=reco.text("variant"),
        propensity=_chance(reco),
    )


def _chance(reco: Fields) -> float | None:
    try:
        found = reco.number("propensity")
    except BadFieldError:
        found = -1.0
    if found is None or 0 < found <= 1:
        return found
    reco.leave_out("propensity")
    return None


def _props(fields: Fields) -> msgspec.Raw:
    if "props" not in fields.values:
        return NO_PROPS
    props = msgspec.Raw(msgspec.json.encode(fields.values["props"]))
    if len(bytes(props)) > PROPS_BYTES_MAX:
        fields.leave_out("props")
        return NO_PROPS
    return props
