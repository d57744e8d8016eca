"""`snowplow`: enriched events of Snowplow as JSON, the way its analytics SDKs lay them out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from operators.readers.common_fields import (
    PURPOSES,
    Times,
    campaign,
    custom_props,
    event_times,
    page,
    who,
)
from operators.readers.fields import BadFieldError, Fields, lower, plain, upper
from operators.readers.line_items import Lines, Names, read_lines
from state.events import NO_PROPS, Consent, Event, EventType

if TYPE_CHECKING:
    from operators.readers.common_fields import Told

_VENDOR = "com_snowplowanalytics_snowplow"
ACTION = f"unstruct_event_{_VENDOR}_ecommerce_snowplow_ecommerce_action_1"
ENTITY = f"contexts_{_VENDOR}_ecommerce_"
ADD, REMOVE = (f"unstruct_event_{_VENDOR}_{name}_1" for name in ("add_to_cart", "remove_from_cart"))
SEARCH = f"unstruct_event_{_VENDOR}_site_search_1"
CONSENT = f"unstruct_event_{_VENDOR}_consent_preferences_1"
SESSION = f"contexts_{_VENDOR}_client_session_1"

ACTIONS: dict[str, EventType] = {
    "product_view": "item_view",
    "add_to_cart": "cart_add",
    "remove_from_cart": "cart_remove",
    "list_view": "list_view",
    "transaction": "purchase",
    "refund": "refund",
}
"""Types by the `type` of an e-commerce action; of `checkout_step` the first is `checkout_start`."""

_LINE = Names(ids=("id",))
_OLD_LINE = Names(ids=("sku",), price="unitPrice")

ANSWERS = {"allow_all": True, "implicit_consent": True, "deny_all": False, "withdrawn": False}
"""What a statement of consent says of all purposes."""

STOCK = {
    "in stock": True,
    "available": True,
    "preorder": True,
    "pre order": True,
    "backorder": True,
    "out of stock": False,
    "sold out": False,
    "unavailable": False,
    "discontinued": False,
}
"""Whether a product of that `inventory_status` can be had."""


def split(record: dict[str, Any]) -> list[Any]:
    """A record is one event."""
    return [record]


def event(fields: Fields, told: Told) -> Event:
    """One enriched event."""
    name, kind = _kind(fields)
    user = fields.first(f"{ENTITY}user_1")
    anonymous_id, user_id = who(
        [
            (fields, "domain_userid"),
            (fields.first(SESSION), "userId"),
            (fields, "network_userid"),
        ],
        [(fields, "user_id"), *([] if user.flag("is_guest") else [(user, "id")])],
    )
    event_ts, received_ts = event_times(
        fields,
        original="dvce_created_tstamp",
        sent="dvce_sent_tstamp",
        received="collector_tstamp",
        corrected="derived_tstamp",
        told=told,
    )
    times = Times(fields, told.now_ms)
    true_ms = times.checked("true_tstamp", times.read("true_tstamp"))
    return Event(
        event_id=told.id_of(fields, "event_id"),
        type=kind,
        event_ts=event_ts if true_ms is None else true_ms,
        received_ts=received_ts,
        anonymous_id=anonymous_id,
        user_id=user_id,
        **_of_shop(kind, fields),
        page=page(
            fields,
            url="page_url",
            path="page_urlpath",
            referrer="page_referrer",
            title=("page_title",),
        ),
        campaign=campaign(fields, prefix="mkt_", name="mkt_campaign"),
        device=lower(fields.text("dvce_type")),
        country=upper(fields.text("geo_country")),
        props=custom_props(name) if kind == "custom" else NO_PROPS,
    )


def _kind(fields: Fields) -> tuple[str, EventType]:
    """The name of an event and its type, by what it carries."""
    name = fields.text("event")
    if name is None:
        raise BadFieldError("unknown_type", "$.event", "an enriched event names its kind")
    if (action := fields.inner(ACTION)).values:
        of_action = action.text("type") or "snowplow_ecommerce_action"
        if of_action == "checkout_step":
            step = fields.first(f"{ENTITY}checkout_step_1").position("step")
            return of_action, "checkout_start" if step == 1 else "custom"
        return of_action, ACTIONS.get(of_action, "custom")
    found: EventType = "custom"
    if name == "page_view":
        found = "page_view"
    elif name == "transaction":
        found = "purchase"
    else:
        for column, kind in _BY_COLUMN:
            if fields.has(column):
                found = kind
    return (fields.text("event_name") or name) if name == "unstruct" else name, found


_BY_COLUMN: tuple[tuple[str, EventType], ...] = (
    (ADD, "cart_add"),
    (REMOVE, "cart_remove"),
    (SEARCH, "search"),
    (CONSENT, "consent"),
)


def _of_shop(kind: EventType, fields: Fields) -> dict[str, Any]:
    if kind == "custom":
        return {}
    products, names = fields.many(f"{ENTITY}product_1"), _LINE
    for column in (ADD, REMOVE):
        if (one := fields.inner(column)).values:
            products, names = [one], _OLD_LINE
    lines = read_lines(kind, products, names, fields.at(f"{ENTITY}product_1"), _stock)
    action = fields.inner(ACTION)
    return {
        "items": lines.items,
        "currency": upper(
            next((found for one in products if (found := one.text("currency"))), None)
        ),
        "query": " ".join(_words(fields.inner(SEARCH).values.get("terms"))) or None,
        "list_id": action.text("name") if kind == "list_view" else None,
        "cart_id": fields.first(f"{ENTITY}cart_1").text("cart_id"),
        "consent": _consent(fields.inner(CONSENT)),
        **_order(kind, fields, lines),
    }


def _order(kind: EventType, fields: Fields, lines: Lines) -> dict[str, Any]:
    """Order, its worth without tax and shipping, and its currency."""
    if kind == "refund":
        order, name = fields.first(f"{ENTITY}refund_1"), "transaction_id"
        worth = order.worth("refund_amount", is_refund=True)
    elif kind != "purchase":
        return {}
    elif fields.has(ACTION):
        order, name = fields.first(f"{ENTITY}transaction_1"), "transaction_id"
        worth = order.net("revenue", "tax", "shipping")
    else:
        order, name = fields, "tr_orderid"
        worth = order.net("tr_total", "tr_tax", "tr_shipping")
    told: dict[str, Any] = {
        "order_id": order.order_id(name, needed=True),
        "value": lines.order_value(worth, is_refund=kind == "refund"),
    }
    currency = order.text("currency", "tr_currency")
    return told | ({"currency": currency.upper()} if currency else {})


def _stock(product: Fields) -> bool | None:
    return STOCK.get(plain(product.text("inventory_status") or ""))


def _consent(statement: Fields) -> Consent | None:
    """Everything, nothing, or the scopes by their names; a pending one states nothing."""
    answer = statement.text("eventType")
    if answer in ANSWERS:
        said = ANSWERS[answer]
        return Consent(analytics=said, personalization=said, ads=said)
    if answer != "allow_selected":
        return None
    purposes = {
        PURPOSES.get(plain(scope)) for scope in _words(statement.values.get("consentScopes"))
    }
    return Consent(
        analytics="analytics" in purposes,
        personalization="personalization" in purposes,
        ads="ads" in purposes,
    )


def _words(told: object) -> list[str]:
    return [word for word in told if isinstance(word, str)] if isinstance(told, list) else []
