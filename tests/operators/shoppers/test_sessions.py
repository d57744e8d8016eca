"""Sessions: runs of a shopper's events with no gap above 30 minutes, in event time."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.shoppers import sessions
from state.shopper import Session, Shopper
from tests.streams import (
    GAP_MS,
    LATENESS_MS,
    MINUTE_MS,
    START_MS,
    Flow,
    arguments,
    facts,
    fold,
    shuffled_within,
    streams,
    view,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from state.events import Event
    from tests.streams import Outcome


def naive(stream: Sequence[Event]) -> dict[str, list[list[int]]]:
    """Event times of every shopper, sorted and cut where they are more than the gap apart."""
    times: dict[str, list[int]] = {}
    for one in stream:
        times.setdefault(one.user_id or one.anonymous_id or "", []).append(one.event_ts)
    runs: dict[str, list[list[int]]] = {}
    for shopper, of_shopper in times.items():
        of_shopper.sort()
        runs[shopper] = [[of_shopper[0]]]
        for before, at in pairwise(of_shopper):
            if at - before > GAP_MS:
                runs[shopper].append([])
            runs[shopper][-1].append(at)
    return runs


def expected(
    stream: Sequence[Event],
) -> dict[str, tuple[int, int, int, list[tuple[int, int, int]]]]:
    """Of each shopper: sessions, their length, events in them, and those not closed at the end."""
    watermark_ms = max(one.event_ts for one in stream) - LATENESS_MS
    return {
        shopper: (
            len(runs),
            sum(run[-1] - run[0] for run in runs),
            sum(map(len, runs)),
            [(run[0], run[-1], len(run)) for run in runs if run[-1] + GAP_MS >= watermark_ms],
        )
        for shopper, runs in naive(stream).items()
    }


def found(outcome: Outcome) -> dict[str, tuple[int, int, int, list[tuple[int, int, int]]]]:
    return {
        name: (
            shopper.sessions,
            shopper.session_ms,
            shopper.session_events,
            [
                (session.start_ms, session.last_ms, session.events)
                for session in shopper.open_sessions
            ],
        )
        for name, shopper in outcome.shoppers.items()
    }


def of_ann(*minutes: float) -> list[Event]:
    return [view(n, round(at * MINUTE_MS)) for n, at in enumerate(minutes)]


@given(streams(users=0))
def test_sessions_equal_an_independent_count(stream: list[Event]) -> None:
    outcome = fold(stream, batch_events=5)
    assert found(outcome) == expected(stream)
    runs = [run for runs in naive(stream).values() for run in runs]
    watermark_ms = max(one.event_ts for one in stream) - LATENESS_MS
    assert outcome.totals["sessions_opened"] == len(runs)
    assert outcome.totals["sessions_closed"] == sum(r[-1] + GAP_MS < watermark_ms for r in runs)


@given(streams(users=0), st.integers(0, 9), st.sampled_from([1, 7, 4096]))
def test_sessions_do_not_depend_on_order_within_the_lateness(
    stream: list[Event], seed: int, batch_events: int
) -> None:
    arrived = shuffled_within(stream, LATENESS_MS, seed)
    outcome = fold(arrived, batch_events=batch_events)
    assert found(outcome) == expected(stream)
    assert facts(outcome) == facts(fold(stream))
    assert outcome.totals["late"] == 0


def test_a_gap_of_exactly_half_an_hour_does_not_split() -> None:
    (ann,) = fold(of_ann(0, 30, 60)).shoppers.values()
    assert (ann.sessions, ann.session_ms) == (1, 60 * MINUTE_MS)
    (ann,) = fold([*of_ann(0, 30, 60), view("x", 90 * MINUTE_MS + 1)]).shoppers.values()
    assert (ann.sessions, ann.session_ms) == (2, 60 * MINUTE_MS)


def test_there_is_no_longest_session() -> None:
    (ann,) = fold(of_ann(*range(0, 2000, 29))).shoppers.values()
    assert ann.sessions == 1


def test_two_sessions_that_an_event_joins_become_one() -> None:
    apart = of_ann(0, 31, 60, 64)
    outcome = fold([apart[0], apart[1]])
    assert outcome.totals["sessions_opened"] == 2
    middle = view("middle", 29 * MINUTE_MS)
    outcome = fold([apart[0], apart[1], middle], batch_events=1)
    (ann,) = outcome.shoppers.values()
    assert [(s.start_ms, s.last_ms, s.events) for s in ann.open_sessions] == [
        (START_MS, START_MS + 31 * MINUTE_MS, 3)
    ]
    assert (ann.sessions, outcome.totals["sessions_opened"]) == (1, 1)


def test_a_session_keeps_its_id_while_it_goes_on() -> None:
    ids = []
    flow = Flow()
    for one in of_ann(0, 10, 20):
        flow.feed([one])
        written = [arguments(write) for v in flow.visited for write in v.writes]
        ids += [write[write.index("id") + 1] for write in written if "id" in write]
    assert set(ids) == {f"ann:{START_MS}"}


def test_a_late_event_counts_in_the_profile_but_not_in_a_closed_session() -> None:
    """Ann's session of minute 0 has ended by the watermark; another shopper drove it there."""
    bob = view("bob", 40 * MINUTE_MS, "bob")
    late = view("late", 5 * MINUTE_MS)
    outcome = fold([*of_ann(0), bob, late])
    ann = outcome.shoppers["ann"]
    assert (ann.events, ann.views, ann.late) == (2, 2, 1)
    assert (ann.sessions, ann.session_events, ann.session_ms) == (1, 1, 0)
    assert (outcome.totals["late"], outcome.totals["sessions_opened"]) == (1, 2)


