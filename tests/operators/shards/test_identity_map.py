"""Identity: a device that identifies becomes its user, and its shopper is merged into the user."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.shards.identity_map import IdentityMap
from state import keys
from state.entries import MergedShopper
from state.times import DAY_MS
from tests.streams import (
    GAP_MS,
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
    from state.messages import Write


def identify(event_id: object, at_ms: int, device: str = "ann", user: str = "u") -> Event:
    return event("identify", event_id, at_ms, device, user)


def writes(flow: Flow) -> list[Write]:
    return [
        write for visited in flow.visited for write in (*visited.removal_writes, *visited.writes)
    ]


def test_an_anonymous_shopper_is_its_anonymous_id() -> None:
    outcome = fold([view(1, 0)])
    assert [(name, s.known) for name, s in outcome.shoppers.items()] == [("ann", False)]
    assert outcome.links == {}


def test_a_first_identification_merges_the_device_into_the_user() -> None:
    """Counters add, firsts are the first, lasts the last, the running sessions become one."""
    history = [view(1, 0, None, user_id="u"), view(2, 10 * MINUTE_MS), view(3, 20 * MINUTE_MS)]
    outcome = fold([*history, identify(4, 25 * MINUTE_MS)])
    as_user = [msgspec.structs.replace(one, user_id="u") for one in history]
    assert outcome.shoppers == fold([*as_user, identify(4, 25 * MINUTE_MS)]).shoppers
    (user,) = outcome.shoppers.values()
    assert (user.known, user.views, user.sessions, len(user.open_sessions)) == (True, 3, 1, 1)
    assert (user.first_ms, user.last_ms) == (START_MS, START_MS + 25 * MINUTE_MS)
    assert outcome.links == {"ann": "u"}
    assert (outcome.totals["merges"], outcome.totals["shoppers"]) == (1, 1)


def test_the_keys_of_the_device_are_deleted_and_an_alias_is_written() -> None:
    flow = Flow()
    flow.feed([view(1, 0)])
    flow.feed([identify(2, MINUTE_MS)])
    commands = writes(flow)
    assert ("DEL", *own_keys("ann")) in commands
    assert ("SET", keys.alias_key("ann"), "u", "EX", 180 * 86_400) in commands
    assert [one for v in flow.visited for one in v.merged] == [
        MergedShopper("ann", "u", START_MS + MINUTE_MS)
    ]


def own_keys(name: str) -> list[str]:
    return [key(name) for key in (keys.profile_key, keys.session_key, keys.segments_key)] + [
        keys.top_key(name, keys.SLOT)
    ]


@pytest.mark.parametrize("partition_of_identify", ["0", "1"])
def test_keys_that_a_killed_run_wrote_for_the_device_are_deleted_in_any_order_of_partitions(
    partition_of_identify: str,
) -> None:
    """The killed run read the visit first; this one the identification, and never knew the visitor."""
    flow = Flow()
    flow.feed([identify(2, MINUTE_MS)], partition=partition_of_identify, partitions=2)
    flow.feed([view(1, 0)], partition="0", partitions=2)
    told = [arguments(write) for write in writes(flow)]
    assert ("DEL", *own_keys("ann")) in told
    assert not {key for command, key, *_ in told if command != "DEL"} & set(own_keys("ann"))
    assert flow.outcome().shoppers.keys() == {"u"}


def test_what_the_device_did_in_the_same_batch_is_put_out_as_the_users() -> None:
    """So that no model learns from clicks of a shopper that is gone."""
    flow = Flow()
    bought = event("purchase", 2, 1, items=(ITEMS[1],), order_id="7", value=5.0)
    flow.feed([view(1, 0), bought, view(3, 2, "bob"), identify(4, 3)])
    clicks = sorted(
        (click.position, click.shopper) for v in flow.visited for click in v.interactions
    )
    assert clicks == [(0, "u"), (1, "u"), (2, "bob")]
    assert [one.shopper for visited in flow.visited for one in visited.orders] == ["u"]


def test_later_events_of_the_device_are_the_users() -> None:
    outcome = fold([identify(1, 0), view(2, MINUTE_MS), view(3, 60 * MINUTE_MS)])
    assert {name: s.events for name, s in outcome.shoppers.items()} == {"u": 3}


def test_a_user_on_two_devices_is_one_shopper() -> None:
    stream = [view(1, 0, "phone"), view(2, 1, "laptop")]
    stream += [identify(3, 2, "phone"), identify(4, 3, "laptop"), view(5, 4, "phone")]
    outcome = fold(stream)
    assert {name: (s.events, s.sessions) for name, s in outcome.shoppers.items()} == {"u": (5, 1)}
    assert outcome.totals["merges"] == 2


def test_any_event_that_carries_both_ids_identifies() -> None:
    outcome = fold([view(1, 0), view(2, 1, user_id="u")])
    assert {name: s.views for name, s in outcome.shoppers.items()} == {"u": 2}


def test_a_device_of_one_user_that_identifies_as_another_is_counted_not_merged() -> None:
    outcome = fold([view(1, 0), identify(2, 1), identify(3, 2, user="v"), view(4, 3)])
    assert {name: s.events for name, s in outcome.shoppers.items()} == {"u": 2, "v": 2}
    assert (outcome.totals["identity_conflicts"], outcome.totals["merges"]) == (1, 1)
    assert outcome.links == {"ann": "v"}


def test_an_order_or_event_counted_for_the_device_is_not_counted_again_for_the_user() -> None:
    bought = event("purchase", 1, 0, order_id="7", value=5.0)
    outcome = fold([bought, identify(2, 1), bought, event("purchase", 3, 2, order_id="7", value=5)])
    assert outcome.shoppers["u"].purchases == 1
    assert (outcome.totals["accepted"], outcome.totals["duplicates"]) == (2, 2)


def test_the_alias_is_written_again_on_each_day_with_an_event() -> None:
    links = IdentityMap()
    at = [0, 5, DAY_MS, DAY_MS + 5]
    known = [links.resolve(identify(n, when - START_MS)) for n, when in enumerate(at)]
    assert [one is not None and one.alias_needs_refresh for one in known] == [
        True,
        False,
        True,
        False,
    ]
    assert [one is not None and one.is_new_link for one in known] == [True, False, False, False]


@given(streams(), st.sampled_from([1, 3, 7]), st.sampled_from([1, 2, 3]))
def test_the_result_does_not_depend_on_batches_or_workers(
    stream: list[Event], batch_events: int, workers: int
) -> None:
    outcome = fold(stream, batch_events=batch_events, workers=workers)
    assert facts(outcome) == facts(fold(stream))


@given(streams(), st.integers(0, 9), st.sampled_from([1, 3, 7]))
def test_the_result_does_not_depend_on_batches_where_events_are_late(
    stream: list[Event], seed: int, batch_events: int
) -> None:
    arrived = shuffled_within(stream, 3 * GAP_MS, seed)
    assert facts(fold(arrived, batch_events=batch_events)) == facts(fold(arrived))


@given(streams(step_ms=LATENESS_MS, max_events=12), st.integers(0, 9), st.sampled_from([1, 7]))
def test_identification_may_come_before_or_after_the_events_of_the_device(
    stream: list[Event], seed: int, batch_events: int
) -> None:
    """The span of the stream is short, so that no session has ended when it comes."""
    stream = [one for one in stream if one.event_ts < START_MS + GAP_MS]
    arrived = shuffled_within(stream, LATENESS_MS, seed)
    assert _but_merges(arrived, batch_events) == _but_merges(stream, 4096)


def _but_merges(stream: list[Event], batch_events: int) -> object:
    """Facts without the counts that depend on whether a device was seen before it identified."""
    shoppers, links, totals = facts(fold(stream, batch_events=batch_events))
    return shoppers, links, {name: count for name, count in totals.items() if name != "merges"}
