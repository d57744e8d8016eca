"""How many records a second does a core read, by format?

Records as trackers send them, with page, campaign, device and place: 70 % product views, 14 % pages, 8 %
carts, 5 % searches, 3 % orders of one to three items; the four times that Segment and Snowplow send, six
parameters of an export of BigQuery. Drawn by a seed, none of them equal to another.

`python -m benchmarks.adapters [FORMAT ...]` prints records a second of processor time, the median of
five passes of 20,000 records, all formats in turn.
"""

from __future__ import annotations

import random
import sys
from datetime import UTC, datetime
from statistics import median
from time import process_time
from typing import TYPE_CHECKING, Any

import msgspec

from operators.readers.registry import READERS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

RECORDS = 20_000
PASSES = 5
START_MS = 1_772_359_200_000
NOW_MS = START_MS + 10 * 86_400_000
KINDS = ("view", "page", "cart", "search", "order")
SHARES = (70, 14, 8, 5, 3)

Record = dict[str, Any]


class Draw:
    """What one record is about."""

    def __init__(self, number: int, rng: random.Random) -> None:
        self.number = number
        self.kind = rng.choices(KINDS, SHARES)[0]
        self.at_ms = START_MS + 137 * number
        self.device = f"{rng.randrange(10**9)}.{rng.randrange(10**9)}"
        self.user = f"u-{rng.randrange(5000)}" if rng.random() < 0.3 else None
        self.page = f"/products/mug-{rng.randrange(4000)}"
        count = rng.randint(1, 3) if self.kind == "order" else int(self.kind in ("view", "cart"))
        self.items = [rng.randrange(20_000) for _ in range(count)]
        self.prices = [round(rng.uniform(1, 200), 2) for _ in self.items]

    def time(self, later_ms: int = 0) -> str:
        """The time of the event, or one that is later."""
        at = datetime.fromtimestamp((self.at_ms + later_ms) / 1000, UTC)
        return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def lines(self, price: str = "price", **names: str) -> list[Record]:
        """The items as a format names their fields."""
        return [
            {names.get("id", "id"): f"sku-{item}", names.get("name", "name"): f"Mug {item}"}
            | {names.get("brand", "brand"): f"Brand {item % 90}", price: cost}
            | {names.get("category", "category"): f"Kitchen/Shelf {item % 40}", "quantity": 1}
            for item, cost in zip(self.items, self.prices, strict=True)
        ]

    def total(self) -> float:
        """What the order costs."""
        return round(sum(self.prices), 2)


def segment(draw: Draw) -> Record:
    """A call of the browser library, as a destination receives it."""
    names = {"view": "Product Viewed", "cart": "Product Added", "search": "Products Searched"}
    lines = draw.lines(id="product_id")
    record: Record = {"messageId": f"ajs-{draw.number:032x}", "anonymousId": draw.device} | _user(
        draw, "userId"
    )
    record |= {"channel": "client", "integrations": {}, "version": 2}
    record |= {"originalTimestamp": draw.time(), "sentAt": draw.time(40)}
    record |= {"receivedAt": draw.time(900), "timestamp": draw.time(860)}
    page: Record = {"url": f"https://shop.example{draw.page}", "path": draw.page, "title": "Mugs"}
    page |= {"referrer": "https://search.example/", "search": ""}
    campaign = {"name": "spring", "source": "newsletter", "medium": "email"}
    record["context"] = {"page": page, "campaign": campaign, "ip": "203.0.113.7"}
    record["context"] |= {"userAgent": "Mozilla/5.0 (X11; Linux x86_64)", "locale": "en-IE"}
    record["context"]["library"] = {"name": "analytics.js", "version": "next-1.70.0"}
    if draw.kind == "page":
        return record | {"type": "page", "name": "Mugs", "properties": page}
    record |= {"type": "track", "event": names.get(draw.kind, "Order Completed")}
    if draw.kind == "search":
        return record | {"properties": {"query": "blue mug"}}
    if draw.kind == "order":
        total = {"order_id": f"o-{draw.number}", "revenue": draw.total(), "currency": "EUR"}
        return record | {"properties": total | {"products": lines}}
    return record | {"properties": lines[0] | {"currency": "EUR", "position": 3}}


