"""Usual enriched events of Snowplow, see `operators.readers.snowplow`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from operators.events.validation import TYPES_WITH_ITEMS
from operators.readers import snowplow as adapter
from operators.readers.common_fields import custom_props
from operators.readers.fast.items import line_item
from operators.readers.fast.values import (
    UnusualRecordError,
    campaign,
    category_path,
    event_id,
    event_times,
    first_text,
    item_id,
    item_tuple,
    lower_text,
    net_amount,
    normalized_name,
    order_id,
    page,
    person_id,
    text,
    upper_text,
)
from state.events import NO_PROPS, Event, EventType

if TYPE_CHECKING:
    from state.events import Item

Given = msgspec.Raw | msgspec.UnsetType
"""A column whose presence makes a record unusual."""


class SnowplowProduct(msgspec.Struct, gc=False):
    """A product entity."""

    id: str | None = None
    category: str | None = None
    brand: str | None = None
    name: str | None = None
    price: float | None = None
    quantity: float | None = None
    position: int | None = None
    currency: str | None = None
    inventory_status: str | None = None
    url: str | None = None
    image_url: str | None = None


class SnowplowAction(msgspec.Struct, gc=False):
    """An e-commerce action."""

    type: str
    name: str | None = None


class SnowplowTransaction(msgspec.Struct, gc=False):
    """A transaction entity."""

    transaction_id: str | None = None
    revenue: float | None = None
    tax: float | None = None
    shipping: float | None = None
    currency: str | None = None
    tr_currency: str | None = None


class SnowplowSearch(msgspec.Struct, gc=False):
    """A search."""

    terms: list[str]


class SnowplowCart(msgspec.Struct, gc=False):
    """A cart entity."""

    cart_id: str | None = None


class SnowplowSession(msgspec.Struct, gc=False):
    """The session of a mobile tracker."""

    user_id: str | None = msgspec.field(default=None, name="userId")


def _column(name: str, default: Any = None) -> Any:
    return msgspec.field(name=name, default=default)


class EnrichedEvent(msgspec.Struct, gc=False):
    """An enriched event."""

    event: str
    event_id: str | None = None
    event_name: str | None = None
    collector_tstamp: str | None = None
    dvce_created_tstamp: str | None = None
    dvce_sent_tstamp: str | None = None
    derived_tstamp: str | None = None
    domain_userid: str | None = None
    network_userid: str | None = None
    user_id: str | None = None
    page_url: str | None = None
    page_urlpath: str | None = None
    page_referrer: str | None = None
    page_title: str | None = None
    mkt_source: str | None = None
    mkt_medium: str | None = None
    mkt_campaign: str | None = None
    mkt_term: str | None = None
    mkt_content: str | None = None
    dvce_type: str | None = None
    geo_country: str | None = None
    action: SnowplowAction | None = _column(adapter.ACTION)
    search: SnowplowSearch | None = _column(adapter.SEARCH)
    products: list[SnowplowProduct] | None = _column(f"{adapter.ENTITY}product_1")
    transactions: list[SnowplowTransaction] | None = _column(f"{adapter.ENTITY}transaction_1")
    carts: list[SnowplowCart] | None = _column(f"{adapter.ENTITY}cart_1")
    sessions: list[SnowplowSession] | None = _column(adapter.SESSION)
    users: Given = _column(f"{adapter.ENTITY}user_1", msgspec.UNSET)
    added: Given = _column(adapter.ADD, msgspec.UNSET)
    removed: Given = _column(adapter.REMOVE, msgspec.UNSET)
    consent: Given = _column(adapter.CONSENT, msgspec.UNSET)
    true_tstamp: Given = msgspec.UNSET


_decode = msgspec.json.Decoder(EnrichedEvent).decode
_stock = adapter.STOCK.get


def read(raw: bytes, now_ms: int, received_ms: int) -> list[Event]:
    """The event of a record."""
    row = _decode(raw)
    unusual = (row.users, row.added, row.removed, row.consent, row.true_tstamp)
    if any(column is not msgspec.UNSET for column in unusual):
        raise UnusualRecordError
    name, event_type = _name_and_type(row)
    session_id = row.sessions[0].user_id if row.sessions else None
    anonymous_id = person_id(row.domain_userid, session_id, row.network_userid)
    user_id = person_id(row.user_id)
    if anonymous_id is None and user_id is None:
        raise UnusualRecordError
    event_ts, received_ts = event_times(
        row.dvce_created_tstamp,
        row.dvce_sent_tstamp,
        row.collector_tstamp,
        row.derived_tstamp,
        now_ms,
    )
    is_custom = event_type == "custom"
    event = Event(
        event_id=event_id(row.event_id),
        type=event_type,
        event_ts=event_ts,
        received_ts=received_ts,
        anonymous_id=anonymous_id,
        user_id=user_id,
        **({} if is_custom else _shop_fields(event_type, row)),
        page=page(
            text(row.page_url),
            text(row.page_urlpath),
            text(row.page_referrer),
            text(row.page_title),
        ),
        campaign=campaign(
            row.mkt_source, row.mkt_medium, row.mkt_campaign, row.mkt_term, row.mkt_content
        ),
        device=lower_text(row.dvce_type),
        country=upper_text(row.geo_country),
        props=custom_props(name) if is_custom else NO_PROPS,
    )
    return [event]


def _name_and_type(row: EnrichedEvent) -> tuple[str, EventType]:
    name = text(row.event)
    if name is None or name == "transaction":
        raise UnusualRecordError
    if row.action is not None:
        action = text(row.action.type)
        event_type = adapter.ACTIONS.get(action or "", "custom")
        if action is None or action == "checkout_step" or event_type == "refund":
            raise UnusualRecordError
        return action, event_type
    event_type = "page_view" if name == "page_view" else "custom"
    if event_type == "custom" and row.search is not None:
        event_type = "search"
    return (text(row.event_name) or name) if name == "unstruct" else name, event_type


def _shop_fields(event_type: EventType, row: EnrichedEvent) -> dict[str, Any]:
    products: list[SnowplowProduct] = row.products or []
    found = [_item(event_type, product) for product in products]
    fields: dict[str, Any] = {"items": item_tuple(found, is_needed=event_type in TYPES_WITH_ITEMS)}
    currency = first_text(*[product.currency for product in products])
    if event_type == "purchase":
        order = row.transactions[0] if row.transactions else SnowplowTransaction()
        fields["order_id"] = order_id(order.transaction_id, is_needed=True)
        fields["value"] = net_amount(order.revenue, order.tax, order.shipping)
        currency = first_text(order.currency, order.tr_currency, currency)
    elif event_type == "list_view" and row.action is not None:
        fields["list_id"] = text(row.action.name)
    if row.search is not None:
        fields["query"] = " ".join(row.search.terms) or None
    if row.carts:
        fields["cart_id"] = text(row.carts[0].cart_id)
    fields["currency"] = None if currency is None else currency.upper()
    return fields


def _item(event_type: EventType, product: SnowplowProduct) -> Item:
    category, status = product.category, text(product.inventory_status)
    return line_item(
        event_type,
        item_id(product.id),
        () if category is None else category_path(category),
        product.brand,
        product.name,
        product.price,
        product.quantity,
        product.position,
        product.url,
        product.image_url,
        None if status is None else _stock(normalized_name(status)),
    )
