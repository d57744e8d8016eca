"""Formats that shops already send, as canonical events: golden records, and rules for all formats.

`tests/adapters/FORMAT/NAME.json` is a record, `NAME.expected.json` all that it gives: events whole, dead
letters by what is wrong.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.events.decode import RecordPosition
from operators.readers import ecommerce, ga4, posthog, segment, snowplow
from operators.readers.records import RecordAdapter
from operators.readers.registry import READERS, RECORD_READERS, record_reader
from operators.readers.values import normalize_name
from state import keys
from state.dead_letters import DeadLetter
from state.errors import ConfigurationError
from state.events import Event
from tests.kafka_runs import Run, send
from tests.shared import shared_case
from tests.streams import run_flow

if TYPE_CHECKING:
    import logging

    from tests.kafka_broker import AnyBroker

NOW_MS = 1_790_000_000_000
GOLDEN = Path(__file__).parents[2] / "adapters"
EXAMPLES = sorted(p for p in GOLDEN.glob("*/*.json") if not p.name.endswith(".expected.json"))
ADAPTERS = sorted({path.parent.name for path in EXAMPLES})
AT = {
    "originalTimestamp": "2026-03-01T10:00:00Z",
    "sentAt": "2026-03-01T10:00:05Z",
    "receivedAt": "2026-03-01T12:00:06Z",
}
TEN_MS = 1_772_359_200_000
TWELVE_MS = TEN_MS + 2 * 3_600_000


def read(format_name: str, record: Any, **more: Any) -> list[Event | DeadLetter]:
    raw = record if isinstance(record, bytes) else json.dumps(record).encode()
    return RECORD_READERS[format_name](raw, RecordPosition("log", "0", 1), now_ms=NOW_MS, **more)


def one(format_name: str, record: Any, **more: Any) -> Event:
    (event,) = read(format_name, record, **more)
    assert isinstance(event, Event), event
    return event


def fault(format_name: str, record: Any) -> tuple[str, str, str]:
    (letter,) = read(format_name, record)
    assert isinstance(letter, DeadLetter), letter
    return letter.failure_type, letter.errors[0].path, letter.errors[0].message


def to_builtins(result: Event | DeadLetter) -> Any:
    if isinstance(result, Event):
        return json.loads(msgspec.json.encode(result))
    return {
        "failure_type": result.failure_type,
        "errors": json.loads(msgspec.json.encode(result.errors)),
    }


def tracked(event: str, properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "type": "track",
        "event": event,
        "messageId": "m",
        "anonymousId": "ann",
        **AT,
        "properties": properties,
        **more,
    }


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_golden_record_gives_the_expected_events(path: Path) -> None:
    expected = json.loads(path.with_suffix(".expected.json").read_text())
    assert [to_builtins(result) for result in read(path.parent.name, path.read_bytes())] == expected


def test_every_adapter_has_golden_records() -> None:
    assert {*ADAPTERS, "penstock"} == set(RECORD_READERS)


def test_a_format_of_files_only_is_refused_for_records() -> None:
    with pytest.raises(
        ConfigurationError, match=r"kafka.format 'rees46' .* choose one of penstock"
    ):
        record_reader("rees46")


@pytest.mark.parametrize("format_name", sorted(RECORD_READERS))
@pytest.mark.parametrize(
    ("raw", "failure_type"),
    [
        (b"", "not_json"),
        (b"?", "not_json"),
        (b'{"a":"\xff"}', "not_json"),
        (b"[" * 200, "not_json"),
        (b"[]", "schema_violation"),
        (b'{"a":"' + b"x" * 1_048_576 + b'"}', "too_large"),
    ],
)
def test_bytes_that_are_no_record_become_one_dead_letter(
    format_name: str, raw: bytes, failure_type: str
) -> None:
    letters = read(format_name, raw)
    (letter,) = letters
    assert isinstance(letter, DeadLetter)
    assert letter.failure_type == failure_type
    assert list(READERS[format_name]([raw], source="log", now_ms=NOW_MS)) == letters


@pytest.mark.parametrize(
    ("missing", "happened_ms", "received_ms"),
    [
        ((), TWELVE_MS + 1000, TWELVE_MS + 6000),
        (("sentAt",), TEN_MS, TWELVE_MS + 6000),
        (("receivedAt",), TEN_MS, TEN_MS),
        (("originalTimestamp",), TWELVE_MS + 6000, TWELVE_MS + 6000),
        (("originalTimestamp", "receivedAt"), TEN_MS + 5000, TEN_MS + 5000),
    ],
)
def test_a_wrong_clock_of_the_device_is_corrected(
    missing: tuple[str, ...], happened_ms: int, received_ms: int
) -> None:
    segment = {k: v for k, v in tracked("x", {}).items() if k not in missing}
    names = {
        "originalTimestamp": "dvce_created_tstamp",
        "sentAt": "dvce_sent_tstamp",
        "receivedAt": "collector_tstamp",
    }
    snowplow = {names[k]: v for k, v in AT.items() if k not in missing}
    for event in (
        one("segment", segment),
        one("snowplow", {"event": "page_ping", "domain_userid": "d", **snowplow}),
    ):
        assert (event.event_ts, event.received_ts) == (happened_ms, received_ms)


def test_an_event_without_a_time_has_the_time_at_which_its_record_was_received() -> None:
    record = {"client_id": "1.2", "events": [{"name": "page_view"}, {"name": "page_view"}]}
    first, second = (
        read("ga4", record, received_ms=TEN_MS),
        read("ga4", record, received_ms=TEN_MS + 1),
    )
    times = [event.event_ts for event in first + second if isinstance(event, Event)]
    assert times == [TEN_MS, TEN_MS, TEN_MS + 1, TEN_MS + 1]
    ids = {event.event_id for event in first + second if isinstance(event, Event)}
    assert len(ids) == 4
    assert read("ga4", record, received_ms=TEN_MS) == first
    assert {to_builtins(letter)["failure_type"] for letter in read("ga4", record)} == {
        "bad_timestamp"
    }


def test_only_the_bad_events_of_a_batch_become_dead_letters() -> None:
    good = tracked("Product Viewed", {"product_id": "mug"})
    bad = {**good, "anonymousId": "guest", "messageId": "n"}
    event, letter = read("segment", {"batch": [good, bad], "writeKey": "k"})
    assert isinstance(event, Event)
    assert isinstance(letter, DeadLetter)
    assert json.loads(letter.raw) == bad
    assert fault("segment", letter.raw.encode()) == (
        "blocked_id",
        "$.anonymousId",
        "'guest' identifies no shopper",
    )


@pytest.mark.parametrize(
    ("properties", "value"),
    [
        ({"revenue": 20, "total": 30, "tax": 4, "shipping": 6}, 20),
        ({"revenue": "20.50"}, 20.5),
        ({"subtotal": 20, "total": 30}, 20),
        ({"total": 30, "tax": 4, "shipping": 6}, 20),
        ({"total": 0.3, "tax": 0.1}, 0.2),
        ({"total": 30}, 30),
        ({"value": 7}, 7),
        ({}, None),
    ],
)
def test_the_value_of_an_order_is_without_tax_and_shipping(
    properties: dict[str, Any], value: float | None
) -> None:
    for name in ("Order Completed", "Order Refunded"):
        assert one("segment", tracked(name, {"order_id": "o", **properties})).value == value


@pytest.mark.parametrize(
    ("properties", "found"),
    [
        ({}, ("empty_order_id", "$.properties.order_id", "an order needs its id")),
        (
            {"order_id": "o", "revenue": "much"},
            ("bad_money", "$.properties.revenue", "not a number: 'much'"),
        ),
        (
            {"order_id": "o", "revenue": 1e13},
            (
                "bad_money",
                "$.properties.revenue",
                "10000000000000.0 is not between 0 and 1000000000000",
            ),
        ),
        (
            {"order_id": "o", "products": [{"product_id": "a", "price": "1,234"}]},
            ("bad_money", "$.properties.products[0].price", "not a number: '1,234'"),
        ),
        (
            {"order_id": "undefined"},
            ("empty_order_id", "$.properties.order_id", "an order needs its id"),
        ),
        (
            {"order_id": "o" * 129},
            ("schema_violation", "$.properties.order_id", "129 characters; at most 128"),
        ),
    ],
)
def test_errors_of_an_order_name_the_fields_of_its_source(
    properties: dict[str, Any], found: tuple[str, str, str]
) -> None:
    assert fault("segment", tracked("Order Completed", properties)) == found


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"anonymousId": None}, ("no_identity", "$", "neither anonymousId nor userId")),
        ({"anonymousId": 1.5}, ("blocked_id", "$.anonymousId", "1.5 identifies no shopper")),
        ({"type": "dance"}, ("unknown_type", "$.type", "unknown type 'dance'")),
        ({"event": ""}, ("schema_violation", "$.event", "a track needs the event's name")),
        (
            {"originalTimestamp": "soon", "sentAt": None, "receivedAt": None},
            ("bad_timestamp", "$.originalTimestamp", "not a date and time: 'soon'"),
        ),
        (
            {"originalTimestamp": None, "sentAt": None, "receivedAt": "2126-03-01T10:00:00Z"},
            ("bad_timestamp", "$.receivedAt", "more than 24 h ahead of the clock"),
        ),
        (
            {"originalTimestamp": "1970-01-01T00:00:00Z", "sentAt": "", "receivedAt": False},
            ("bad_timestamp", "$.originalTimestamp", "before 2000"),
        ),
    ],
)
def test_errors_of_an_event_name_the_fields_of_its_source(
    changed: dict[str, Any], found: tuple[str, str, str]
) -> None:
    assert fault("segment", {**tracked("x", {}), **changed}) == found


def test_event_names_are_read_in_any_case_and_with_any_separator() -> None:
    names = ("Product Viewed", "product viewed", "PRODUCT_VIEWED", "product-viewed")
    kinds = {one("segment", tracked(name, {"product_id": "mug"})).type for name in names}
    assert kinds == {"item_view"}


def test_the_id_of_an_older_bigquery_row_without_a_batch_position_is_a_hash_of_the_row() -> None:
    row = json.loads((GOLDEN / "ga4-bigquery/page_view.json").read_text())
    same = one("ga4-bigquery", {**row, "geo": None}).event_id
    assert same == one("ga4-bigquery", row).event_id
    del row["batch_event_index"]
    assert one("ga4-bigquery", {**row, "geo": None}).event_id != one("ga4-bigquery", row).event_id


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["2026-03-01T10:00:00Z", "Order Completed", "u-5", 10**400, -1, "", "1e400"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("format_name", ADAPTERS)
@given(record=JSON)
def test_any_json_gives_at_least_one_result(format_name: str, record: Any) -> None:
    results = read(format_name, record)
    assert len(results) >= 1
    assert "processing_error" not in {getattr(result, "failure_type", "") for result in results}


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container in a record, with each of its keys."""
    if not isinstance(value, dict | list):
        return []
    keys: Any = value if isinstance(value, dict) else range(len(value))
    return [place for key in keys for place in ((value, key), *places(value[key]))]


