"""The canonical workload holds what its description says."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from benchmarks.workload import TYPE_SHARES, TYPES, Workload, cached, chunks
from operators.events.decode import decode_lines
from state.events import Event

if TYPE_CHECKING:
    from pathlib import Path

SMALL = Workload(events=20_000, shoppers=1000, items=400)


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    return b"".join(chunks(SMALL)).splitlines()


@pytest.fixture(scope="module")
def events(lines: list[bytes]) -> list[Event]:
    now_ms = SMALL.start_ms + 2 * SMALL.span_ms
    found = decode_lines(lines, source="w", partition="0", first_offset=0, now_ms=now_ms)
    return [event for event in found if isinstance(event, Event)]


def test_every_line_is_a_good_event_with_an_id_of_its_own(
    lines: list[bytes], events: list[Event]
) -> None:
    assert len(lines) == len(events) == len({e.event_id for e in events}) == SMALL.events
    assert 200 < sum(map(len, lines)) / len(lines) < 300


def test_events_arrive_in_order_and_within_the_disorder(events: list[Event]) -> None:
    arrived = [event.received_ts for event in events]
    assert arrived == sorted(arrived)
    assert {0 <= e.received_ts - e.event_ts <= SMALL.disorder_ms for e in events} == {True}


def test_every_shopper_comes_and_seven_of_ten_are_anonymous(events: list[Event]) -> None:
    anonymous = {event.anonymous_id for event in events} - {None}
    users = {event.user_id for event in events} - {None}
    assert len(anonymous) + len(users) == SMALL.shoppers
    assert len(anonymous) / SMALL.shoppers == pytest.approx(0.7, abs=0.02)


def test_types_come_in_their_shares(events: list[Event]) -> None:
    seen: Counter[str] = Counter(event.type for event in events)
    shares = [seen[name] / SMALL.events for name in TYPES]
    assert shares == pytest.approx(TYPE_SHARES, abs=0.01)
    assert {len(e.items) for e in events if e.type == "purchase"} == {1, 2, 3}


def test_shoppers_and_items_follow_zipfs_law(events: list[Event]) -> None:
    shoppers = Counter(e.user_id or e.anonymous_id for e in events).most_common()
    items = Counter(item.item_id for e in events for item in e.items).most_common()
    for seen in (shoppers, items):
        assert seen[0][1] / seen[9][1] == pytest.approx(10, rel=0.5)


def test_a_workload_is_written_once_and_is_the_same_each_time(tmp_path: Path) -> None:
    path = cached(SMALL, tmp_path / "first")
    written_ns = path.stat().st_mtime_ns
    assert cached(SMALL, tmp_path / "first").stat().st_mtime_ns == written_ns
    assert cached(SMALL, tmp_path / "second").read_bytes() == path.read_bytes()
    assert [name.name for name in path.parent.iterdir()] == [path.name]


def test_fewer_events_than_shoppers_are_refused() -> None:
    with pytest.raises(ValueError, match="10 shoppers need at least as many events"):
        next(chunks(Workload(events=9, shoppers=10)))
