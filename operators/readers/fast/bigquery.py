"""Usual rows of Google Analytics' export to BigQuery, see `operators.readers.ga4`."""

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
)
from operators.readers.ga4 import EVENT_TYPES
from operators.readers.numbers import parse_number
from state.events import NO_PROPS, Campaign, Consent, Event

if TYPE_CHECKING:
    from state.events import EventType

FORMAT = "ga4-bigquery"
Whole = int | str | None
"""A whole number: a text in most exports."""


class RowValue(msgspec.Struct, gc=False):
    """The value of a parameter: one of these."""

    string_value: str | None = None
    int_value: Whole = None
    float_value: float | None = None
    double_value: float | None = None


class RowParam(msgspec.Struct, gc=False):
    """A parameter."""

    key: str
    value: RowValue | None = None


class RowEcommerce(msgspec.Struct, gc=False):
    """An order."""

    transaction_id: str | None = None
    purchase_revenue: float | None = None


class RowDevice(msgspec.Struct, gc=False):
    """The device."""

    category: str | None = None


class RowPlace(msgspec.Struct, gc=False):
    """Where the shopper is."""

    country: str | None = None


class RowPrivacy(msgspec.Struct, gc=False):
    """What the shopper agreed to."""

    analytics_storage: str | None = None
    ads_storage: str | None = None


class RowTraffic(msgspec.Struct, gc=False):
    """The first campaign of the shopper."""

    name: str | None = None
    source: str | None = None
    medium: str | None = None
    term: str | None = None
    content: str | None = None


class RowCollected(msgspec.Struct, gc=False):
    """The campaign of the event."""

    manual_campaign_name: str | None = None
    manual_source: str | None = None
    manual_medium: str | None = None
    manual_term: str | None = None
    manual_content: str | None = None


class ExportRow(msgspec.Struct, gc=False):
    """A row."""

    event_name: str
    event_timestamp: Whole = None
    event_params: list[RowParam] | None = None
    items: list[Ga4Line] | None = None
    user_pseudo_id: str | None = None
    user_id: str | None = None
    event_bundle_sequence_id: Whole = None
    batch_page_id: Whole = None
    batch_ordering_id: Whole = None
    batch_event_index: Whole = None
    ecommerce: RowEcommerce | None = None
    device: RowDevice | None = None
    geo: RowPlace | None = None
    privacy_info: RowPrivacy | None = None
    traffic_source: RowTraffic | None = None
    collected_traffic_source: RowCollected | None = None


_decode = msgspec.json.Decoder(ExportRow).decode
_NO_ECOMMERCE = RowEcommerce()
_ANSWERS = {"Yes": True, "No": False}


def read(raw: bytes, now_ms: int, received_ms: int) -> list[Event]:
    """The event of a row."""
    row = _decode(raw)
    name = text(row.event_name)
    if name is None:
        raise UnusualRecordError
    name = name.lower()
    event_type = EVENT_TYPES.get(name, "custom")
    anonymous_id, user_id = person_id(row.user_pseudo_id), person_id(row.user_id)
    at_ms = _time_ms(row, now_ms)
    has_no_id = anonymous_id is None and user_id is None
    if has_no_id or event_type == "refund" or at_ms == received_ms:
        raise UnusualRecordError
    params, ecommerce = _params(row), row.ecommerce or _NO_ECOMMERCE
    is_custom, is_order = event_type == "custom", event_type == "purchase"
    event = Event(
        event_id=_row_id(row, raw),
        type=event_type,
        event_ts=at_ms,
        anonymous_id=anonymous_id,
        user_id=user_id,
        **({} if is_custom else _shop_fields(event_type, row, params)),
        order_id=_order_id(params, ecommerce, is_needed=is_order),
        value=_order_value(params, ecommerce) if is_order else None,
        page=page(
            _param(params, "page_location"),
            _param(params, "page_path"),
            _param(params, "page_referrer"),
            _param(params, "page_title", "screen_name"),
        ),
        campaign=_campaign(row, params),
        device=None if row.device is None else lower_text(row.device.category),
        country=None if row.geo is None else text(row.geo.country),
        consent=_consent(row.privacy_info),
        props=custom_props(name) if is_custom else NO_PROPS,
    )
    return [event]