def events_in(record: Any) -> int:
    """How many events a record has; a broken one counts once."""
    for name in ("batch", "events"):
        if isinstance(record, dict) and isinstance(record.get(name), list):
            return len(record[name]) or 1
    return 1


@given(data=st.data())
def test_a_golden_record_with_anything_in_any_place_is_accounted_for(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(EXAMPLES))
    record = json.loads(path.read_text())
    for _ in range(data.draw(st.integers(1, 3))):
        if not (found := places(record)):
            break
        container, key = data.draw(st.sampled_from(found))
        container[key] = data.draw(JSON)
    results = read(path.parent.name, record)
    assert len(results) == events_in(record)
    unforeseen = [
        r for r in results if isinstance(r, DeadLetter) and r.failure_type == "processing_error"
    ]
    assert unforeseen == []
    assert results == read(path.parent.name, record)


def at(minute: int) -> dict[str, str]:
    time = f"2026-03-01T10:{minute:02}:00Z"
    return {
        "originalTimestamp": time,
        "sentAt": "2026-03-01T11:00:00Z",
        "receivedAt": "2026-03-01T11:00:00Z",
    }


@pytest.mark.parametrize(
    ("previous", "merges", "aliases"),
    [("v", 1, {"v": "ann"}), ("anonymous", 0, {}), ("00000000-0000", 0, {}), (None, 0, {})],
)
def test_an_alias_merges_an_anonymous_shopper_but_not_a_blocked_id(
    previous: str | None, merges: int, aliases: dict[str, str], redis_url: str, tmp_path: Path
) -> None:
    alias = {"type": "alias", "messageId": "2", "previousId": previous, "userId": "ann", **at(1)}
    looked = tracked("Product Viewed", {"product_id": "mug"}, anonymousId="v", **at(0))
    records = [*read("segment", looked), *read("segment", alias)]
    rows = run_flow(records, redis_url, tmp_path)
    assert json.loads(dict(rows[keys.meta_key()])[b"merges"]) == merges
    found = {key: value.decode() for key, value in rows.items() if key.startswith("ps:1:alias:")}
    assert found == {keys.alias_key(device): user for device, user in aliases.items()}
    views = dict(rows[keys.profile_key("ann")])[b"views"]
    assert views == str(merges).encode()


