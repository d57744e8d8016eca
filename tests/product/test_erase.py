"""Erasure: whoever is erased is named nowhere, stays erased, and comes back as a stranger.

The folds of all shards alone; what Redis and the disk hold is in `tests/product/test_erase_bytes.py`.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.synthetic.traffic import generate_events
from state import keys
from state.times import DAY_MS
from tests.streams import (
    LATENESS_MS,
    MINUTE_MS,
    START_MS,
    Flow,
    Outcome,
    event,
    facts,
    flow_settings,
    fold,
    run_flow,
    shuffled_within,
    streams,
    view,
)

if TYPE_CHECKING:
    from pathlib import Path

    from state.events import Event


def identify(number: object, at_ms: int, device: str, user: str) -> Event:
    return event("identify", number, at_ms, device, user)


def erase(number: object, at_ms: int, device: str | None = None, user: str | None = None) -> Event:
    return event("erase", number, at_ms, device, user)


TWO_DEVICES = [
    view(1, 0, "d1"),
    identify(2, 10, "d1", "u1"),
    view(3, 20, "d2"),
    identify(4, 30, "d2", "u1"),
]


def names(outcome: Outcome) -> set[str]:
    return {*outcome.shoppers, *outcome.links, *outcome.links.values()}


class TestUser:
    def test_the_user_and_the_links_of_all_devices_go(self) -> None:
        outcome = fold([*TWO_DEVICES, erase(5, 40, user="u1")])
        assert names(outcome) == set()
        assert outcome.totals["erased"] == 1
        writes = [write for one in outcome.visited for write in one.writes]
        assert {("DEL", keys.alias_key(device)) for device in ("d1", "d2")} <= set(writes)
        told = {name for one in outcome.visited for name, _ in one.erased}
        assert told == {"u1", "d1", "d2"}

    def test_a_device_that_comes_back_is_a_stranger(self) -> None:
        outcome = fold([*TWO_DEVICES, erase(5, 40, user="u1"), view(6, 50, "d2")])
        assert names(outcome) == {"d2"}
        assert (outcome.shoppers["d2"].first_ms - START_MS, outcome.shoppers["d2"].known) == (
            50,
            False,
        )

    @pytest.mark.parametrize(
        "late",
        [
            view(9, 39, "d1"),
            view(9, 39, None, user_id="u1"),
            view(9, 40, "d2", user_id="u1"),
            identify(9, 39, "d9", "u1"),
            *TWO_DEVICES,
        ],
    )
    def test_what_was_before_it_does_not_bring_them_back(self, late: Event) -> None:
        for batch_events in (1, 100):
            outcome = fold([*TWO_DEVICES, erase(5, 40, user="u1"), late], batch_events=batch_events)
            assert names(outcome) == set()
            assert outcome.totals["suppressed"] == 1
            assert outcome.totals["accepted"] == 5

    def test_what_comes_after_it_makes_a_new_shopper(self) -> None:
        outcome = fold([*TWO_DEVICES, erase(5, 40, user="u1"), identify(6, 41, "d1", "u1")])
        assert outcome.links == {"d1": "u1"}
        assert (outcome.shoppers["u1"].events, outcome.shoppers["u1"].views) == (1, 0)

    def test_the_same_erasure_again_does_not_reach_the_new_one(self) -> None:
        again = erase(5, 40, user="u1")
        outcome = fold([*TWO_DEVICES, again, identify(6, 41, "d1", "u1"), again])
        assert names(outcome) == {"d1", "u1"}
        assert (outcome.totals["erased"], outcome.totals["duplicates"]) == (1, 1)

    def test_within_one_batch_nothing_is_told_of_them(self) -> None:
        flow = Flow()
        flow.feed([*TWO_DEVICES, erase(5, 40, user="u1"), view(6, 50, "d2")])
        for one in flow.visited:
            assert {click.shopper for click in one.interactions} <= {"d2"}
            assert {click.position for click in one.interactions} <= {5}
            assert {row.shopper for row in one.active} <= {"d2"}


class TestDevice:
    def test_one_alone_never_reaches_its_user(self) -> None:
        outcome = fold([*TWO_DEVICES, erase(5, 40, "d1"), view(6, 50, "d1")])
        assert outcome.links == {"d2": "u1"}
        assert outcome.shoppers.keys() == {"u1", "d1"}
        assert outcome.shoppers["u1"].views == 2

    def test_late_events_do_not_bring_it_back(self) -> None:
        outcome = fold([view(1, 0), erase(2, 10, "ann"), view(3, 5), view(4, 10)])
        assert (names(outcome), outcome.totals["suppressed"]) == (set(), 2)

    def test_a_user_of_the_same_name_is_another(self) -> None:
        of_user = [view(1, 0, None, user_id="ann"), view(3, 5, "b", user_id="ann")]
        outcome = fold([of_user[0], erase(2, 10, "ann"), of_user[1]])
        assert outcome.shoppers["ann"].views == 2


def test_a_tombstone_ends_with_its_days() -> None:
    days = 91 * DAY_MS
    later = [view(3, days, "bob"), view(4, days + DAY_MS, "bob"), view(5, 5)]
    outcome = fold([view(1, 0), erase(2, 10, "ann"), *later], batch_events=1)
    assert outcome.shoppers.keys() == {"ann", "bob"}


@given(
    streams(settled=False),
    st.integers(0, 1000),
    st.sampled_from(["user 0", "user 1"]),
    st.sampled_from([1, 7, 100]),
    st.sampled_from([1, 2]),
)
def test_at_the_end_nothing_is_left_and_nothing_comes_back(
    stream: list[Event], seed: int, user: str, batch_events: int, workers: int
) -> None:
    """Whatever came before, in whatever order, once more after it, and in batches of any size."""
    stream = shuffled_within(stream, LATENESS_MS, seed)
    end_ms = max(one.event_ts for one in stream) - START_MS
    of_user = [one for one in stream if one.user_id == user]
    gone = [*stream, erase("last", end_ms, user=user)]
    outcome = fold([*gone, *of_user], batch_events=batch_events, workers=workers)
    assert user not in names(outcome)
    assert facts(outcome)[:2] == facts(fold(gone))[:2]
    assert outcome.totals["shoppers"] == len(outcome.shoppers)


@given(streams(settled=False, max_events=20), st.integers(1, 20), st.integers(0, 20))
def test_a_resume_anywhere_changes_nothing(stream: list[Event], cut: int, erased: int) -> None:
    end_ms = max(one.event_ts for one in stream) - START_MS
    stream = [*stream[:erased], erase("now", end_ms, user="user 0"), *stream[erased:]]
    flow = Flow()
    flow.feed(stream[:cut])
    flow = flow.resumed()
    flow.feed(stream[cut:])
    flow.feed([], last=True)
    assert facts(flow.outcome()) == facts(fold(stream))


def test_erasures_of_a_batch_cost_what_they_are() -> None:
    """Twice as many take about twice as long: none looks through what all others did."""

    def seconds(n: int) -> float:
        stream = [identify(f"i{k}", k, f"d{k}", f"u{k}") for k in range(n)]
        stream += [view(f"v{k}", n, f"d{k}") for k in range(n)]
        stream += [erase(f"e{k}", n + MINUTE_MS, user=f"u{k}") for k in range(n)]
        flow = Flow()
        began = time.perf_counter()
        flow.feed(stream)
        return time.perf_counter() - began

    few = min(seconds(1000) for _ in range(2))
    assert seconds(4000) < 10 * few


@pytest.mark.parametrize("batch_events", [1, 7, 100, 4096])
def test_everybody_else_is_as_if_who_is_erased_had_never_come(batch_events: int) -> None:
    """Their features, orders, sessions and links; of a user and of a device that never signed in."""
    stream = list(generate_events(events=800, shoppers=30, items=40, events_per_s=0.5))
    users = Counter(one.user_id for one in stream if one.user_id)
    user = users.most_common(1)[0][0]
    of_user = {one.anonymous_id for one in stream if one.user_id == user and one.anonymous_id}
    known = {one.anonymous_id for one in stream if one.user_id}
    visits = Counter(one.anonymous_id for one in stream if one.type == "item_view")
    device = next(name for name, _ in visits.most_common() if name and name not in known)
    gone = {user, device, *of_user}
    end_ms = max(one.event_ts for one in stream) - START_MS
    erased = [*stream, erase("u", end_ms, user=user), erase("d", end_ms, device)]
    others = [one for one in stream if one.user_id not in gone and one.anonymous_id not in gone]
    assert len(stream) - len(others) > 40
    found, wanted = fold(erased, batch_events=batch_events), fold(others)
    assert facts(found)[:2] == facts(wanted)[:2]
    assert len(found.shoppers) > 10
    assert not gone & names(found)
    assert found.totals["shoppers"] == wanted.totals["shoppers"] == len(wanted.shoppers)


@pytest.mark.parametrize("batch_events", [1, 100])
def test_a_user_who_comes_again_at_once_is_in_the_shop(
    batch_events: int, redis_url: str, tmp_path: Path
) -> None:
    """What is removed of whoever was erased is not what is written of the one who came after."""
    back = [
        event("page_view", "before", 0, None, "u1"),
        *(view(f"crowd {n}", n * MINUTE_MS, f"crowd {n}") for n in range(1, 30)),
        event("erase", "gone", 30 * MINUTE_MS, None, "u1"),
        event("page_view", "after", 31 * MINUTE_MS, None, "u1"),
    ]
    rows = run_flow(back, redis_url, tmp_path, settings=flow_settings(batch_events=batch_events))
    assert dict(rows[keys.profile_key("u1")])[b"events"] == b"1"
    assert dict(rows[keys.session_key("u1")])[b"events"] == b"1"
