"""The processing of events: duplicates, what is written to Redis, erasures."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import astuple

from operators.shards.config import ProcessorConfig
from operators.shards.interactions import INTERACTION_TYPES
from state import keys
from state.config import Lifecycle, Profiles, Sessions, State
from state.shopper import PERSONALIZATION
from state.times import DAY_MS
from tests.streams import (
    ITEMS,
    LATENESS_MS,
    MINUTE_MS,
    START_MS,
    Flow,
    arguments,
    event,
    facts,
    fold,
    shuffled_within,
    streams,
    view,
)

if TYPE_CHECKING:
    from state.events import Event
    from state.messages import Arguments, ShardOutput, Write


def order(event_id: object, at_ms: int, order_id: str = "7") -> Event:
    return event("purchase", event_id, at_ms, order_id=order_id, value=5.0, items=(ITEMS[1],))


def order_of(shopper: str, event_id: object, at_ms: int) -> Event:
    return event("purchase", event_id, at_ms, shopper, order_id="8", value=5.0, items=(ITEMS[1],))


def writes(visited: list[ShardOutput]) -> list[Arguments]:
    return [arguments(write) for one in visited for write in (*one.removal_writes, *one.writes)]


def lifetimes(visited: list[ShardOutput]) -> set[Write]:
    return {arguments(write) for one in visited for write in one.expiry_writes}


def test_an_event_counts_once() -> None:
    outcome = fold([view(1, 0), view(2, 1), view(1, 0), view(2, 1)], batch_events=3)
    assert outcome.shoppers["ann"].views == 2
    assert (outcome.totals["accepted"], outcome.totals["duplicates"]) == (2, 2)


def test_the_same_event_id_of_another_shopper_is_another_event() -> None:
    outcome = fold([view(1, 0), view(1, 0, "bob")])
    assert outcome.totals["accepted"] == 2


@pytest.mark.parametrize(("others", "views"), [(255, 1), (256, 2)])
def test_the_last_256_event_ids_are_remembered(others: int, views: int) -> None:
    between = [event("search", f"s{n}", 1) for n in range(others)]
    assert fold([view(1, 0), *between, view(1, 0)]).shoppers["ann"].views == views


def test_an_order_counts_once_under_any_event_id() -> None:
    outcome = fold([order(1, 0), order(2, 1), order(3, 2, "8")])
    assert outcome.shoppers["ann"].purchases == 2
    assert outcome.totals["duplicates"] == 1


def test_an_order_id_is_remembered_for_400_days() -> None:
    for days, purchases in ((399, 1), (401, 2)):
        outcome = fold([order(1, 0), order(2, days * DAY_MS)])
        assert outcome.shoppers["ann"].purchases == purchases


def test_what_a_device_did_is_dropped_if_its_user_is_erased_in_the_same_batch() -> None:
    for user, told in (("u1", 0), ("u2", 3)):
        flow = Flow()
        cart = event("cart_remove", 2, 1, "d", items=(ITEMS[2],))
        became = event("identify", 4, 3, "d", "u1")
        erasure = event("erase", 5, 4, None, user)
        flow.feed([view(1, 0, "d"), cart, order_of("d", 3, 2), became, erasure])
        clicks = [one for visited in flow.visited for one in visited.interactions]
        signals = [one for visited in flow.visited for one in visited.feedback]
        orders = [one for visited in flow.visited for one in visited.orders]
        assert len([*clicks, *signals, *orders]) == told + (told > 0)
        assert {one.shopper for one in clicks} | {one.shopper for one in signals} <= {"u1"}
        assert {one.shopper for one in orders} <= {"u1"}


@given(streams(orders_repeat=True), st.data())
def test_every_event_read_is_accepted_or_a_duplicate(
    stream: list[Event], data: st.DataObject
) -> None:
    again = data.draw(st.lists(st.sampled_from(stream), max_size=10))
    arrived = shuffled_within([*stream, *again], 3 * LATENESS_MS, 1)
    outcome = fold(arrived, batch_events=data.draw(st.integers(1, 9)))
    assert outcome.read == len(arrived)
    counted = ("accepted", "duplicates", "suppressed")
    assert outcome.read == sum(outcome.totals[name] for name in counted)
    assert outcome.totals["duplicates"] >= len(again)


@given(streams(), st.data())
def test_an_event_that_comes_twice_changes_nothing(
    stream: list[Event], data: st.DataObject
) -> None:
    """The second copy comes somewhere within the lateness."""
    again = data.draw(st.lists(st.sampled_from(stream), max_size=10))
    arrived = sorted([*stream, *again], key=lambda one: one.event_ts)
    shoppers, links, totals = facts(fold(arrived, batch_events=data.draw(st.integers(1, 9))))
    once = facts(fold(stream))
    assert totals.pop("duplicates") == len(again) + once[2].pop("duplicates")
    assert (shoppers, links, totals) == once


class TestWrites:
    def test_there_is_one_profile_and_one_session_per_shopper_and_batch(self) -> None:
        flow = Flow()
        flow.feed([view(1, 0), view(2, 1), view(3, 2), view(4, 3, "bob")])
        active = [one for visited in flow.visited for one in visited.active]
        assert sorted(who.shopper for who in active) == ["ann", "bob"]
        assert [write[1] for write in writes(flow.visited) if write[0] == "HSET"].count(
            keys.session_key("ann")
        ) == 1
        flow.visited.clear()
        flow.feed([view(5, 4, "bob")])
        assert [who.shopper for visited in flow.visited for who in visited.active] == ["bob"]

    def test_a_user_is_kept_longer_than_an_anonymous_shopper(self) -> None:
        flow = Flow()
        flow.feed([view(1, 0), view(2, 0, None, user_id="u")])
        assert lifetimes(flow.visited) == {
            ("EXPIRE", keys.profile_key("ann"), str(30 * 86_400)),
            ("EXPIRE", keys.profile_key("u"), str(90 * 86_400)),
        }

    @pytest.mark.parametrize(
        ("at_ms", "is_whole"), [(1, False), (MINUTE_MS, False), (DAY_MS, True)]
    )
    def test_a_profile_is_written_whole_once_a_day_and_its_expiry_renewed_each_time(
        self, at_ms: int, is_whole: bool
    ) -> None:
        """Its key may have expired, been evicted or deleted since it was written last."""
        flow = Flow()
        flow.feed([view(1, 0), view(2, 0, None, user_id="u")])
        flow.visited.clear()
        flow.feed([view(3, at_ms), view(4, at_ms, None, user_id="u")])
        both = {keys.profile_key("ann"), keys.profile_key("u")}
        assert {write[1] for write in lifetimes(flow.visited)} == both
        active = [row for visited in flow.visited for row in visited.active]
        assert [("first_ms" in row.profile, row.is_whole) for row in active] == [
            (is_whole,) * 2
        ] * 2

    def test_a_shopper_is_written_whole_after_a_resume(self) -> None:
        """The run before may have written more than its last snapshot knows."""
        flow = Flow()
        flow.feed([view(1, 0), view(2, 0, "bob")])
        flow = flow.resumed()
        for number in (3, 4):
            flow.visited.clear()
            flow.feed([view(number, MINUTE_MS * number)])
            (row,) = [row for visited in flow.visited for row in visited.active]
            assert row.is_whole == (number == 3)

    def test_an_ended_session_is_deleted_from_redis(self) -> None:
        flow = Flow()
        flow.feed([view(1, 0)])
        flow.feed([view(2, 60 * MINUTE_MS, "bob")])
        assert ("DEL", keys.session_key("ann")) not in writes(flow.visited)
        flow.feed([])
        assert writes(flow.visited).count(("DEL", keys.session_key("ann"))) == 1

    def test_active_shoppers_carry_what_they_refuse(self) -> None:
        from state.events import Consent

        flow = Flow()
        no = Consent(personalization=False)
        flow.feed([view(1, 0), event("consent", 2, 0, "bob", consent=no)])
        refused = {who.shopper: who.refused for v in flow.visited for who in v.active}
        assert refused == {"ann": 0, "bob": PERSONALIZATION}

    def test_interactions_are_put_out_item_by_item(self) -> None:
        flow = Flow()
        flow.feed([event("page_view", 1, 0), order(2, 1), view(3, 5)])
        clicks = sorted(
            astuple(click)[:6] for visited in flow.visited for click in visited.interactions
        )
        assert clicks == [
            (1, "ann", ITEMS[1].item_id, "purchase", START_MS + 1, START_MS),
            (2, "ann", ITEMS[1].item_id, "item_view", START_MS + 5, START_MS),
        ]
        assert {"item_view", "cart_add", "purchase", "wishlist_add"} == INTERACTION_TYPES


class TestErase:
    @pytest.mark.parametrize("known", [False, True])
    def test_an_erasure_removes_everything_of_a_shopper(self, known: bool) -> None:
        user, name = ("u", "u") if known else (None, "ann")
        flow = Flow()
        flow.feed([view(1, 0, user_id=user)])
        flow.feed([event("erase", 2, 1, user_id=user)])
        outcome = flow.outcome()
        assert (outcome.shoppers, outcome.links) == ({}, {})
        assert (outcome.totals["shoppers"], outcome.totals["erased"]) == (0, 1)
        assert outcome.totals["accepted"] == 2
        assert outcome.totals["sessions_closed"] == outcome.totals["sessions_opened"] == 1
        erased = {"ann", name}  # the device too
        found = [one for v in flow.visited for one in v.erased]
        assert sorted(found) == [(one, START_MS + 1) for one in sorted(erased)]
        gone = ("DEL", keys.profile_key(name), keys.session_key(name))
        assert gone in writes(flow.visited)
        assert ("DEL", keys.alias_key("ann")) in writes(flow.visited)

    def test_a_shopper_that_returns_after_an_erasure_is_new(self) -> None:
        outcome = fold([view(1, 0), event("erase", 2, 1), view(1, 2)])
        ann = outcome.shoppers["ann"]
        assert (ann.first_ms - START_MS, ann.views, ann.sessions) == (2, 1, 1)

    def test_the_batch_of_an_erasure_puts_out_nothing_about_the_shopper(self) -> None:
        flow = Flow()
        flow.feed([view(1, 0), order(2, 0), view(3, 0, "bob"), event("erase", 4, 1)])
        told = [one for v in flow.visited for of in (v.active, v.orders) for one in of]
        assert {one.shopper for one in told} == {"bob"}
        assert [click.shopper for v in flow.visited for click in v.interactions] == ["bob"]


def test_the_configuration_is_converted_to_the_units_of_the_steps() -> None:
    rules = ProcessorConfig.from_config(
        Sessions(gap_ms=1000, remembered_event_ids=3),
        Profiles(known_ttl_days=2),
        State(),
        Lifecycle(),
    )
    assert (rules.gap_ms, rules.event_hash_bytes_max, rules.known_ttl_s) == (1000, 24, 172_800)
    assert rules.session_ttl_ms == 61_000


def test_processing_makes_no_reference_cycles() -> None:
    """`flows/runtime/replay.py` turns the cycle collector off."""
    stream = [view(n, n * MINUTE_MS, f"device {n % 20}") for n in range(2000)]
    stream += [event("identify", f"i{n}", 3000, f"device {n}", f"user {n}") for n in range(10)]
    flow = Flow()
    gc.collect()
    gc.disable()
    try:
        for n in range(0, len(stream), 100):
            flow.feed(stream[n : n + 100])
        flow.visited.clear()
        assert gc.collect() < 100
    finally:
        gc.enable()
