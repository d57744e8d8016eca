"""The same visit, as each sender writes it, gives the same profile."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from operators.readers.registry import READERS
from state import keys
from tests.operators.readers.records import NOW_MS, TEN_MS, minute_times, track_call
from tests.streams import run_flow

if TYPE_CHECKING:
    from pathlib import Path


def segment_visit() -> list[Any]:
    mug = {"product_id": "mug", "price": 18.99, "category": "Kitchen/Mugs", "quantity": 2}
    order = {"order_id": "o", "total": 49.48, "tax": 7, "shipping": 4.5, "products": [mug]}
    back = {"order_id": "o", "revenue": 18.99}
    known = {"userId": "ann"}
    return [
        {"type": "page", "messageId": "1", "anonymousId": "v", **minute_times(0)},
        track_call("Product Viewed", mug, messageId="2", anonymousId="v", **minute_times(1)),
        {"type": "identify", "messageId": "3", "anonymousId": "v", **known, **minute_times(2)},
        track_call("Product Added", mug, messageId="4", anonymousId="v", **minute_times(3)),
        track_call(
            "Order Completed", order, messageId="5", anonymousId="v", **known, **minute_times(4)
        ),
        track_call(
            "Order Completed", order, messageId="5", anonymousId="v", **known, **minute_times(4)
        ),
        track_call(
            "Order Refunded", back, messageId="6", anonymousId="v", **known, **minute_times(5)
        ),
        track_call("Order Completed", {}, messageId="7", anonymousId="v", **minute_times(5)),
    ]


def posthog_visit() -> list[Any]:
    def captured(uuid: str, event: str, minute: int, user: str = "ann", **more: Any) -> Any:
        name = {"uuid": uuid, "event": event, "distinct_id": user}
        more = {"$device_id": "v", **more}
        return {**name, "timestamp": f"2026-03-01T10:{minute:02}:00Z", "properties": more}

    mug: dict[str, Any] = {"product_id": "mug", "price": 18.99, "quantity": 2}
    mug["category"] = "Kitchen/Mugs"
    batch = [
        captured("1", "$pageview", 0, "v"),
        captured("2", "Product Viewed", 1, "v", **mug),
        captured("3", "$identify", 2, "ann", **{"$anon_distinct_id": "v"}),
        captured("4", "Product Added", 3, "ann", **mug),
        captured("5", "Order Completed", 4, order_id="o", revenue=37.98, products=[mug]),
        captured("5", "Order Completed", 4, order_id="o", revenue=37.98, products=[mug]),
        captured("6", "Order Refunded", 5, order_id="o", revenue=18.99),
        captured("7", "Order Completed", 5),
    ]
    return [{"api_key": "phc", "batch": batch}]


def ga4_visit() -> list[Any]:
    mug = {"item_id": "mug", "price": 18.99, "quantity": 2}
    mug |= {"item_category": "Kitchen", "item_category2": "Mugs"}
    order = {"transaction_id": "o", "value": 37.98, "tax": 7, "shipping": 4.5, "items": [mug]}

    def happened(name: str, minute: int, params: dict[str, Any]) -> Any:
        micros = (TEN_MS + minute * 60_000) * 1000
        return {"name": name, "timestamp_micros": micros, "params": params}

    anonymous = [happened("page_view", 0, {}), happened("view_item", 1, {"items": [mug]})]
    known = [
        happened("login", 2, {}),
        happened("add_to_cart", 3, {"items": [mug]}),
        happened("purchase", 4, order),
        happened("purchase", 4, {**order, "coupon": "sent again"}),
        happened("refund", 5, {"transaction_id": "o", "value": 18.99}),
        happened("purchase", 5, {}),
    ]
    return [
        {"client_id": "v", "events": anonymous},
        {"client_id": "v", "user_id": "ann", "events": known},
    ]


def bigquery_visit() -> list[Any]:
    """The rows that the events of the Measurement Protocol become."""
    rows = []
    for request in ga4_visit():
        for n, event in enumerate(request["events"]):
            params = dict(event["params"])
            order = {"transaction_id": params.pop("transaction_id", None)}
            order["purchase_revenue"] = params.pop("value", None)
            order["refund_value"] = order["purchase_revenue"]
            rows.append(
                {
                    "event_name": event["name"],
                    "event_timestamp": str(event["timestamp_micros"]),
                    "batch_event_index": str(n),
                    "user_pseudo_id": "v",
                    "user_id": request.get("user_id"),
                    "items": params.pop("items", []),
                    "ecommerce": order,
                }
            )
    return rows


def snowplow_visit() -> list[Any]:
    vendor = "com_snowplowanalytics_snowplow_ecommerce"
    action, entity = f"unstruct_event_{vendor}_snowplow_ecommerce_action_1", f"contexts_{vendor}_"
    mug = {
        "id": "mug",
        "category": "Kitchen/Mugs",
        "price": 18.99,
        "currency": "EUR",
        "quantity": 2,
    }

    def enriched(number: int, minute: int, kind: str, user: str | None = "ann", **more: Any) -> Any:
        did = {action: {"type": kind}} if kind != "page_view" else {}
        entities = {f"{entity}{name}_1": [value] for name, value in more.items()}
        return {
            "event": "unstruct" if did else kind,
            "event_id": str(number),
            "derived_tstamp": f"2026-03-01T10:{minute:02}:00Z",
            "domain_userid": "v",
            "user_id": user,
            **did,
            **entities,
        }

    order = {"transaction_id": "o", "revenue": 49.48, "tax": 7, "shipping": 4.5}
    back = {"transaction_id": "o", "refund_amount": 18.99}
    return [
        enriched(1, 0, "page_view", None),
        enriched(2, 1, "product_view", None, product=mug),
        enriched(3, 2, "list_click"),
        enriched(4, 3, "add_to_cart", product=mug),
        enriched(5, 4, "transaction", product=mug, transaction=order),
        enriched(5, 4, "transaction", product=mug, transaction=order),
        enriched(6, 5, "refund", refund=back),
        enriched(7, 5, "transaction", product=mug),
    ]


VISITS = {
    "segment": segment_visit,
    "posthog": posthog_visit,
    "ga4": ga4_visit,
    "ga4-bigquery": bigquery_visit,
    "snowplow": snowplow_visit,
}


@pytest.mark.parametrize("sender", VISITS)
def test_a_visit_gives_the_same_profile_in_every_format(
    sender: str, redis_url: str, tmp_path: Path
) -> None:
    format_name = "segment" if sender == "posthog" else sender
    lines = [json.dumps(record).encode() for record in VISITS[sender]()]
    records = list(READERS[format_name](lines, source="log", now_ms=NOW_MS))
    rows = run_flow(records, redis_url, tmp_path)
    assert keys.profile_key("v") not in rows
    assert rows[keys.alias_key("v")] == b"ann"
    profile = {name.decode(): value.decode() for name, value in rows[keys.profile_key("ann")]}
    names = ("views", "carts", "purchases", "revenue", "refunds", "refunded", "sessions", "events")
    assert [profile[name] for name in names] == ["1", "1", "1", "37.98", "1", "18.99", "1", "6"]
    assert profile["top_category"] == "Kitchen/Mugs"
    assert int(profile["first_ms"]) == TEN_MS
    card = dict(rows[keys.card_key("mug")])
    assert (card[b"category"], card[b"price"]) == (b"Kitchen/Mugs", b"18.99")
    meta = dict(rows[keys.meta_key()])
    assert (meta[b"events"], meta[b"accepted"], meta[b"duplicates"]) == (b"8", b"6", b"1")
    assert json.loads(meta[b"rejected"]) == {"empty_order_id": 1}
