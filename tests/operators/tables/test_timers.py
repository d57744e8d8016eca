"""Timers by name: what is due is found once, at the time it is due."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from operators.tables.timers import Timers
from state.times import MINUTE_MS


@given(
    st.lists(st.tuples(st.integers(0, 5 * MINUTE_MS), st.sampled_from("abcd")), max_size=30),
    st.lists(st.integers(0, 6 * MINUTE_MS), max_size=8),
)
def test_it_gives_what_a_list_of_all_timers_would(
    added: list[tuple[int, str]], asked: list[int]
) -> None:
    timers, pending = Timers(), list(added)
    for due_ms, name in added:
        timers.add(due_ms, name)
    for now_ms in sorted(asked):
        expected = {name for due_ms, name in pending if due_ms < now_ms}
        pending = [(due_ms, name) for due_ms, name in pending if due_ms >= now_ms]
        assert timers.take_due(now_ms) == expected
        assert len(timers) == len(pending)


def test_a_postponed_timer_is_given_at_both_times() -> None:
    timers = Timers()
    timers.add(1000, "ann")
    timers.add(90_000, "ann")
    assert [timers.take_due(now_ms) for now_ms in (1000, 1001, 2000, 90_001)] == [
        set(),
        {"ann"},
        set(),
        {"ann"},
    ]
