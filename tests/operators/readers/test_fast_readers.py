"""A fast reader gives what its adapter gives, or leaves the record to it; usual records it reads itself.

The adapters alone are the reference: they have been held against the documents of the senders.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from benchmarks.adapters import MAKERS, records
from operators.events.decode import RecordPosition
from operators.readers import ga4, segment, snowplow
from operators.readers.records import RecordAdapter
from operators.readers.registry import RECORD_READERS
from state.dead_letters import DeadLetter
from state.events import NO_PROPS, Event
from state.limits import DEFAULT, Limits
from tests.operators.readers.test_mutated_records import NOW_MS, ODD, places, samples, with_odd

ADAPTERS_ALONE = {
    "segment": RecordAdapter("segment", segment.split, segment.to_event),
    "posthog": RecordAdapter("segment", segment.split, segment.to_event),
    "ga4": RecordAdapter("ga4", ga4.split, ga4.to_event),
    "ga4-bigquery": RecordAdapter("ga4-bigquery", ga4.split_row, ga4.row_to_event),
    "snowplow": RecordAdapter("snowplow", snowplow.split, snowplow.to_event),
}
SAMPLES: dict[str, list[dict[str, Any]]] = {
    name: [*map(json.loads, records(name, 30)), *samples("segment" if name == "posthog" else name)]
    for name in MAKERS
}
POSITION = RecordPosition("log", "0", 1)
RARE_FIELDS: list[tuple[str, Any]] = [
    ("url", "https://shop.example/mug"), ("image_url", " x "), ("url", 7), ("image_url", ["x"]),
    ("reco", {"slot": "home"}), ("batch", []), ("distinct_id", "d"), ("$anon_distinct_id", "a"),
    ("previousId", "p"), ("type", "alias"), ("event", "Order Refunded"), ("name", "refund"),
    ("true_tstamp", "2026-03-01T10:00:00Z"), ("timestamp", "2026-03-01 10:00:00.1235"),
    ("sentAt", "2026-03-01T10:00:00+02:00"), ("receivedAt", ""), ("quantity", 2), ("quantity", 0.35),
    ("price", 0), ("price", -0.0), ("price", "12.50"), ("category", "A > B / (none)"), ("brand", 7),
    ("revenue", 0), ("total", 12), ("tax", 20), ("products", {"0": {"product_id": "p"}}),
    ("item_list_index", "(not set)"), ("index", "3"), ("position", 0), ("user_id", "\ufffdx"),
    ("userId", "null"), ("client_id", " c "), ("country", {"code": "ie"}), ("value", "4,245.42"),
    ("event", "transaction"), ("event_timestamp", 1_772_359_200_123_456), ("int_value", 7),
    ("is_guest", True), ("timestamp_micros", "1772359200000000"), ("page_title", None),
    ("transaction_id", " "), ("order_id", "0"), ("string_value", "(direct)"), ("$device_id", "a"),
    ("$is_identified", "false"), ("categoryPreferences", {"Advertising": True, "Marketing": False}),
]  # fmt: skip


def same(format_name: str, raw: bytes, received_ms: int = 0, limits: Limits = DEFAULT) -> None:
    """The reader and the adapter alone give the same, to the type of every number."""
    expected = ADAPTERS_ALONE[format_name](
        raw, POSITION, now_ms=NOW_MS, received_ms=received_ms, limits=limits
    )
    found = RECORD_READERS[format_name](
        raw, POSITION, now_ms=NOW_MS, received_ms=received_ms, limits=limits
    )
    assert [*map(written_out, found)] == [*map(written_out, expected)]


def written_out(result: Event | DeadLetter) -> str:
    """All of a result as text: 1 is not 1.0, and 0.0 not -0.0."""
    if isinstance(result, DeadLetter):
        return repr(result)
    return f"{bytes(result.props)!r} {replace(result, props=NO_PROPS)!r}"


@st.composite
def mutated(draw: st.DrawFn, format_name: str) -> bytes:
    """A record with other values, more fields or fewer, or other bytes, in a few places."""
    record = draw(st.sampled_from(SAMPLES[format_name]))
    where = places(record)
    changes = [
        (draw(st.sampled_from(where)), draw(st.sampled_from(ODD)))
        for _ in range(draw(st.integers(0, 2)))
    ]
    record = with_odd(record, changes)
    for name, value in draw(st.lists(st.sampled_from(RARE_FIELDS), max_size=2)):
        path = draw(st.sampled_from(where))
        inside = [*path[:-1], name] if draw(st.booleans()) else [name]
        record = with_odd(record, [(tuple(inside), value)])
    if draw(st.booleans()):
        _drop(record, draw(st.sampled_from(where)))
    raw = json.dumps(record, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(raw)))
        raw = raw[:at] + draw(st.binary(max_size=2)) + raw[at + draw(st.integers(0, 2)) :]
    return raw


def _drop(record: Any, path: tuple[Any, ...]) -> None:
    """Remove what is at a path, if it is still there."""
    for key in path[:-1]:
        if not isinstance(record, dict | list) or (isinstance(record, dict) and key not in record):
            return
        if isinstance(record, list) and not 0 <= key < len(record):
            return
        record = record[key]
    if isinstance(record, dict):
        record.pop(path[-1], None)


@pytest.mark.parametrize("format_name", MAKERS)
@settings(max_examples=150)
@given(data=st.data())
def test_any_record_gives_what_the_adapter_alone_gives(
    format_name: str, data: st.DataObject
) -> None:
    raw = data.draw(mutated(format_name))
    received_ms = data.draw(st.sampled_from([0, 1_772_359_200_000, NOW_MS]))
    limits = data.draw(st.sampled_from([DEFAULT, Limits(1500, 2)]))
    same(format_name, raw, received_ms, limits)


@pytest.mark.parametrize("format_name", MAKERS)
def test_rare_fields_at_any_place_give_what_the_adapter_alone_gives(format_name: str) -> None:
    for record in SAMPLES[format_name][::25]:
        holders = {path[:-1] for path in places(record)}
        for holder in holders:
            for name, value in RARE_FIELDS:
                changed = with_odd(record, [((*holder, name), value)])
                same(format_name, json.dumps(changed).encode())


@pytest.mark.slow
@pytest.mark.parametrize("format_name", MAKERS)
def test_each_odd_value_at_each_path_gives_what_the_adapter_alone_gives(format_name: str) -> None:
    for record in SAMPLES[format_name]:
        for path in places(record):
            for odd in ODD:
                same(format_name, json.dumps(with_odd(record, [(path, odd)])).encode())
            left = json.loads(json.dumps(record))
            _drop(left, path)
            same(format_name, json.dumps(left).encode())


@pytest.mark.parametrize("format_name", MAKERS)
def test_usual_records_are_read_by_the_fast_reader(format_name: str) -> None:
    reader = RECORD_READERS[format_name]
    assert isinstance(reader, RecordAdapter)
    for raw in records(format_name, 200):
        events = reader.try_fast(raw, NOW_MS, 0, DEFAULT)
        assert events is not None
        assert [type(event) for event in events] == [Event]
        same(format_name, raw)


def test_several_events_of_a_request_are_read_by_the_fast_reader() -> None:
    single = json.loads(records("ga4", 1)[0])
    request = json.dumps(single | {"events": single["events"] * 3}).encode()
    reader = RECORD_READERS["ga4"]
    assert isinstance(reader, RecordAdapter)
    events = reader.try_fast(request, NOW_MS, 0, DEFAULT)
    assert events is not None
    assert len(events) == len({event.event_id for event in events if isinstance(event, Event)}) == 3
    same("ga4", request)


def test_a_field_that_is_there_twice_counts_as_it_is_there_last() -> None:
    for first, last in (("a", 5), (5, "a"), ("a", "b"), ("a", None)):
        raw = records("segment", 1)[0][:-1]
        raw += b',"anonymousId":%s,"anonymousId":%s}' % (
            json.dumps(first).encode(),
            json.dumps(last).encode(),
        )
        same("segment", raw)
