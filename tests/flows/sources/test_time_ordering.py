"""The external sort: all events of a log in the order of their times, whatever fits into memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flows.sources.time_ordering import sort_by_time
from operators.readers.registry import READERS
from state.events import Event


def event(number: int, at_ms: int) -> Event:
    return Event(str(number), "page_view", at_ms, at_ms, user_id="ann")


def test_dead_letters_come_first_and_events_by_time() -> None:
    (letter,) = READERS["penstock"]([b"?"], source="log", now_ms=0)
    records = [event(1, 30), letter, event(2, 10), event(3, 30), event(4, 20)]
    assert list(sort_by_time(records, run_events=2)) == [
        letter,
        event(2, 10),
        event(4, 20),
        event(1, 30),
        event(3, 30),
    ]


@given(st.lists(st.integers(0, 9)), st.integers(1, 5))
def test_equal_times_keep_their_order(times_ms: list[int], run_events: int) -> None:
    events = [event(number, at_ms) for number, at_ms in enumerate(times_ms)]
    ordered = list(sort_by_time(events, run_events=run_events))
    assert ordered == sorted(events, key=lambda event: event.event_ts)
