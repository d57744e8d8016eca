"""Usual calls of the Segment spec, see `operators.readers.segment`."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from operators.readers.common_fields import consent_purpose, custom_props
from operators.readers.fast import posthog
from operators.readers.fast.shop import (
    NOT_GIVEN,
    Given,
    ShopProperties,
    shop_fields,
    track_type,
)
from operators.readers.fast.values import (
    REMEMBERED_TEXTS,
    UnusualRecordError,
    campaign,
    event_id,
    event_times,
    first_text,
    lower_text,
    page,
    person_id,
    text,
    upper_text,
)
from operators.readers.segment import CALL_TYPES
from state.events import NO_PROPS, Campaign, Consent, Event, EventType, Page


class CallPage(msgspec.Struct, gc=False):
    """A page: of the context, of a page call, or of its properties."""

    url: str | None = None
    path: str | None = None
    referrer: str | None = None
    title: str | None = None
    name: str | None = None


class CallProperties(ShopProperties, gc=False):
    """The properties of a call."""

    path: str | None = None
    referrer: str | None = None
    distinct_id: Given = NOT_GIVEN


class CallCampaign(msgspec.Struct, gc=False):
    """A campaign of the context."""

    source: str | None = None
    medium: str | None = None
    name: str | None = None
    term: str | None = None
    content: str | None = None


class CallDevice(msgspec.Struct, gc=False):
    """A device of the context."""

    type: str | None = None


class CallPlace(msgspec.Struct, gc=False):
    """A place of the context."""

    country: str | None = None


class CallConsent(msgspec.Struct, gc=False, rename="camel"):
    """Consent of the context."""

    category_preferences: dict[str, bool] | None = None


class CallContext(msgspec.Struct, gc=False):
    """The context of a call."""

    page: CallPage | None = None
    campaign: CallCampaign | None = None
    device: CallDevice | None = None
    location: CallPlace | None = None
    geo: CallPlace | None = None
    consent: CallConsent | None = None


class Call(CallPage, gc=False, rename="camel"):
    """A call of the spec."""

    type: str | None = None
    event: str | None = None
    message_id: str | None = None
    anonymous_id: str | None = None
    user_id: str | None = None
    original_timestamp: str | None = None
    timestamp: str | None = None
    sent_at: str | None = None
    received_at: str | None = None
    properties: CallProperties | None = None
    context: CallContext | None = None
    batch: Given = NOT_GIVEN
    distinct_id: Given = msgspec.field(default=NOT_GIVEN, name="distinct_id")


_decode = msgspec.json.Decoder(Call).decode
_NO_PROPERTIES, _NO_CONTEXT, _NO_PAGE = CallProperties(), CallContext(), CallPage()
_purpose = lru_cache(REMEMBERED_TEXTS)(consent_purpose)


def read(raw: bytes, now_ms: int, received_ms: int) -> list[Event]:
    """The event of a record."""
    if b'"distinct_id"' in raw:
        return posthog.read(raw, now_ms, received_ms)
    call = _decode(raw)
    properties, context = call.properties or _NO_PROPERTIES, call.context or _NO_CONTEXT
    if (
        call.batch is not NOT_GIVEN
        or call.distinct_id is not NOT_GIVEN
        or properties.distinct_id is not NOT_GIVEN
    ):
        raise UnusualRecordError
    name, event_type, is_page = _name_and_type(call, properties)
    user_id = person_id(call.user_id)
    anonymous_id = person_id(call.anonymous_id)
    if user_id is None and anonymous_id is None:
        raise UnusualRecordError
    event_ts, received_ts = event_times(
        call.original_timestamp or call.timestamp,
        call.sent_at,
        call.received_at,
        call.timestamp,
        now_ms,
    )
    is_custom = event_type == "custom"
    event = Event(
        event_id=event_id(call.message_id),
        type=event_type,
        event_ts=event_ts,
        received_ts=received_ts,
        anonymous_id=anonymous_id,
        user_id=user_id,
        **({} if is_custom else shop_fields(event_type, properties)),
        page=_page(call, properties, context.page or _NO_PAGE, is_page=is_page),
        campaign=_campaign(context),
        device=None if context.device is None else lower_text(context.device.type),
        country=_country(context),
        consent=_consent(context),
        props=custom_props(name) if is_custom else NO_PROPS,
    )
    return [event]


def _name_and_type(call: Call, properties: CallProperties) -> tuple[str, EventType, bool]:
    """The name of the event, its type, and whether it is a view of a page."""
    name = text(call.event) or ""
    kind = (text(call.type) or ("track" if name else "")).lower()
    if kind == "track" and name:
        return name, track_type(name, properties), False
    if kind in CALL_TYPES and kind != "alias":
        return kind, CALL_TYPES[kind], kind in ("page", "screen")
    raise UnusualRecordError


def _page(call: Call, properties: CallProperties, shown: CallPage, *, is_page: bool) -> Page | None:
    if not is_page:
        title = first_text(shown.title, shown.name)
        return page(text(shown.url), text(shown.path), text(shown.referrer), title)
    return page(
        first_text(properties.url, call.url, shown.url),
        first_text(properties.path, call.path, shown.path),
        first_text(properties.referrer, call.referrer, shown.referrer),
        first_text(
            properties.title, properties.name, call.title, call.name, shown.title, shown.name
        ),
    )


def _campaign(context: CallContext) -> Campaign | None:
    sent = context.campaign
    if sent is None:
        return None
    return campaign(sent.source, sent.medium, sent.name, sent.term, sent.content)


def _country(context: CallContext) -> str | None:
    location, geo = context.location, context.geo
    named = None if location is None else text(location.country)
    return named or (None if geo is None else upper_text(geo.country))


def _consent(context: CallContext) -> Consent | None:
    consent = context.consent
    if consent is None or not consent.category_preferences:
        return None
    answers: dict[str, Any] = {}
    for name, answer in consent.category_preferences.items():
        if (purpose := _purpose(name)) is not None:
            answers[purpose] = answers.get(purpose, True) and answer
    return Consent(**answers) if answers else None