MADE_UP = "0190c2a1-7f00-7000-8000-00000000aa01"


@pytest.mark.parametrize(
    ("properties", "device", "user"),
    [
        ({"distinct_id": "d-1", "alias": "ann", "$device_id": "d-1"}, "d-1", "ann"),
        ({"distinct_id": "ann", "alias": "d-1", "$device_id": "d-1"}, "d-1", "ann"),
        ({"distinct_id": "d-1", "alias": "ann", "$is_identified": False}, "d-1", "ann"),
        ({"distinct_id": "d-1", "alias": "ann", "$process_person_profile": False}, "d-1", "ann"),
        ({"distinct_id": MADE_UP, "alias": "ann"}, MADE_UP, "ann"),
        ({"distinct_id": "ann", "alias": MADE_UP}, MADE_UP, "ann"),
        ({"distinct_id": MADE_UP, "alias": "old", "$is_identified": True}, "old", MADE_UP),
        ({"distinct_id": "ann", "alias": "d-1", "$device_id": "d-7"}, "d-1", "ann"),
        ({"distinct_id": "ann", "alias": "d-1"}, "d-1", "ann"),
    ],
)
@pytest.mark.parametrize("name", ["$create_alias", "$merge_dangerously"])
def test_of_the_two_ids_of_a_posthog_alias_the_device_joins_the_user(
    name: str, properties: dict[str, Any], device: str, user: str
) -> None:
    capture = {
        "uuid": "1",
        "event": name,
        "timestamp": "2026-03-01T10:00:00Z",
        "properties": properties,
    }
    (found,) = read("segment", {**capture, "distinct_id": properties["distinct_id"]})
    (inner,) = read("segment", capture)
    assert isinstance(found, Event)
    assert isinstance(inner, Event)
    assert (found.type, found.anonymous_id, found.user_id) == ("identify", device, user)
    assert (inner.anonymous_id, inner.user_id) == (device, user)