def _params(row: ExportRow) -> dict[str, Any]:
    """The parameters by key, each with its one value."""
    values: dict[str, Any] = {}
    for param in row.event_params or ():
        held = param.value
        if held is None:
            continue
        value: Any = held.string_value
        if value is None:
            value = held.int_value
        if value is None:
            value = held.float_value
        if value is None:
            value = held.double_value
        if value is not None and (key := text(param.key)) is not None:
            values[key] = value
    return values


def _param(params: dict[str, Any], *names: str) -> str | None:
    """The first of these parameters that says something; all must be texts."""
    for name in names:
        value = params.get(name)
        if value is not None:
            if type(value) is not str:
                raise UnusualRecordError
            if (trimmed := text(value)) is not None:
                return trimmed
    return None


def _row_id(row: ExportRow, raw: bytes) -> str:
    parts = [
        _whole_text(part)
        for part in (
            row.user_pseudo_id,
            row.event_timestamp,
            row.event_name,
            row.event_bundle_sequence_id,
            row.batch_page_id,
            row.batch_ordering_id,
            row.batch_event_index,
        )
    ]
    return stable_event_id(FORMAT, *parts) if parts[-1] else stable_event_id(FORMAT, raw, "0")


def _whole_text(value: Whole) -> str:
    if type(value) is int:
        return str(value)
    return text(value) or ""  # type: ignore[arg-type]


def _time_ms(row: ExportRow, now_ms: int) -> int:
    micros = row.event_timestamp
    if micros is None or micros == "":
        raise UnusualRecordError
    at_ms = int(micros) // 1000
    checked_time_ms(at_ms, now_ms)
    return at_ms


def _shop_fields(event_type: EventType, row: ExportRow, params: dict[str, Any]) -> dict[str, Any]:
    lines: list[Ga4Line] = row.items or []
    fields: dict[str, Any] = {"items": items(event_type, lines)}
    currency = _param(params, "currency") or first_text(*[line.currency for line in lines])
    fields["currency"] = None if currency is None else currency.upper()
    if event_type == "search":
        fields["query"] = _param(params, "search_term")
    elif event_type == "list_view":
        own = _param(params, "item_list_id", "item_list_name")
        names = [name for line in lines[:1] for name in (line.item_list_id, line.item_list_name)]
        fields["list_id"] = own or first_text(*names)
    return fields


def _order_id(params: dict[str, Any], ecommerce: RowEcommerce, *, is_needed: bool) -> str | None:
    found = order_id(_param(params, "transaction_id"), is_needed=False)
    return found or order_id(ecommerce.transaction_id, is_needed=is_needed)


def _order_value(params: dict[str, Any], ecommerce: RowEcommerce) -> float | None:
    if ecommerce.purchase_revenue is not None:
        return amount(ecommerce.purchase_revenue)
    value = params.get("value")
    if value is None or value == "":
        return None
    number = parse_number(value)
    if number is None:
        raise UnusualRecordError
    return amount(number)


def _campaign(row: ExportRow, params: dict[str, Any]) -> Campaign | None:
    """The campaign that was collected with the event, else the first one of the shopper."""
    found, first = row.collected_traffic_source, row.traffic_source
    collected = None
    if found is not None:
        collected = campaign(
            found.manual_source,
            found.manual_medium,
            found.manual_campaign_name,
            found.manual_term,
            found.manual_content,
        )
    if collected is not None:
        return collected
    names = ("source", "medium", "campaign", "term", "content")
    own = campaign(*(_param(params, name) for name in names))
    if own is not None or first is None:
        return own
    return campaign(first.source, first.medium, first.name, first.term, first.content)


def _consent(privacy: RowPrivacy | None) -> Consent | None:
    if privacy is None:
        return None
    analytics = _ANSWERS.get(text(privacy.analytics_storage) or "")
    ads = _ANSWERS.get(text(privacy.ads_storage) or "")
    return None if analytics is None and ads is None else Consent(analytics=analytics, ads=ads)
