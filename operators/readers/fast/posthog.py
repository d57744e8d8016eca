"""Usual captures of PostHog, see `operators.readers.posthog`."""

from __future__ import annotations

import msgspec

from operators.readers.common_fields import custom_props
from operators.readers.fast.shop import (
    NOT_GIVEN,
    Given,
    ShopProperties,
    shop_fields,
    track_type,
)
from operators.readers.fast.values import (
    UnusualRecordError,
    campaign,
    checked_time_ms,
    event_id,
    first_text,
    lower_text,
    page,
    person_id,
    text,
    time_ms,
    upper_text,
)
from operators.readers.posthog import SYSTEM_EVENTS
from state.events import NO_PROPS, Event


class CaptureProperties(ShopProperties, gc=False):
    """The properties of a capture."""

    distinct_id: str | None = None
    device_id: str | None = msgspec.field(default=None, name="$device_id")
    user_id: str | None = msgspec.field(default=None, name="$user_id")
    is_identified: bool | None = msgspec.field(default=None, name="$is_identified")
    has_person: bool | None = msgspec.field(default=None, name="$process_person_profile")
    current_url: str | None = msgspec.field(default=None, name="$current_url")
    path: str | None = msgspec.field(default=None, name="$pathname")
    referrer: str | None = msgspec.field(default=None, name="$referrer")
    screen_name: str | None = msgspec.field(default=None, name="$screen_name")
    device_type: str | None = msgspec.field(default=None, name="$device_type")
    country: str | None = msgspec.field(default=None, name="$geoip_country_code")
    utm_source: str | None = None
    utm_medium: str | None = None
    utm_campaign: str | None = None
    utm_term: str | None = None
    utm_content: str | None = None


class Capture(msgspec.Struct, gc=False):
    """A capture."""

    event: str
    timestamp: str
    uuid: str | None = None
    message_id: str | None = msgspec.field(default=None, name="messageId")
    distinct_id: str | None = None
    properties: CaptureProperties | None = None
    batch: Given = NOT_GIVEN


_decode = msgspec.json.Decoder(Capture).decode
_NO_PROPERTIES = CaptureProperties()


def read(raw: bytes, now_ms: int, received_ms: int) -> list[Event]:
    """The event of a record."""
    capture = _decode(raw)
    properties = capture.properties or _NO_PROPERTIES
    name = text(capture.event)
    if name is None or capture.batch is not NOT_GIVEN:
        raise UnusualRecordError
    event_type = SYSTEM_EVENTS.get(name.lower()) or track_type(name, properties)
    if event_type == "identify":  # which of its ids is the device is a longer story
        raise UnusualRecordError
    anonymous_id, user_id = _identity(capture, properties)
    event_ts = checked_time_ms(time_ms(capture.timestamp), now_ms)
    if event_ts is None:
        raise UnusualRecordError
    is_custom = event_type == "custom"
    event = Event(
        event_id=event_id(capture.uuid, capture.message_id),
        type=event_type,
        event_ts=event_ts,
        anonymous_id=anonymous_id,
        user_id=user_id,
        **({} if is_custom else shop_fields(event_type, properties)),
        page=page(
            text(properties.current_url),
            text(properties.path),
            text(properties.referrer),
            first_text(properties.title, properties.screen_name),
        ),
        campaign=campaign(
            properties.utm_source,
            properties.utm_medium,
            properties.utm_campaign,
            properties.utm_term,
            properties.utm_content,
        ),
        device=lower_text(properties.device_type),
        country=upper_text(properties.country),
        props=custom_props(name) if is_custom else NO_PROPS,
    )
    return [event]


def _identity(capture: Capture, properties: CaptureProperties) -> tuple[str | None, str | None]:
    """The ids of the device and of the user, of an event that is no identification."""
    distinct_id = person_id(capture.distinct_id or properties.distinct_id)
    device_id, user_id = person_id(properties.device_id), person_id(properties.user_id)
    if distinct_id is None:
        raise UnusualRecordError
    says_anonymous = properties.is_identified is False or properties.has_person is False
    if says_anonymous or distinct_id == device_id:
        return distinct_id, user_id
    return device_id, user_id or distinct_id