def posthog(draw: Draw) -> Record:
    """A capture, as the browser library sends it."""
    names = {"view": "Product Viewed", "cart": "Product Added", "search": "Products Searched"}
    properties: Record = {"$device_id": draw.device, "$is_identified": draw.user is not None}
    properties |= {"$current_url": f"https://shop.example{draw.page}", "$pathname": draw.page}
    properties |= {"$referrer": "https://search.example/", "title": "Mugs", "$lib": "web"}
    properties |= {"$device_type": "Desktop", "$browser": "Firefox", "$geoip_country_code": "IE"}
    name = names.get(draw.kind, "Order Completed")
    if draw.kind == "page":
        name = "$pageview"
    elif draw.kind == "search":
        properties["query"] = "blue mug"
    elif draw.kind == "order":
        properties |= {"order_id": f"o-{draw.number}", "revenue": draw.total()}
        properties |= {"currency": "EUR", "products": draw.lines(id="product_id")}
    else:
        properties |= draw.lines(id="product_id")[0] | {"currency": "EUR"}
    record: Record = {"uuid": f"{draw.number:032x}", "event": name, "timestamp": draw.time()}
    return record | {"distinct_id": draw.user or draw.device, "properties": properties}


def ga4(draw: Draw) -> Record:
    """A request of the Measurement Protocol with one event."""
    names = {"view": "view_item", "page": "page_view", "cart": "add_to_cart", "search": "search"}
    params: Record = {"page_location": f"https://shop.example{draw.page}", "page_title": "Mugs"}
    params |= {"page_referrer": "https://search.example/", "session_id": "17"}
    params |= {"engagement_time_msec": 100} | _ga4_shop(draw)
    event: Record = {"name": names.get(draw.kind, "purchase"), "params": params}
    record: Record = {"client_id": draw.device} | _user(draw, "user_id")
    record |= {"timestamp_micros": draw.at_ms * 1000, "device": {"category": "mobile"}}
    return record | {"user_location": {"country_id": "IE"}, "events": [event]}


def ga4_bigquery(draw: Draw) -> Record:
    """A row of the export."""
    names = {"view": "view_item", "page": "page_view", "cart": "add_to_cart", "search": "search"}
    shop: Record = _ga4_shop(draw)
    texts: Record = {"page_location": f"https://shop.example{draw.page}", "page_title": "Mugs"}
    texts |= {"page_referrer": "https://search.example/", "currency": "EUR"}
    texts |= {"search_term": "blue mug"} if draw.kind == "search" else {}
    params = [_param(key, string_value=value) for key, value in texts.items()]
    params += [_param("ga_session_id", int_value="17"), _param("ga_session_number", int_value="2")]
    row: Record = {"event_date": "20260301", "event_timestamp": str(draw.at_ms * 1000 + 456)}
    row |= {"event_name": names.get(draw.kind, "purchase"), "event_params": params}
    row |= {"event_bundle_sequence_id": str(draw.number), "batch_page_id": "1"}
    row |= {"batch_ordering_id": "2", "batch_event_index": "3", "user_id": draw.user}
    row |= {"user_pseudo_id": draw.device, "platform": "WEB", "items": shop.get("items", [])}
    row |= {"privacy_info": {"analytics_storage": "Yes", "ads_storage": "Yes"}}
    row |= {"device": {"category": "desktop", "language": "en"}, "geo": {"country": "Ireland"}}
    row["traffic_source"] = {"name": "(direct)", "medium": "(none)", "source": "(direct)"}
    if draw.kind == "order":
        row["ecommerce"] = {"transaction_id": f"o-{draw.number}", "purchase_revenue": draw.total()}
    return row


