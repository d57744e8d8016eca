"""Each format of records as its specification: one purchase as its sender writes it, and the event.

The tables of docs/adapters.md say the same of all fields. Formats of logs: `test_log_formats`.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from operators.events.decode import RecordPosition
from operators.readers.registry import RECORD_READERS
from state.events import Campaign, Consent, Event, Item, Page

NOW_MS = 1_790_000_000_000
TEN_MS = 1_772_359_200_000
TEN = "2026-03-01T10:00:00Z"

PENSTOCK = {
    "event_id": "e-1",
    "type": "purchase",
    "event_ts": "2026-03-01 10:00:00 UTC",
    "anonymous_id": "visitor-7",
    "user_id": "ann",
    "order_id": "o-1",
    "value": "37.98 EUR",
    "currency": "EUR",
    "items": [{"item_id": "mug", "price": 18.99, "quantity": "2", "category": "Kitchen > Mugs"}],
    "device": "phone",
    "consent": {"ads": "no"},
}
SEGMENT = {
    "type": "track",
    "event": "Order Completed",
    "messageId": "e-1",
    "anonymousId": "visitor-7",
    "userId": "ann",
    "originalTimestamp": TEN,
    "sentAt": TEN,
    "receivedAt": TEN,
    "properties": {
        "order_id": "o-1",
        "total": 45.98,
        "tax": 6,
        "shipping": 2,
        "currency": "eur",
        "products": [
            {"product_id": "mug", "price": 18.99, "quantity": 2, "category": "Kitchen/Mugs"}
        ],
    },
    "context": {
        "page": {"url": "https://shop.example/done"},
        "campaign": {"source": "mail"},
        "device": {"type": "Phone"},
        "location": {"country": "DE"},
        "consent": {"categoryPreferences": {"Advertising": False}},
    },
}
POSTHOG = {
    "event": "Order Completed",
    "uuid": "e-1",
    "timestamp": TEN,
    "distinct_id": "ann",
    "properties": {
        "$device_id": "visitor-7",
        "order_id": "o-1",
        "revenue": 37.98,
        "currency": "EUR",
        "products": [
            {"product_id": "mug", "price": 18.99, "quantity": 2, "category": "Kitchen/Mugs"}
        ],
        "$current_url": "https://shop.example/done",
        "utm_source": "mail",
        "$device_type": "Phone",
        "$geoip_country_code": "de",
    },
}
GA4 = {
    "client_id": "visitor-7",
    "user_id": "ann",
    "timestamp_micros": str(TEN_MS * 1000),
    "consent": {"ad_user_data": "DENIED", "ad_personalization": "GRANTED"},
    "device": {"category": "Phone"},
    "user_location": {"country_id": "DE"},
    "events": [
        {
            "name": "purchase",
            "params": {
                "transaction_id": "o-1",
                "value": 37.98,
                "currency": "EUR",
                "items": [
                    {
                        "item_id": "mug",
                        "price": 18.99,
                        "quantity": 2,
                        "item_category": "Kitchen",
                        "item_category2": "Mugs",
                    }
                ],
                "page_location": "https://shop.example/done",
                "source": "mail",
            },
        }
    ],
}
GA4_BIGQUERY = {
    "event_name": "purchase",
    "event_timestamp": str(TEN_MS * 1000),
    "event_bundle_sequence_id": "5",
    "batch_event_index": "1",
    "user_pseudo_id": "visitor-7",
    "user_id": "ann",
    "ecommerce": {"transaction_id": "o-1", "purchase_revenue": 37.98},
    "event_params": [
        {"key": "currency", "value": {"string_value": "EUR"}},
        {"key": "page_location", "value": {"string_value": "https://shop.example/done"}},
    ],
    "items": [
        {
            "item_id": "mug",
            "price": 18.99,
            "quantity": "2",
            "item_category": "Kitchen",
            "item_category2": "Mugs",
        }
    ],
    "collected_traffic_source": {"manual_source": "mail"},
    "device": {"category": "phone"},
    "geo": {"country": "DE"},
    "privacy_info": {"ads_storage": "No"},
}
_ECOMMERCE = "com_snowplowanalytics_snowplow_ecommerce"
SNOWPLOW = {
    "event": "unstruct",
    "event_id": "e-1",
    "domain_userid": "visitor-7",
    "user_id": "ann",
    "dvce_created_tstamp": TEN,
    "dvce_sent_tstamp": TEN,
    "collector_tstamp": TEN,
    f"unstruct_event_{_ECOMMERCE}_snowplow_ecommerce_action_1": {"type": "transaction"},
    f"contexts_{_ECOMMERCE}_transaction_1": [
        {"transaction_id": "o-1", "revenue": 45.98, "tax": 6, "shipping": 2, "currency": "EUR"}
    ],
    f"contexts_{_ECOMMERCE}_product_1": [
        {"id": "mug", "price": 18.99, "quantity": 2, "category": "Kitchen/Mugs"}
    ],
    "page_url": "https://shop.example/done",
    "mkt_source": "mail",
    "dvce_type": "Phone",
    "geo_country": "DE",
}

MUGS = (Item("mug", category=("Kitchen", "Mugs"), price=18.99, quantity=2),)
ORDER: dict[str, Any] = {
    "type": "purchase",
    "event_ts": TEN_MS,
    "received_ts": TEN_MS,
    "anonymous_id": "visitor-7",
    "user_id": "ann",
    "items": MUGS,
    "order_id": "o-1",
    "value": 37.98,
    "currency": "EUR",
    "device": "phone",
}
SHOP: dict[str, Any] = {
    "page": Page(url="https://shop.example/done"),
    "campaign": Campaign(source="mail"),
    "country": "DE",
}
NO_ADS = Consent(ads=False)


@pytest.mark.parametrize(
    ("format_name", "record", "event"),
    [
        ("penstock", PENSTOCK, Event(event_id="e-1", **ORDER, consent=NO_ADS)),
        ("segment", SEGMENT, Event(event_id="e-1", **ORDER, **SHOP, consent=NO_ADS)),
        ("posthog", POSTHOG, Event(event_id="e-1", **ORDER, **SHOP)),
        (
            "ga4",
            GA4,
            Event(event_id="fc8dd984f09a78ebd39ef263281bb12c", **ORDER, **SHOP, consent=NO_ADS),
        ),
        (
            "ga4-bigquery",
            GA4_BIGQUERY,
            Event(event_id="8047dcaea3faf7d81f76b8611f68f2b9", **ORDER, **SHOP, consent=NO_ADS),
        ),
        ("snowplow", SNOWPLOW, Event(event_id="e-1", **ORDER, **SHOP)),
    ],
)
def test_an_order_of_two_mugs_is_the_same_purchase_in_every_format(
    format_name: str, record: dict[str, Any], event: Event
) -> None:
    raw = json.dumps(record).encode()
    results = RECORD_READERS[format_name](raw, RecordPosition("log", "0", 1), now_ms=NOW_MS)
    assert results == [event]
