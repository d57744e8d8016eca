"""`snowplow`: enriched events of Snowplow, as JSON in the layout of its analytics SDKs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from operators.readers.common_fields import consent_purpose, custom_props, read_campaign, read_page
from operators.readers.event_times import TimeReader, read_event_times
from operators.readers.identity import read_identity
from operators.readers.line_items import LineFieldNames, LineItems, read_line_items
from operators.readers.values import BadFieldError, lower, normalize_name, upper
from state.events import NO_PROPS, Consent, Event, EventType

if TYPE_CHECKING:
    from operators.readers.common_fields import AdapterContext
    from operators.readers.fields import Fields

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

_LINE_FIELDS = LineFieldNames(ids=("id",))
_OLD_LINE_FIELDS = LineFieldNames(ids=("sku",), price="unitPrice")

CONSENT_STATEMENTS = {
    "allow_all": True,
    "implicit_consent": True,
    "deny_all": False,
    "withdrawn": False,
}
"""Statements that answer for all purposes at once."""

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
"""Whether a product with this `inventory_status` can be bought."""


def split(record: dict[str, Any]) -> list[Any]:
    """A record is one event."""
    return [record]


def to_event(fields: Fields, context: AdapterContext) -> Event:
    """One enriched event."""
    name, event_type = _name_and_type(fields)
    user = fields.first_child(f"{ENTITY}user_1")
    anonymous_id, user_id = read_identity(
        [
            (fields, "domain_userid"),
            (fields.first_child(SESSION), "userId"),
            (fields, "network_userid"),
        ],
        [(fields, "user_id"), *([] if user.flag("is_guest") else [(user, "id")])],
    )
    event_ts, received_ts = read_event_times(
        fields,
        original="dvce_created_tstamp",
        sent="dvce_sent_tstamp",
        received="collector_tstamp",
        corrected="derived_tstamp",
        context=context,
    )
    times = TimeReader(fields, context.now_ms)
    true_ms = times.check("true_tstamp", times.read("true_tstamp"))
    return Event(
        event_id=context.event_id_from(fields, "event_id"),
        type=event_type,
        event_ts=event_ts if true_ms is None else true_ms,
        received_ts=received_ts,
        anonymous_id=anonymous_id,
        user_id=user_id,
        **_shop_fields(event_type, fields),
        page=read_page(
            fields,
            url="page_url",
            path="page_urlpath",
            referrer="page_referrer",
            title=("page_title",),
        ),
        campaign=read_campaign(fields, prefix="mkt_", name="mkt_campaign"),
        device=lower(fields.text("dvce_type")),
        country=upper(fields.text("geo_country")),
        props=custom_props(name) if event_type == "custom" else NO_PROPS,
    )


def _name_and_type(fields: Fields) -> tuple[str, EventType]:
    """The name of an event and its type, which depends on what it carries."""
    name = fields.text("event")
    if name is None:
        raise BadFieldError("unknown_type", "$.event", "an enriched event names its kind")
    if (action := fields.child(ACTION)).values:
        action_type = action.text("type") or "snowplow_ecommerce_action"
        if action_type == "checkout_step":
            step = fields.first_child(f"{ENTITY}checkout_step_1").position("step")
            return action_type, "checkout_start" if step == 1 else "custom"
        return action_type, ACTIONS.get(action_type, "custom")
    event_type: EventType = "custom"
    if name == "page_view":
        event_type = "page_view"
    elif name == "transaction":
        event_type = "purchase"
    else:
        for column, kind in _TYPE_BY_COLUMN:
            if fields.has(column):
                event_type = kind
    return (fields.text("event_name") or name) if name == "unstruct" else name, event_type


_TYPE_BY_COLUMN: tuple[tuple[str, EventType], ...] = (
    (ADD, "cart_add"),
    (REMOVE, "cart_remove"),
    (SEARCH, "search"),
    (CONSENT, "consent"),
)


def _shop_fields(event_type: EventType, fields: Fields) -> dict[str, Any]:
    if event_type == "custom":
        return {}
    products, names = fields.children(f"{ENTITY}product_1"), _LINE_FIELDS
    for column in (ADD, REMOVE):
        if (old_product := fields.child(column)).values:
            products, names = [old_product], _OLD_LINE_FIELDS
    lines = read_line_items(
        event_type, products, names, fields.path_of(f"{ENTITY}product_1"), _stock
    )
    action = fields.child(ACTION)
    return {
        "items": lines.items,
        "currency": upper(
            next((currency for product in products if (currency := product.text("currency"))), None)
        ),
        "query": " ".join(_strings(fields.child(SEARCH).values.get("terms"))) or None,
        "list_id": action.text("name") if event_type == "list_view" else None,
        "cart_id": fields.first_child(f"{ENTITY}cart_1").text("cart_id"),
        "consent": _consent(fields.child(CONSENT)),
        **_order(event_type, fields, lines),
    }


def _order(event_type: EventType, fields: Fields, lines: LineItems) -> dict[str, Any]:
    """The order, its value without tax and shipping, and its currency."""
    if event_type == "refund":
        order, name = fields.first_child(f"{ENTITY}refund_1"), "transaction_id"
        worth = order.amount("refund_amount", is_refund=True)
    elif event_type != "purchase":
        return {}
    elif fields.has(ACTION):
        order, name = fields.first_child(f"{ENTITY}transaction_1"), "transaction_id"
        worth = order.net_amount("revenue", "tax", "shipping")
    else:
        order, name = fields, "tr_orderid"
        worth = order.net_amount("tr_total", "tr_tax", "tr_shipping")
    order_fields: dict[str, Any] = {
        "order_id": order.order_id(name, needed=True),
        "value": lines.order_value(worth, is_refund=event_type == "refund"),
    }
    currency = order.text("currency", "tr_currency")
    return order_fields | ({"currency": currency.upper()} if currency else {})


def _stock(product: Fields) -> bool | None:
    return STOCK.get(normalize_name(product.text("inventory_status") or ""))


def _consent(statement: Fields) -> Consent | None:
    """Consent to everything, to nothing, or to the scopes by their names; a pending statement says
    nothing."""
    answer = statement.text("eventType")
    if answer in CONSENT_STATEMENTS:
        answer_given = CONSENT_STATEMENTS[answer]
        return Consent(analytics=answer_given, personalization=answer_given, ads=answer_given)
    if answer != "allow_selected":
        return None
    purposes = {consent_purpose(scope) for scope in _strings(statement.values.get("consentScopes"))}
    return Consent(
        analytics="analytics" in purposes,
        personalization="personalization" in purposes,
        ads="ads" in purposes,
    )


def _strings(value: object) -> list[str]:
    return [word for word in value if isinstance(word, str)] if isinstance(value, list) else []
