"""Usual rows of Google Analytics' export to BigQuery, see `operators.readers.ga4`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from operators.events.decode import stable_event_id
from operators.readers.common_fields import custom_props
from operators.readers.fast.export_row import ExportRow, RowEcommerce, RowPrivacy, Whole
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
from operators.readers.fields import EMPTY_TEXTS
from operators.readers.ga4 import EVENT_TYPES
from operators.readers.numbers import parse_number
from state.events import NO_PROPS, Campaign, Consent, Event

if TYPE_CHECKING:
    from state.events import EventType

FORMAT = "ga4-bigquery"
_decode = msgspec.json.Decoder(ExportRow).decode
_NO_ECOMMERCE = RowEcommerce()
_TRAFFIC_PARAMS = ("source", "medium", "campaign", "term", "content")
_TRAFFIC = frozenset(_TRAFFIC_PARAMS)
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
        key, held = param.key, param.value
        if key not in _READ_PARAMS:
            if key.strip() is not key:  # it may be one of them, trimmed
                raise UnusualRecordError
        elif held is not None:
            value: Any = held.string_value
            if value is None:
                value = held.int_value
            if value is None:
                value = held.float_value
            if value is None:
                value = held.double_value
            if value is not None:
                values[key] = value
    return values


_READ_PARAMS = frozenset(_TRAFFIC_PARAMS) | {
    "page_location",
    "page_path",
    "page_referrer",
    "page_title",
    "screen_name",
    "currency",
    "search_term",
    "item_list_id",
    "item_list_name",
    "transaction_id",
    "value",
}
"""The parameters that are looked at below."""


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
    index = _whole_text(row.batch_event_index)
    if not index:
        return stable_event_id(FORMAT, raw, "0")
    return stable_event_id(
        FORMAT,
        _whole_text(row.user_pseudo_id),
        _whole_text(row.event_timestamp),
        _whole_text(row.event_name),
        _whole_text(row.event_bundle_sequence_id),
        _whole_text(row.batch_page_id),
        _whole_text(row.batch_ordering_id),
        index,
    )


def _whole_text(value: Whole) -> str:
    if value is None:
        return ""
    if type(value) is int:
        return str(value)
    trimmed: str = value.strip()  # type: ignore[union-attr]
    return "" if trimmed in EMPTY_TEXTS else trimmed


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
    own = None
    if not _TRAFFIC.isdisjoint(params):
        own = campaign(*[_param(params, name) for name in _TRAFFIC_PARAMS])
    if own is not None or first is None:
        return own
    return campaign(first.source, first.medium, first.name, first.term, first.content)


def _consent(privacy: RowPrivacy | None) -> Consent | None:
    if privacy is None:
        return None
    analytics = _ANSWERS.get(text(privacy.analytics_storage) or "")
    ads = _ANSWERS.get(text(privacy.ads_storage) or "")
    return None if analytics is None and ads is None else Consent(analytics=analytics, ads=ads)