@pytest.mark.parametrize(
    ("properties", "joins"),
    [
        ({"previousId": "old", "anonymousId": "v"}, "old"),
        ({"anonymousId": "v"}, "v"),
        ({"previousId": "null", "anonymousId": "v"}, "v"),
    ],
)
def test_an_alias_joins_the_previous_id_or_else_the_device(
    properties: dict[str, Any], joins: str
) -> None:
    (found,) = read(
        "segment", {"type": "alias", "messageId": "1", "userId": "ann", **properties, **AT}
    )
    assert isinstance(found, Event)
    assert (found.anonymous_id, found.user_id) == (joins, "ann")


@pytest.mark.parametrize(
    ("case", "shopper", "figures"),
    [
        ("same-id-anonymous-and-user", "abc-1", ("3", "0", "1", "12.00")),
        ("backend-sends-cookie-id", "ann", ("2", "0", "1", "12.00")),
        ("posthog-alias-direction", "some_user", ("1", "1", "1", "12.00")),
    ],
)
def test_an_id_that_is_both_anonymous_and_user_is_one_person(
    case: str, shopper: str, figures: tuple[str, ...], redis_url: str, tmp_path: Path
) -> None:
    lines = shared_case(case).read_bytes().splitlines()
    records = [record for line in lines for record in read("segment", line)]
    rows = run_flow(records, redis_url, tmp_path)
    profiles = {key: dict(row) for key, row in rows.items() if key.endswith("}:profile")}
    profile = profiles.pop(keys.profile_key(shopper))
    fields = ("views", "carts", "purchases", "revenue")
    assert tuple(profile[name.encode()].decode() for name in fields) == figures
    others = {"other"} if case == "same-id-anonymous-and-user" else set()
    assert profiles.keys() == {keys.profile_key(name) for name in others}


