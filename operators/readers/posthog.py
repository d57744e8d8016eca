"""PostHog's capture, which shares the e-commerce names of the Segment spec but not its envelope."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from operators.readers.common_fields import Times, campaign, custom_props, page, who
from operators.readers.ecommerce import of_shop, type_of
from operators.readers.fields import BadFieldError, Fields, checked_ms, lower, upper
from state.events import NO_PROPS, Event, EventType

if TYPE_CHECKING:
    from operators.readers.common_fields import Told

CALLS: dict[str, EventType] = {
    "$pageview": "page_view",
    "$screen": "page_view",
    "$identify": "identify",
    "$create_alias": "identify",
    "$merge_dangerously": "identify",
}
_ALIASES = frozenset({"$create_alias", "$merge_dangerously"})
_GENERATED = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE
)
"""What an id looks like that a library made up."""


def is_capture(fields: Fields) -> bool:
    """Whether a record is PostHog's: nobody else has a `distinct_id`."""
    properties = fields.values.get("properties")
    return "distinct_id" in fields.values or (
        isinstance(properties, dict) and "distinct_id" in properties
    )


def event(fields: Fields, told: Told) -> Event:
    """One captured event."""
    properties = fields.inner("properties")
    name = fields.text("event")
    if name is None:
        raise BadFieldError("schema_violation", "$.event", "a capture needs the event's name")
    kind = CALLS.get(name.lower()) or type_of(name, properties)
    anonymous_id, user_id = _who(name.lower(), fields, properties)
    return Event(
        event_id=told.id_of(fields, "uuid", "messageId"),
        type=kind,
        event_ts=_event_ms(fields, told),
        anonymous_id=anonymous_id,
        user_id=user_id,
        **of_shop(kind, properties),
        page=page(
            properties,
            url="$current_url",
            path="$pathname",
            referrer="$referrer",
            title=("title", "$screen_name"),
        ),
        campaign=campaign(properties, prefix="utm_", name="utm_campaign"),
        device=lower(properties.text("$device_type")),
        country=upper(properties.text("$geoip_country_code")),
        props=custom_props(name) if kind == "custom" else NO_PROPS,
    )


def _who(name: str, fields: Fields, properties: Fields) -> tuple[str | None, str | None]:
    """`distinct_id` is a user unless the event says that it is a device's.

    The browser's library says so: an anonymous `distinct_id` is the `$device_id`.
    """
    outer = fields if fields.has("distinct_id") else properties
    own = (outer, "distinct_id")
    if name == "$identify":
        return who([(properties, "$anon_distinct_id")], [own])
    if name in _ALIASES:
        other = (properties, "alias")
        return who([own], [other]) if _is_device(outer, properties) else who([other], [own])
    is_anonymous = _is_anonymous(properties) or outer.identifier(
        "distinct_id"
    ) == properties.identifier("$device_id")
    if is_anonymous:
        return who([own], [(properties, "$user_id")])
    return who([(properties, "$device_id")], [(properties, "$user_id"), own])


def _is_anonymous(properties: Fields) -> bool:
    """Whether the browser's library says that nobody has identified."""
    return (
        properties.flag("$is_identified") is False
        or properties.flag("$process_person_profile") is False
    )


def _is_device(outer: Fields, properties: Fields) -> bool:
    """Whether of the two ids that an alias makes one, `distinct_id` is the device.

    Servers send the user's as that, and the device's as `alias`; a browser sends its own, and with it
    whether that is the device's. Else it is the one that a library made up, if the other is not.
    """
    own, other = outer.identifier("distinct_id"), properties.identifier("alias")
    device = properties.identifier("$device_id")
    if device in (own, other):
        return device == own
    if _is_anonymous(properties):
        return True
    generated = [_GENERATED.fullmatch(one or "") is not None for one in (own, other)]
    return generated == [True, False] and properties.flag("$is_identified") is not True


def _event_ms(fields: Fields, told: Told) -> int:
    """`timestamp`, else `offset` ms before `sent_at`, else when it was received."""
    times = Times(fields, told.now_ms)
    at_ms = times.checked("timestamp", times.read("timestamp"))
    if at_ms is None:
        sent_ms = times.checked("sent_at", times.read("sent_at"))
        if sent_ms is None:
            sent_ms = times.when_received(told.received_ms, "timestamp")
        offset = fields.values.get("offset")
        at_ms = sent_ms - (offset if type(offset) is int else 0)
    return checked_ms(at_ms, fields.at("timestamp"), told.now_ms)
