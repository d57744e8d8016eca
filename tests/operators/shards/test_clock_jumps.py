"""Clock jumps: one row with a wrong clock makes no other row late."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.sources.recorded import RecordedSource
from operators.shards.batching import SourceBatcher
from state.config import Sessions, Settings, Source
from state.events import Event
from state.snapshots import SOURCE_CODEC, SourceState
from tests.operators.readers.test_shop_records import replay
from tests.streams import LATENESS_MS, MINUTE_MS, START_MS

if TYPE_CHECKING:
    from pathlib import Path

    from state.messages import SourceBatch

HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
YEAR_MS = 365 * DAY_MS


class Read(NamedTuple):
    """The result of a recording: late events, the watermark at each event, and how many were held."""

    late: list[str]
    clocks: dict[str, int]
    held: int
    watermark_ms: int


def view(number: object, shopper: str, at_ms: int, received_ms: int | None = None) -> Event:
    at_ms += START_MS
    received_ms = at_ms if received_ms is None else START_MS + received_ms
    return Event(f"{number}", "page_view", at_ms, received_ms, anonymous_id=shopper)


def of(batches: list[SourceBatch], held: int, watermark_ms: int) -> Read:
    late, clocks = [], {}
    for batch in batches:
        for group in batch.shard_inputs:
            for event, clock_ms in zip(group.events, group.watermarks_ms, strict=True):
                clocks[event.event_id] = clock_ms
                if event.event_ts < clock_ms:
                    late.append(event.event_id)
    return Read(sorted(late), clocks, held, watermark_ms)


def recorded(events: list[Event], *, batch_events: int = 7, stop_after: int | None = None) -> Read:
    """A recording read to its end, in a second run from a snapshot if it is stopped."""
    sessions = Sessions(shards=2, allowed_lateness_ms=LATENESS_MS)
    settings = Settings(source=Source(batch_events=batch_events), sessions=sessions)
    state, batches = SourceState(), []
    runs = [stop_after, None] if stop_after else [None]
    for many in runs:
        source = RecordedSource({"log": lambda: iter(events)}, settings)
        part = source.build_part("events", "log", SOURCE_CODEC.encode(state))
        while not state.finished and many != 0:
            batches += part.next_batch()
            state = SOURCE_CODEC.decode(part.snapshot())
            many = None if many is None else many - 1
    return of(batches, state.totals.held, state.watermark_ms)


def visits(
    many: int, *, step_ms: int = 20_000, shoppers: int = 9, start_ms: int = 0
) -> list[Event]:
    """A shop in order, an event of another shopper every `step_ms`."""
    return [
        view(f"{start_ms}-{n}", f"shopper {n % shoppers}", start_ms + n * step_ms)
        for n in range(many)
    ]


ODD = {
    "one far ahead": (30, [view("odd", "fast", 41 * DAY_MS)]),
    "one a day ahead": (30, [view("odd", "fast", DAY_MS)]),
    "the first": (0, [view("odd", "fast", YEAR_MS)]),
    "many of one device in a row": (30, [view(f"odd {n}", "fast", DAY_MS + n) for n in range(40)]),
    "several devices in a row": (
        30,
        [view(f"odd {n}", f"fast {n}", (n + 1) * DAY_MS) for n in range(8)],
    ),
    "the first several": (0, [view(f"odd {n}", f"fast {n}", YEAR_MS + n) for n in range(5)]),
    "a clock ahead in a backfill received today": (
        30,
        [view("odd", "fast", 3 * YEAR_MS, received_ms=2 * YEAR_MS)],
    ),
}


@pytest.mark.parametrize("batch_events", [1, 7, 1000])
@pytest.mark.parametrize("odd", ODD)
def test_rows_with_a_wrong_clock_make_no_event_late_and_are_counted(
    odd: str, batch_events: int
) -> None:
    at, rows = ODD[odd]
    usual = visits(120)
    mixed = [*usual[:at], *rows, *usual[at:]]
    found, without = recorded(mixed, batch_events=batch_events), recorded(usual)
    assert found.late == []
    assert found.held == len(rows)
    assert {name: found.clocks[name] for name in without.clocks} == without.clocks
    assert found.watermark_ms == without.watermark_ms


def test_a_row_with_a_wrong_clock_gets_the_time_of_the_others() -> None:
    usual = visits(60)
    for at in (0, 20):
        records = [*usual[:at], view("odd", "fast", 41 * DAY_MS), *usual[at:]]
        batch = SourceBatcher().batch(
            records, partition="0", shards=1, allowed_lateness_ms=LATENESS_MS, jump_ms=HOUR_MS
        )
        found = {event.event_id: event.event_ts for event in batch.shard_inputs[0].events}
        assert found["odd"] == usual[max(0, at - 1)].event_ts
        del found["odd"]
        assert found == {event.event_id: event.event_ts for event in usual}


def test_a_log_without_order_of_time_keeps_its_times() -> None:
    shuffled = random.Random(7).sample(visits(400, step_ms=30 * MINUTE_MS), 400)
    batch = SourceBatcher().batch(
        shuffled, partition="0", shards=1, allowed_lateness_ms=LATENESS_MS, jump_ms=HOUR_MS
    )
    assert [event.event_ts for event in batch.shard_inputs[0].events] == [
        e.event_ts for e in shuffled
    ]


def test_a_device_that_is_a_day_ahead_is_corrected_each_time() -> None:
    usual = visits(300)
    mixed = [
        one
        for n, event in enumerate(usual)
        for one in (
            [view(f"odd {n}", "fast", n * 20_000 + DAY_MS), event] if n % 10 == 5 else [event]
        )
    ]
    found = recorded(mixed)
    assert (found.late, found.held) == ([], 30)
    assert found.watermark_ms == recorded(usual).watermark_ms


@pytest.mark.parametrize("pause_ms", [2 * HOUR_MS, 3 * DAY_MS, YEAR_MS])
def test_a_pause_of_the_whole_shop_advances_the_watermark_at_once(pause_ms: int) -> None:
    first = visits(50)
    after = visits(50, start_ms=50 * 20_000 + pause_ms)
    stragglers = [view(f"old {n}", f"offline {n}", 40 * 20_000) for n in range(3)]
    found = recorded([*first, *after[:5], *stragglers, *after[5:]])
    assert found.late == ["old 0", "old 1", "old 2"]
    assert found.held == 0
    assert found.clocks[after[1].event_id] == after[0].event_ts - LATENESS_MS


def test_an_old_first_row_makes_no_event_late() -> None:
    found = recorded([view("odd", "slow", -9 * YEAR_MS), *visits(30)])
    assert (found.late, found.held) == ([], 0)
    assert found.watermark_ms == recorded(visits(30)).watermark_ms


def test_the_watermark_of_a_shop_with_few_visits_advances() -> None:
    found = recorded(visits(40, step_ms=7 * HOUR_MS, shoppers=3))
    assert (found.late, found.held) == ([], 0)
    assert found.watermark_ms == START_MS + 39 * 7 * HOUR_MS - LATENESS_MS


@given(
    st.lists(st.integers(0, 30 * MINUTE_MS), min_size=30, max_size=60),
    st.lists(st.tuples(st.integers(0, 20), st.integers(25, 9999)), max_size=6),
    st.integers(1, 30),
    st.integers(1, 4),
)
def test_lateness_does_not_depend_on_batches_or_a_restart(
    steps: list[int], odd: list[tuple[int, int]], batch_events: int, stop_after: int
) -> None:
    at_ms, stream = 0, []
    for n, step in enumerate(steps):
        at_ms += step
        stream.append(view(n, f"shopper {n % 7}", at_ms))
    for n, (place, hours) in enumerate(sorted(odd)):
        stream.insert(place + n, view(f"odd {n}", f"fast {n % 2}", hours * HOUR_MS))
    whole = recorded(stream, batch_events=1000)
    assert recorded(stream, batch_events=batch_events) == whole
    assert recorded(stream, batch_events=batch_events, stop_after=stop_after) == whole
    assert [name for name in whole.late if not name.startswith("odd")] == []


def live(batches: list[list[Event]]) -> Read:
    clock = SourceBatcher()
    made = [
        clock.batch(
            events,
            partition="0",
            shards=2,
            allowed_lateness_ms=LATENESS_MS,
            jump_ms=HOUR_MS,
            live=True,
        )
        for events in batches
    ]
    return of(made, clock.totals.held, clock.watermark_ms)


@pytest.mark.parametrize("odd", ODD)
def test_a_backfill_through_kafka_follows_the_same_rules(odd: str) -> None:
    at, rows = ODD[odd]
    usual = visits(120)
    before, after = usual[:at], usual[at:]
    for batches in ([[*before, *rows, *after]], [[*before, *rows], after]):
        found = live([batch for batch in batches if batch])
        if len(batches) == 1 or len(rows) == 1:
            assert (found.late, found.held) == ([], len(rows)), batches
        assert [name for name in found.late if name.startswith("odd")] == []


def test_in_a_live_run_the_last_event_waits_for_the_next_batch_or_for_silence() -> None:
    morning = view("m", "early", 10 * HOUR_MS)
    clock: dict[str, Any] = {}
    for name, then in (("silence", []), ("others", [view("n", "bob", 10 * HOUR_MS + 1)])):
        read = live([visits(3), [morning], then])
        clock[name] = read.watermark_ms - START_MS
        assert read.held == 0
    assert clock == {
        "silence": 10 * HOUR_MS - LATENESS_MS,
        "others": 10 * HOUR_MS + 1 - LATENESS_MS,
    }
    odd = live([visits(3), [morning], visits(3, start_ms=90_000)])
    assert (odd.held, odd.late) == (1, [])


def test_in_a_live_run_silence_does_not_confirm_an_event_ahead_of_our_clock() -> None:
    ahead = view("odd", "fast", 23 * HOUR_MS)
    for now_ms, held in ((START_MS + 90_000, 1), (START_MS + DAY_MS, 0)):
        clock = SourceBatcher()
        for events in (visits(3), [ahead], []):
            clock.batch(
                events,
                partition="0",
                shards=1,
                allowed_lateness_ms=LATENESS_MS,
                jump_ms=HOUR_MS,
                live=True,
                now_ms=now_ms,
            )
        assert clock.totals.held == held
        newest_ms = 40_000 if held else 23 * HOUR_MS
        assert clock.watermark_ms == START_MS + newest_ms - LATENESS_MS


def test_the_report_counts_events_with_a_wrong_clock(redis_url: str, tmp_path: Path) -> None:
    usual = visits(60)
    odd = view("odd", "fast", 9 * DAY_MS)
    log = tmp_path / "log"
    records = [*usual[:20], odd, *usual[20:]]
    lines = (
        {
            "event_id": e.event_id,
            "type": e.type,
            "event_ts": e.event_ts,
            "anonymous_id": e.anonymous_id,
        }
        for e in records
    )
    log.write_text("\n".join(map(json.dumps, lines)))
    found = replay(log, "penstock", redis_url, tmp_path)
    assert (found["held"], found["late"], found["sessions_opened"]) == (1, 0, 10)
    assert found["watermark_ms"] == usual[-1].event_ts - LATENESS_MS
