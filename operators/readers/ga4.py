"""Google Analytics 4: `ga4` is its Measurement Protocol, `ga4-bigquery` its BigQuery export."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from operators.events.decode import stable_event_id
from operators.events.validation import ORDERS
from operators.readers.common_fields import campaign, custom_props, first_time, page, who
from operators.readers.fields import BadFieldError, Fields, lower, upper
from operators.readers.line_items import Lines, Names, read_lines, told_worth
from state.events import NO_PROPS, Campaign, Consent, Event, EventType

if TYPE_CHECKING:
    from operators.readers.common_fields import Told
    from state.events import Page

TYPES: dict[str, EventType] = {
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

_LINE = Names(
    ids=("item_id", "item_name"),
    category=("item_category", *(f"item_category{n}" for n in range(2, 6))),
    brand="item_brand",
    name="item_name",
    position=("index", "item_list_index"),
)
_VALUES = ("string_value", "int_value", "float_value", "double_value")
_ROW_IDS = (
    "user_pseudo_id",
    "event_timestamp",
    "event_name",
    "event_bundle_sequence_id",
    "batch_page_id",
    "batch_ordering_id",
    "batch_event_index",
)


def split(record: dict[str, Any]) -> list[Any]:
    """A request of the Measurement Protocol as one request an event."""
    events = record.get("events")
    if not isinstance(events, list) or not events:
        raise BadFieldError("schema_violation", "$.events", "expected an array of events")
    return [{**record, "events": [one]} for one in events]


def event(fields: Fields, told: Told) -> Event:
    """A request with one event."""
    one = next(iter(fields.many("events")), None)
    if one is None:
        raise BadFieldError("schema_violation", "$.events[0]", "expected an object")
    name, params = _name(one, "name"), one.inner("params")
    kind = TYPES.get(name, "custom")
    anonymous_id, user_id = who(
        [(fields, "client_id"), (fields, "app_instance_id")], [(fields, "user_id")]
    )
    lines = read_lines(kind, _products(kind, params), _LINE, params.at("items"))
    return Event(
        event_id=told.event_id,
        type=kind,
        event_ts=first_time(((one, "timestamp_micros"), (fields, "timestamp_micros")), told),
        anonymous_id=anonymous_id,
        user_id=user_id,
        **_of_shop(kind, params, params, lines),
        order_id=params.order_id("transaction_id", needed=kind in ORDERS),
        value=_value(kind, params, lines),
        page=_page(params),
        campaign=campaign(params, name="campaign"),
        device=lower(fields.inner("device").text("category")),
        country=upper(fields.inner("user_location").text("country_id")),
        consent=_consent(fields.inner("consent")),
        props=custom_props(name) if kind == "custom" else NO_PROPS,
    )


def split_row(record: dict[str, Any]) -> list[Any]:
    """A row of the export is one event."""
    return [record]


def row_event(fields: Fields, told: Told) -> Event:
    """A row of the export, as BigQuery writes it to JSON: its integers may be text."""
    name, params = _name(fields, "event_name"), _params(fields)
    kind = TYPES.get(name, "custom")
    anonymous_id, user_id = who([(fields, "user_pseudo_id")], [(fields, "user_id")])
    ecommerce = fields.inner("ecommerce")
    lines = read_lines(kind, _products(kind, fields), _LINE, "$.items")
    return Event(
        event_id=_row_id(fields, told),
        type=kind,
        event_ts=first_time(((fields, "event_timestamp"),), told),
        anonymous_id=anonymous_id,
        user_id=user_id,
        **_of_shop(kind, params, fields, lines),
        order_id=_row_order(kind, ecommerce, params),
        value=_row_value(kind, ecommerce, params, lines),
        page=_page(params),
        campaign=_row_campaign(fields, params),
        device=lower(fields.inner("device").text("category")),
        country=fields.inner("geo").text("country"),
        consent=_row_consent(fields.inner("privacy_info")),
        props=custom_props(name) if kind == "custom" else NO_PROPS,
    )


def _name(fields: Fields, name: str) -> str:
    found = fields.text(name)
    if found is None:
        raise BadFieldError("schema_violation", fields.at(name), "an event needs a name")
    return found.lower()


def _products(kind: EventType, holder: Fields) -> list[Fields]:
    return [] if kind == "custom" else holder.many("items")


def _of_shop(kind: EventType, params: Fields, holder: Fields, lines: Lines) -> dict[str, Any]:
    """What the parameters tell, with the items of `holder`."""
    if kind == "custom":
        return {}
    products = holder.many("items")
    list_id = None
    if kind == "list_view":
        lists = [*products[:1], params]
        told = (one.text("item_list_id", "item_list_name") for one in reversed(lists))
        list_id = next((found for found in told if found), None)
    currencies = (one.text("currency") for one in (params, *products))
    return {
        "items": lines.items,
        "currency": upper(next((found for found in currencies if found), None)),
        "query": params.text("search_term") if kind == "search" else None,
        "list_id": list_id,
    }


def _value(kind: EventType, params: Fields, lines: Lines) -> float | None:
    if kind not in ORDERS:
        return None
    is_refund = kind == "refund"
    return lines.order_value(params.worth("value", is_refund=is_refund), is_refund=is_refund)


def _page(params: Fields) -> Page | None:
    return page(
        params,
        url="page_location",
        path="page_path",
        referrer="page_referrer",
        title=("page_title", "screen_name"),
    )


def _params(row: Fields) -> Fields:
    """The parameters by key, each with the one value it has."""
    values: dict[str, Any] = {}
    for param in row.many("event_params"):
        told = param.inner("value").values
        kept = [told[kind] for kind in _VALUES if told.get(kind) is not None]
        if kept and (key := param.text("key")) is not None:
            values[key] = kept[0]
    return Fields(values, row.at("event_params"))


def _row_id(row: Fields, told: Told) -> str:
    """What tells rows apart and stays the same when a table is written again.

    Older exports lack the place in the batch: there the whole row has to tell.
    """
    if row.text("batch_event_index") is None:
        return told.event_id
    return stable_event_id("ga4-bigquery", *(row.text(name) or "" for name in _ROW_IDS))


def _row_order(kind: EventType, ecommerce: Fields, params: Fields) -> str | None:
    found = params.order_id("transaction_id", needed=False)
    return found or ecommerce.order_id("transaction_id", needed=kind in ORDERS)


def _row_value(kind: EventType, ecommerce: Fields, params: Fields, lines: Lines) -> float | None:
    if kind not in ORDERS:
        return None
    is_refund = kind == "refund"
    name = "refund_value" if is_refund else "purchase_revenue"
    told = told_worth(
        lambda: ecommerce.worth(name, is_refund=is_refund),
        lambda: params.worth("value", is_refund=is_refund),
    )
    return lines.order_value(told, is_refund=is_refund)


def _row_campaign(row: Fields, params: Fields) -> Campaign | None:
    """What was collected with the event, else what first brought the shopper."""
    collected = campaign(
        row.inner("collected_traffic_source"), prefix="manual_", name="manual_campaign_name"
    )
    first = campaign(row.inner("traffic_source"), name="name")
    return collected or campaign(params, name="campaign") or first


def _consent(consent: Fields) -> Consent | None:
    """Both answers of the Measurement Protocol are about advertising: a no before a yes."""
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
