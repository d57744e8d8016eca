"""Google Analytics 4: `ga4` is its Measurement Protocol, `ga4-bigquery` its BigQuery export."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from operators.events.decode import stable_event_id
from operators.events.validation import ORDER_TYPES
from operators.readers.common_fields import custom_props, read_campaign, read_page
from operators.readers.event_times import read_first_time
from operators.readers.fields import Fields
from operators.readers.identity import read_identity
from operators.readers.line_items import LineFieldNames, LineItems, first_amount, read_line_items
from operators.readers.values import BadFieldError, lower, upper
from state.events import NO_PROPS, Campaign, Consent, Event, EventType

if TYPE_CHECKING:
    from operators.readers.common_fields import AdapterContext
    from state.events import Page

EVENT_TYPES: dict[str, EventType] = {
    "page_view": "page_view",
    "screen_view": "page_view",
    "search": "search",
    "view_search_results": "search",
    "view_item_list": "list_view",
    "view_item": "item_view",
    "add_to_cart": "cart_add",
    "remove_from_cart": "cart_remove",
    "add_to_wishlist": "wishlist_add",
    "begin_checkout": "checkout_start",
    "purchase": "purchase",
    "refund": "refund",
    "login": "identify",
    "sign_up": "identify",
}
"""Types by event name; every other name is `custom`."""

_LINE_FIELDS = LineFieldNames(
    ids=("item_id", "item_name"),
    category=("item_category", *(f"item_category{n}" for n in range(2, 6))),
    brand="item_brand",
    name="item_name",
    position=("index", "item_list_index"),
)
_VALUE_FIELDS = ("string_value", "int_value", "float_value", "double_value")
_ROW_ID_FIELDS = (
    "user_pseudo_id",
    "event_timestamp",
    "event_name",
    "event_bundle_sequence_id",
    "batch_page_id",
    "batch_ordering_id",
    "batch_event_index",
)


def split(record: dict[str, Any]) -> list[Any]:
    """One request for each event of a request of the Measurement Protocol."""
    events = record.get("events")
    if not isinstance(events, list) or not events:
        raise BadFieldError("schema_violation", "$.events", "expected an array of events")
    return [{**record, "events": [single]} for single in events]


def to_event(fields: Fields, context: AdapterContext) -> Event:
    """A request with one event."""
    single = next(iter(fields.children("events")), None)
    if single is None:
        raise BadFieldError("schema_violation", "$.events[0]", "expected an object")
    name, params = _event_name(single, "name"), single.child("params")
    event_type = EVENT_TYPES.get(name, "custom")
    anonymous_id, user_id = read_identity(
        [(fields, "client_id"), (fields, "app_instance_id")], [(fields, "user_id")]
    )
    lines = read_line_items(
        event_type, _products(event_type, params), _LINE_FIELDS, params.path_of("items")
    )
    return Event(
        event_id=context.event_id,
        type=event_type,
        event_ts=read_first_time(
            ((single, "timestamp_micros"), (fields, "timestamp_micros")), context
        ),
        anonymous_id=anonymous_id,
        user_id=user_id,
        **_shop_fields(event_type, params, params, lines),
        order_id=params.order_id("transaction_id", needed=event_type in ORDER_TYPES),
        value=_order_value(event_type, params, lines),
        page=_page(params),
        campaign=read_campaign(params, name="campaign"),
        device=lower(fields.child("device").text("category")),
        country=upper(fields.child("user_location").text("country_id")),
        consent=_consent(fields.child("consent")),
        props=custom_props(name) if event_type == "custom" else NO_PROPS,
    )


def split_row(record: dict[str, Any]) -> list[Any]:
    """A row of the export is one event."""
    return [record]


def row_to_event(fields: Fields, context: AdapterContext) -> Event:
    """A row of the export, as BigQuery writes it to JSON: its integers may be text."""
    name, params = _event_name(fields, "event_name"), _params(fields)
    event_type = EVENT_TYPES.get(name, "custom")
    anonymous_id, user_id = read_identity([(fields, "user_pseudo_id")], [(fields, "user_id")])
    ecommerce = fields.child("ecommerce")
    lines = read_line_items(event_type, _products(event_type, fields), _LINE_FIELDS, "$.items")
    return Event(
        event_id=_row_id(fields, context),
        type=event_type,
        event_ts=read_first_time(((fields, "event_timestamp"),), context),
        anonymous_id=anonymous_id,
        user_id=user_id,
        **_shop_fields(event_type, params, fields, lines),
        order_id=_row_order_id(event_type, ecommerce, params),
        value=_row_value(event_type, ecommerce, params, lines),
        page=_page(params),
        campaign=_row_campaign(fields, params),
        device=lower(fields.child("device").text("category")),
        country=fields.child("geo").text("country"),
        consent=_row_consent(fields.child("privacy_info")),
        props=custom_props(name) if event_type == "custom" else NO_PROPS,
    )


def _event_name(fields: Fields, name: str) -> str:
    event_name = fields.text(name)
    if event_name is None:
        raise BadFieldError("schema_violation", fields.path_of(name), "an event needs a name")
    return event_name.lower()


def _products(event_type: EventType, holder: Fields) -> list[Fields]:
    return [] if event_type == "custom" else holder.children("items")


def _shop_fields(
    event_type: EventType, params: Fields, holder: Fields, lines: LineItems
) -> dict[str, Any]:
    """The fields of the event that are read from the parameters and the items of `holder`."""
    if event_type == "custom":
        return {}
    products = holder.children("items")
    list_id = None
    if event_type == "list_view":
        lists = [*products[:1], params]
        list_ids = (source.text("item_list_id", "item_list_name") for source in reversed(lists))
        list_id = next((candidate for candidate in list_ids if candidate), None)
    currencies = (source.text("currency") for source in (params, *products))
    return {
        "items": lines.items,
        "currency": upper(next((currency for currency in currencies if currency), None)),
        "query": params.text("search_term") if event_type == "search" else None,
        "list_id": list_id,
    }


def _order_value(event_type: EventType, params: Fields, lines: LineItems) -> float | None:
    if event_type not in ORDER_TYPES:
        return None
    is_refund = event_type == "refund"
    return lines.order_value(params.amount("value", is_refund=is_refund), is_refund=is_refund)


def _page(params: Fields) -> Page | None:
    return read_page(
        params,
        url="page_location",
        path="page_path",
        referrer="page_referrer",
        title=("page_title", "screen_name"),
    )


def _params(row: Fields) -> Fields:
    """The parameters by key, each with its one value."""
    values: dict[str, Any] = {}
    for param in row.children("event_params"):
        typed_values = param.child("value").values
        given = [
            typed_values[value_field]
            for value_field in _VALUE_FIELDS
            if typed_values.get(value_field) is not None
        ]
        if given and (key := param.text("key")) is not None:
            values[key] = given[0]
    return Fields(values, row.path_of("event_params"))


def _row_id(row: Fields, context: AdapterContext) -> str:
    """An id that differs between rows and stays the same when a table is exported again.

    Older exports lack the position in the batch; there the id is a hash of the whole row.
    """
    if row.text("batch_event_index") is None:
        return context.event_id
    return stable_event_id("ga4-bigquery", *(row.text(name) or "" for name in _ROW_ID_FIELDS))


def _row_order_id(event_type: EventType, ecommerce: Fields, params: Fields) -> str | None:
    order_id = params.order_id("transaction_id", needed=False)
    return order_id or ecommerce.order_id("transaction_id", needed=event_type in ORDER_TYPES)


def _row_value(
    event_type: EventType, ecommerce: Fields, params: Fields, lines: LineItems
) -> float | None:
    if event_type not in ORDER_TYPES:
        return None
    is_refund = event_type == "refund"
    name = "refund_value" if is_refund else "purchase_revenue"
    stated = first_amount(
        lambda: ecommerce.amount(name, is_refund=is_refund),
        lambda: params.amount("value", is_refund=is_refund),
    )
    return lines.order_value(stated, is_refund=is_refund)


def _row_campaign(row: Fields, params: Fields) -> Campaign | None:
    """The campaign that was collected with the event, else the first one of the shopper."""
    collected = read_campaign(
        row.child("collected_traffic_source"), prefix="manual_", name="manual_campaign_name"
    )
    first = read_campaign(row.child("traffic_source"), name="name")
    return collected or read_campaign(params, name="campaign") or first


def _consent(consent: Fields) -> Consent | None:
    """Both answers of the Measurement Protocol are about advertising; a no wins."""
    answers = {consent.text("ad_user_data"), consent.text("ad_personalization")}
    if not answers & {"GRANTED", "DENIED"}:
        return None
    return Consent(ads="DENIED" not in answers)


def _row_consent(privacy: Fields) -> Consent | None:
    answers = {"Yes": True, "No": False}
    analytics = answers.get(privacy.text("analytics_storage") or "")
    ads = answers.get(privacy.text("ads_storage") or "")
    if analytics is None and ads is None:
        return None
    return Consent(analytics=analytics, ads=ads)