def test_a_late_event_joins_a_session_that_still_goes_on() -> None:
    bob = view("bob", 20 * MINUTE_MS, "bob")
    outcome = fold([*of_ann(0, 10), bob, view("late", 5 * MINUTE_MS)])
    ann = outcome.shoppers["ann"]
    assert (ann.sessions, ann.session_events, ann.late) == (1, 3, 1)


@given(streams(users=0, devices=2), st.integers(0, 9), st.sampled_from([1, 3, 7]))
def test_late_events_do_not_depend_on_batches(
    stream: list[Event], seed: int, batch_events: int
) -> None:
    arrived = shuffled_within(stream, 4 * GAP_MS, seed)
    outcome = fold(arrived, batch_events=batch_events)
    assert facts(outcome) == facts(fold(arrived))
    assert {n: s.events for n, s in outcome.shoppers.items()} == {
        n: s.events for n, s in fold(stream).shoppers.items()
    }
    clock_ms = late = 0
    for one in arrived:
        late += one.event_ts < clock_ms
        clock_ms = max(clock_ms, one.event_ts - LATENESS_MS)
    assert outcome.totals["late"] == late


@settings(max_examples=200)
@given(
    st.lists(st.integers(0, 400), max_size=12),
    st.lists(st.integers(0, 400), max_size=12),
    st.integers(0, 9),
)
def test_merged_shoppers_have_the_sessions_of_one(
    ours: list[int], theirs: list[int], seed: int
) -> None:
    """While nothing has ended; the order in which the two came to their sessions does not matter."""

    def shopper(times: list[int]) -> Shopper:
        one = Shopper(False, 0, 0)
        for at in times:
            session = sessions.add_event(one, at, gap_ms=20, watermark_ms=0)
            assert session is not None
            session.events += 1
        return one

    random.Random(seed).shuffle(ours)
    merged, together = shopper(ours), shopper(ours + theirs)
    sessions.merge(merged, shopper(theirs), gap_ms=20, at_ms=0)
    assert merged == together


@pytest.mark.parametrize("closed", [False, True])
def test_a_session_that_ended_before_the_merge_stays_apart(closed: bool) -> None:
    """Whether its batch has closed it yet must not show."""
    user, device = Shopper(True, 0, 0), Shopper(False, 0, 0)
    user.open_sessions = [Session(0, 100), Session(300, 300)]
    device.open_sessions = [] if closed else [Session(10, 20)]
    user.sessions, device.sessions = 2, 1
    sessions.merge(user, device, gap_ms=50, at_ms=140)
    assert user.sessions == 3
    assert [s for s in user.open_sessions if s.last_ms > 20] == [Session(0, 100), Session(300, 300)]
