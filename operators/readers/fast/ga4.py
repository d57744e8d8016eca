"""Usual requests of the Measurement Protocol, see `operators.readers.ga4`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from operators.events.decode import stable_event_id
from operators.readers.common_fields import custom_props
from operators.readers.fast.ga4_items import Ga4Line, items
from operators.readers.fast.values import (
    UnusualRecordError,
    amount,
    campaign,
    checked_time_ms,
    first_text,
    lower_text,
    order_id,
    page,
    person_id,
    text,
    upper_text,
)
from operators.readers.ga4 import EVENT_TYPES
from state.events import NO_PROPS, Consent, Event

if TYPE_CHECKING:
    from state.events import EventType

FORMAT = "ga4"


class Ga4Params(msgspec.Struct, gc=False):
    """The parameters of an event."""

    items: list[Ga4Line] | None = None
    page_location: str | None = None
    page_path: str | None = None
    page_referrer: str | None = None
    page_title: str | None = None
    screen_name: str | None = None
    source: str | None = None
    medium: str | None = None
    campaign: str | None = None
    term: str | None = None
    content: str | None = None
    currency: str | None = None
    search_term: str | None = None
    item_list_id: str | None = None
    item_list_name: str | None = None
    transaction_id: str | None = None
    value: float | None = None


class Ga4Event(msgspec.Struct, gc=False):
    """An event of a request."""

    name: str
    params: Ga4Params | None = None
    timestamp_micros: int | None = None


class Ga4Device(msgspec.Struct, gc=False):
    """The device."""

    category: str | None = None


class Ga4Place(msgspec.Struct, gc=False):
    """Where the shopper is."""

    country_id: str | None = None


class Ga4Consent(msgspec.Struct, gc=False):
    """Both answers are about advertising."""

    ad_user_data: str | None = None
    ad_personalization: str | None = None


class Ga4Request(msgspec.Struct, gc=False):
    """A request."""

    events: list[Ga4Event]
    client_id: str | None = None
    app_instance_id: str | None = None
    user_id: str | None = None
    timestamp_micros: int | None = None
    device: Ga4Device | None = None
    user_location: Ga4Place | None = None
    consent: Ga4Consent | None = None


_decode = msgspec.json.Decoder(Ga4Request).decode
_NO_PARAMS = Ga4Params()


def read(raw: bytes, now_ms: int, received_ms: int) -> list[Event]:
    """The events of a request."""
    request = _decode(raw)
    if not request.events:
        raise UnusualRecordError
    anonymous_id = person_id(request.client_id, request.app_instance_id)
    user_id = person_id(request.user_id)
    if anonymous_id is None and user_id is None:
        raise UnusualRecordError
    shared = {
        "anonymous_id": anonymous_id,
        "user_id": user_id,
        "device": None if request.device is None else lower_text(request.device.category),
        "country": None
        if request.user_location is None
        else upper_text(request.user_location.country_id),
        "consent": _consent(request.consent),
    }
    events = []
    for index, single in enumerate(request.events):
        at_ms = _time_ms(single, request, now_ms)
        if at_ms == received_ms:  # such an event has another id
            raise UnusualRecordError
        event_id = stable_event_id(FORMAT, raw, str(index))
        events.append(_event(single, event_id, at_ms, shared))
    return events


def _event(single: Ga4Event, event_id: str, at_ms: int, shared: dict[str, Any]) -> Event:
    name, params = text(single.name), single.params or _NO_PARAMS
    if name is None:
        raise UnusualRecordError
    name = name.lower()
    event_type = EVENT_TYPES.get(name, "custom")
    is_custom, is_order = event_type == "custom", event_type == "purchase"
    if event_type == "refund":
        raise UnusualRecordError
    return Event(
        event_id=event_id,
        type=event_type,
        event_ts=at_ms,
        **({} if is_custom else _shop_fields(event_type, params)),
        order_id=order_id(params.transaction_id, is_needed=is_order),
        value=amount(params.value) if is_order else None,
        page=page(
            text(params.page_location),
            text(params.page_path),
            text(params.page_referrer),
            first_text(params.page_title, params.screen_name),
        ),
        campaign=campaign(
            params.source, params.medium, params.campaign, params.term, params.content
        ),
        props=custom_props(name) if is_custom else NO_PROPS,
        **shared,
    )


def _shop_fields(event_type: EventType, params: Ga4Params) -> dict[str, Any]:
    lines: list[Ga4Line] = params.items or []
    fields: dict[str, Any] = {"items": items(event_type, lines)}
    currency = first_text(params.currency, *[line.currency for line in lines])
    fields["currency"] = None if currency is None else currency.upper()
    if event_type == "search":
        fields["query"] = text(params.search_term)
    elif event_type == "list_view":
        names = [params.item_list_id, params.item_list_name]
        names += [name for line in lines[:1] for name in (line.item_list_id, line.item_list_name)]
        fields["list_id"] = first_text(*names)
    return fields


def _time_ms(single: Ga4Event, request: Ga4Request, now_ms: int) -> int:
    micros = single.timestamp_micros
    if micros is None:
        micros = request.timestamp_micros
    if micros is None:
        raise UnusualRecordError
    at_ms = micros // 1000
    checked_time_ms(at_ms, now_ms)
    return at_ms


def _consent(consent: Ga4Consent | None) -> Consent | None:
    """Both answers are about advertising; a no wins."""
    if consent is None:
        return None
    answers = {text(consent.ad_user_data), text(consent.ad_personalization)}
    if not answers & {"GRANTED", "DENIED"}:
        return None
    return Consent(ads="DENIED" not in answers)
