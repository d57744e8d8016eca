"""The time and the id of an event whose record lacks them, or whose device has a wrong clock."""

from __future__ import annotations

import json

import pytest

from state.events import Event
from tests.operators.readers.records import (
    AT,
    GOLDEN,
    TEN_MS,
    TWELVE_MS,
    read,
    read_event,
    to_builtins,
    track_call,
)


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
    segment = {k: v for k, v in track_call("x", {}).items() if k not in missing}
    names = {
        "originalTimestamp": "dvce_created_tstamp",
        "sentAt": "dvce_sent_tstamp",
        "receivedAt": "collector_tstamp",
    }
    snowplow = {names[k]: v for k, v in AT.items() if k not in missing}
    for event in (
        read_event("segment", segment),
        read_event("snowplow", {"event": "page_ping", "domain_userid": "d", **snowplow}),
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


def test_the_id_of_an_older_bigquery_row_without_a_batch_position_is_a_hash_of_the_row() -> None:
    row = json.loads((GOLDEN / "ga4-bigquery/page_view.json").read_text())
    same = read_event("ga4-bigquery", {**row, "geo": None}).event_id
    assert same == read_event("ga4-bigquery", row).event_id
    del row["batch_event_index"]
    assert (
        read_event("ga4-bigquery", {**row, "geo": None}).event_id
        != read_event("ga4-bigquery", row).event_id
    )
