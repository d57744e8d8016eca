"""Captures of PostHog: they have the e-commerce names of the Segment spec, but fields of their own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from operators.readers.common_fields import custom_props, read_campaign, read_page
from operators.readers.ecommerce import read_shop_fields, track_type
from operators.readers.event_times import TimeReader
from operators.readers.identity import read_identity
from operators.readers.values import BadFieldError, check_time_ms, lower, upper
from state.events import NO_PROPS, Event, EventType

if TYPE_CHECKING:
    from operators.readers.common_fields import AdapterContext
    from operators.readers.fields import Fields

SYSTEM_EVENTS: dict[str, EventType] = {
    "$pageview": "page_view",
    "$screen": "page_view",
    "$identify": "identify",
    "$create_alias": "identify",
    "$merge_dangerously": "identify",
}
_ALIASES = frozenset({"$create_alias", "$merge_dangerously"})
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
"""The form of an id that a library generated."""


def is_capture(fields: Fields) -> bool:
    """Whether a record is a capture of PostHog: no other sender has a `distinct_id`."""
    properties = fields.values.get("properties")
    return "distinct_id" in fields.values or (
        isinstance(properties, dict) and "distinct_id" in properties
    )


def to_event(fields: Fields, context: AdapterContext) -> Event:
    """One captured event."""
    properties = fields.child("properties")
    name = fields.text("event")
    if name is None:
        raise BadFieldError("schema_violation", "$.event", "a capture needs the event's name")
    event_type = SYSTEM_EVENTS.get(name.lower()) or track_type(name, properties)
    anonymous_id, user_id = _identity(name.lower(), fields, properties)
    return Event(
        event_id=context.event_id_from(fields, "uuid", "messageId"),
        type=event_type,
        event_ts=_event_ms(fields, context),
        anonymous_id=anonymous_id,
        user_id=user_id,
        **read_shop_fields(event_type, properties),
        page=read_page(
            properties,
            url="$current_url",
            path="$pathname",
            referrer="$referrer",
            title=("title", "$screen_name"),
        ),
        campaign=read_campaign(properties, prefix="utm_", name="utm_campaign"),
        device=lower(properties.text("$device_type")),
        country=upper(properties.text("$geoip_country_code")),
        props=custom_props(name) if event_type == "custom" else NO_PROPS,
    )


def _identity(name: str, fields: Fields, properties: Fields) -> tuple[str | None, str | None]:
    """`distinct_id` is a user, unless the event says that it is a device.

    The library in the browser says so: an anonymous `distinct_id` equals the `$device_id`.
    """
    holder = fields if fields.has("distinct_id") else properties
    distinct_id = (holder, "distinct_id")
    if name == "$identify":
        return read_identity([(properties, "$anon_distinct_id")], [distinct_id])
    if name in _ALIASES:
        alias = (properties, "alias")
        return (
            read_identity([distinct_id], [alias])
            if _is_device_alias(holder, properties)
            else read_identity([alias], [distinct_id])
        )
    is_anonymous = _says_anonymous(properties) or holder.identifier(
        "distinct_id"
    ) == properties.identifier("$device_id")
    if is_anonymous:
        return read_identity([distinct_id], [(properties, "$user_id")])
    return read_identity([(properties, "$device_id")], [(properties, "$user_id"), distinct_id])


def _says_anonymous(properties: Fields) -> bool:
    """Whether the library in the browser says that the shopper has not signed in."""
    return (
        properties.flag("$is_identified") is False
        or properties.flag("$process_person_profile") is False
    )


def _is_device_alias(holder: Fields, properties: Fields) -> bool:
    """Whether `distinct_id` is the device, of the two ids that an alias joins.

    Servers send the user as `distinct_id` and the device as `alias`. A browser sends its own id,
    and says whether that is the device. Where nothing says so, the device is the id that a library
    generated, if only one is.
    """
    distinct_id, alias = holder.identifier("distinct_id"), properties.identifier("alias")
    device = properties.identifier("$device_id")
    if device in (distinct_id, alias):
        return device == distinct_id
    if _says_anonymous(properties):
        return True
    generated = [
        _UUID.fullmatch(identifier or "") is not None for identifier in (distinct_id, alias)
    ]
    return generated == [True, False] and properties.flag("$is_identified") is not True


def _event_ms(fields: Fields, context: AdapterContext) -> int:
    """`timestamp`, else `offset` ms before `sent_at`, else when it was received."""
    times = TimeReader(fields, context.now_ms)
    at_ms = times.check("timestamp", times.read("timestamp"))
    if at_ms is None:
        sent_ms = times.check("sent_at", times.read("sent_at"))
        if sent_ms is None:
            sent_ms = times.received_or_raise(context.received_ms, "timestamp")
        offset = fields.values.get("offset")
        at_ms = sent_ms - (offset if type(offset) is int else 0)
    return check_time_ms(at_ms, fields.path_of("timestamp"), context.now_ms)