def segment_visit() -> list[Any]:
    mug = {"product_id": "mug", "price": 18.99, "category": "Kitchen/Mugs", "quantity": 2}
    order = {"order_id": "o", "total": 49.48, "tax": 7, "shipping": 4.5, "products": [mug]}
    back = {"order_id": "o", "revenue": 18.99}
    known = {"userId": "ann"}
    return [
        {"type": "page", "messageId": "1", "anonymousId": "v", **at(0)},
        tracked("Product Viewed", mug, messageId="2", anonymousId="v", **at(1)),
        {"type": "identify", "messageId": "3", "anonymousId": "v", **known, **at(2)},
        tracked("Product Added", mug, messageId="4", anonymousId="v", **at(3)),
        tracked("Order Completed", order, messageId="5", anonymousId="v", **known, **at(4)),
        tracked("Order Completed", order, messageId="5", anonymousId="v", **known, **at(4)),
        tracked("Order Refunded", back, messageId="6", anonymousId="v", **known, **at(5)),
        tracked("Order Completed", {}, messageId="7", anonymousId="v", **at(5)),
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


def test_a_kafka_record_with_many_events_is_read_once(
    kafka_broker: AnyBroker, tmp_path: Path
) -> None:
    """Offsets count records: the second run continues after the last one, whatever its events."""
    topic = kafka_broker.create_topic("batches", partitions=1)

    def batch(*ids: int) -> bytes:
        events = [tracked("Product Viewed", {"product_id": "mug"}, messageId=str(n)) for n in ids]
        return json.dumps({"batch": [*events, {**events[0], "anonymousId": "null"}]}).encode()

    run = Run(kafka_broker, topic, tmp_path, format="segment")
    for ids in ([1, 2, 3], [4, 5]):
        send(kafka_broker, topic, [batch(*ids)])
        run.until(lambda last=ids[-1]: last in run.ids)  # type: ignore[misc]
    assert run.ids == [1, 2, 3, 4, 5]
    assert [(one.offset, one.failure_type) for one in run.letters] == [
        (0, "blocked_id"),
        (1, "blocked_id"),
    ]
    (tmp_path / "ga4").mkdir()
    topic = kafka_broker.create_topic("untimed", partitions=1)
    run = Run(kafka_broker, topic, tmp_path / "ga4", format="ga4")
    request = {"client_id": "1.2", "events": [{"name": "page_view"}, {"name": "scroll"}]}
    send(kafka_broker, topic, [json.dumps(request).encode()], timestamp_ms=TEN_MS)
    run.until(lambda: any(group.events for batch in run.batches for group in batch.shard_inputs))
    found = [e for batch in run.batches for group in batch.shard_inputs for e in group.events]
    assert [(event.type, event.event_ts) for event in found] == [
        ("page_view", TEN_MS),
        ("custom", TEN_MS),
    ]


DOCS = (Path(__file__).parents[3] / "docs/adapters.md").read_text()


def test_the_tables_of_the_docs_name_every_event_that_has_a_type() -> None:
    named = {normalize_name(word) for word in re.split(r"[|,;`]", DOCS)}
    known = {*ecommerce.TRACK_TYPES, *ecommerce.RECOMMENDATION_TYPES}
    known |= {
        normalize_name(name)
        for name in (
            *ga4.EVENT_TYPES,
            *snowplow.ACTIONS,
            *posthog.SYSTEM_EVENTS,
            *segment.CALL_TYPES,
        )
    }
    assert known - named == set()
    assert [name for name in ADAPTERS if f"| `{name}` |" not in DOCS] == []


def test_the_adapter_in_the_docs_reads(processing_errors: list[logging.LogRecord]) -> None:
    example: dict[str, Any] = {}
    exec(DOCS.split("```python\n")[1].split("```")[0], example)
    till = RecordAdapter("till", example["split"], example["to_event"])

    def sold(*sales: Any) -> list[Any]:
        raw = json.dumps({"at": "2026-03-01T10:00:00Z", "sales": sales}).encode()
        results = till(raw, RecordPosition("log", "0", 1), now_ms=NOW_MS)
        return [
            r.value if isinstance(r, Event) else (r.failure_type, r.errors[0].path) for r in results
        ]

    assert sold({"number": 7, "card": "ann", "gross": 12, "tax": 2}) == [10]
    assert sold({"number": 7, "card": "ann"}, {"card": "ann"}) == [
        None,
        ("empty_order_id", "$.sales[0].number"),
    ]
    (letter,) = till(b"{}", RecordPosition("log", "0", 1), now_ms=NOW_MS)
    assert isinstance(letter, DeadLetter)
    assert (letter.failure_type, letter.errors[0].message) == (
        "processing_error",
        "KeyError: 'sales'",
    )
    assert [record.exc_info is not None for record in processing_errors] == [True]
    processing_errors.clear()


def test_the_catalogue_example_of_the_docs_fills_a_card(redis_url: str, tmp_path: Path) -> None:
    docs = (Path(__file__).parents[3] / "docs/formats.md").read_text()
    lines = [line.encode() for line in docs.split("```json\n")[1].split("```")[0].splitlines()]
    records = list(READERS["penstock"](lines, source="log", now_ms=NOW_MS))
    rows = run_flow(records, redis_url, tmp_path)
    assert {name.decode(): value.decode() for name, value in rows[keys.card_key("mug-1")]} == {
        "name": "Blue mug",
        "category": "Kitchen/Mugs",
        "brand": "Acme",
        "price": "17.49",
        "currency": "EUR",
        "available": "0",
    }
    assert keys.profile_key("catalogue") not in rows