def snowplow(draw: Draw) -> Record:
    """An enriched event, as an analytics SDK writes it."""
    vendor = "com_snowplowanalytics_snowplow"
    record: Record = {"app_id": "shop", "platform": "web", "event_id": f"{draw.number:032x}"}
    record |= {"collector_tstamp": draw.time(900), "dvce_created_tstamp": draw.time()}
    record |= {"dvce_sent_tstamp": draw.time(40), "derived_tstamp": draw.time(860)}
    record |= {"etl_tstamp": draw.time(2000), "domain_userid": draw.device}
    record |= _user(draw, "user_id") | {"network_userid": f"n-{draw.device}"}
    record |= {"page_url": f"https://shop.example{draw.page}", "page_urlpath": draw.page}
    record |= {"page_referrer": "https://search.example/", "page_title": "Mugs"}
    record |= {"mkt_source": "newsletter", "mkt_medium": "email", "mkt_campaign": "spring"}
    record |= {"dvce_type": "Mobile", "geo_country": "IE", "useragent": "Mozilla/5.0"}
    if draw.kind == "page":
        return record | {"event": "page_view"}
    record["event"] = "unstruct"
    if draw.kind == "search":
        return record | {f"unstruct_event_{vendor}_site_search_1": {"terms": ["blue", "mug"]}}
    kinds = {"view": "product_view", "cart": "add_to_cart", "order": "transaction"}
    action = f"unstruct_event_{vendor}_ecommerce_snowplow_ecommerce_action_1"
    lines = [line | {"currency": "EUR"} for line in draw.lines()]
    record |= {action: {"type": kinds[draw.kind]}, f"contexts_{vendor}_ecommerce_product_1": lines}
    if draw.kind == "order":
        order = {"transaction_id": f"o-{draw.number}", "revenue": draw.total(), "currency": "EUR"}
        record[f"contexts_{vendor}_ecommerce_transaction_1"] = [order]
    return record


def _ga4_shop(draw: Draw) -> Record:
    if draw.kind == "search":
        return {"search_term": "blue mug"}
    if draw.kind == "page":
        return {}
    names = {"id": "item_id", "name": "item_name", "brand": "item_brand"}
    shop: Record = {"currency": "EUR", "items": draw.lines(category="item_category", **names)}
    order: Record = {"transaction_id": f"o-{draw.number}", "value": draw.total()}
    return shop | (order if draw.kind == "order" else {})


def _param(key: str, **value: str) -> Record:
    empty = dict.fromkeys(("string_value", "int_value", "float_value", "double_value"))
    return {"key": key, "value": empty | value}


def _user(draw: Draw, name: str) -> Record:
    return {} if draw.user is None else {name: draw.user}


MAKERS: dict[str, Callable[[Draw], Record]] = {
    "segment": segment,
    "ga4": ga4,
    "ga4-bigquery": ga4_bigquery,
    "snowplow": snowplow,
    "posthog": posthog,
}


def records(format_name: str, count: int = RECORDS) -> list[bytes]:
    """So many records of a format."""
    rng = random.Random(7)
    make, encode = MAKERS[format_name], msgspec.json.encode
    return [encode(make(Draw(number, rng))) for number in range(count)]


def rates(formats: Sequence[str] = tuple(MAKERS), passes: int = PASSES) -> dict[str, float]:
    """Records a second of processor time, by format."""
    lines = {name: records(name) for name in formats}
    took_s: dict[str, list[float]] = {name: [] for name in formats}
    for _ in range(passes):
        for name in formats:
            began_s = process_time()
            for _ in READERS[name](lines[name], source="s", now_ms=NOW_MS):
                pass
            took_s[name].append(process_time() - began_s)
    return {name: RECORDS / median(took) for name, took in took_s.items()}


if __name__ == "__main__":
    for format_name, rate in rates(sys.argv[1:] or tuple(MAKERS)).items():
        print(f"{format_name}={rate:,.0f} records/s a core")
