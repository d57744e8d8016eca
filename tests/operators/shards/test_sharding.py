"""Shards: the result depends neither on batches, nor on workers, nor on where a run is resumed."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.segments.rules.compiler import RuleSet
from operators.shards.config import ProcessorConfig
from operators.shards.sharding import join_parts, shard_of, sortable_parts
from state.config import Lifecycle, Profiles, Propensity, Sessions, State
from state.messages import BatchId, ShardOutput, ShardPart
from state.times import DAY_MS
from tests.streams import (
    GAP_MS,
    LATENESS_MS,
    MINUTE_MS,
    SHARDS,
    Flow,
    facts,
    fold,
    shuffled_within,
    streams,
    view,
)
from tests.written import as_read

if TYPE_CHECKING:
    from state.events import Event

SEGMENTS = """
cart-left: {when: {sequence: [event: cart_add, {then no: purchase, within: 30 min}], within: 2 h}}
quiet: {when: {no: any, within: 20 min}}
looks: {when: {event: item_view, count: at least 2, within: 1 h}}
visit: {when: session_events >= 1}
"""
WITH_SEGMENTS = ProcessorConfig.from_config(
    Sessions(shards=SHARDS),
    Profiles(),
    State(),
    Lifecycle(),
    RuleSet.from_text(SEGMENTS, "segments.yaml", gap_ms=GAP_MS),
    propensity=Propensity(sampled_share=1.0),
)


def test_the_sharding_rule_is_frozen() -> None:
    """Stored state is found by it."""
    assert [shard_of(name, 64) for name in ("ann", "bob", "☃", "a" * 128)] == [51, 0, 20, 12]


@given(streams(), st.sampled_from([1, 7, 100]), st.sampled_from([1, 2]))
def test_the_result_does_not_depend_on_batches_or_workers(
    stream: list[Event], batch_events: int, workers: int
) -> None:
    outcome = fold(stream, batch_events=batch_events, workers=workers)
    assert facts(outcome) == facts(fold(stream))


@given(
    streams(settled=False, orders_repeat=True),
    st.sampled_from([0, LATENESS_MS, 3 * GAP_MS]),
    st.sampled_from([1, 3, 7]),
    st.sampled_from([1, 2]),
)
def test_the_result_does_not_depend_on_batches_where_users_share_devices_and_some_are_erased(
    stream: list[Event], disorder_ms: int, batch_events: int, workers: int
) -> None:
    arrived = shuffled_within(stream, disorder_ms, 1)
    outcome = fold(arrived, batch_events=batch_events, workers=workers)
    assert facts(outcome) == facts(fold(arrived))
    counted = ("accepted", "duplicates", "suppressed")
    assert outcome.read == sum(outcome.totals[name] for name in counted)
    assert outcome.totals["shoppers"] == len(outcome.shoppers)


@given(streams(users=0, devices=4), st.data())
def test_one_file_in_several_partitions_gives_the_same_result(
    stream: list[Event], data: st.DataObject
) -> None:
    """Each partition in order, and read at any pace beside the others; the same ids in the same one.

    Only where no device becomes a user: what a user did elsewhere may not have been read yet.
    """
    dealt: dict[str, list[Event]] = {"0": [], "1": [], "2": []}
    for one in stream:
        dealt[str(shard_of(one.anonymous_id or "", 3))].append(one)
    flow = Flow()
    paces = {name: data.draw(st.integers(1, 9)) for name in dealt}
    going = dict.fromkeys(dealt, 0)
    while going:
        name = data.draw(st.sampled_from(sorted(going)))
        batch = dealt[name][going[name] : going[name] + paces[name]]
        flow.feed(batch, partition=name, partitions=3, last=not batch)
        going[name] += len(batch)
        if not batch:
            del going[name]
    assert facts(flow.outcome()) == facts(fold(stream))


@given(streams(users=0, devices=4), st.lists(st.integers(0, 5), min_size=3, max_size=30))
def test_coalesced_batches_of_several_partitions_give_the_same_result(
    stream: list[Event], paces: list[int]
) -> None:
    dealt: dict[str, list[Event]] = {"0": [], "1": [], "2": []}
    for one in stream:
        dealt[str(shard_of(one.anonymous_id or "", 3))].append(one)
    flow = Flow()
    turns = itertools.cycle(paces)
    while any(dealt.values()):
        taken = {name: rest[: next(turns)] for name, rest in dealt.items()}
        if not any(taken.values()):  # all partitions that are left may have taken nothing
            taken = {name: rest[:1] for name, rest in dealt.items()}
        flow.feed_at_once(taken, partitions=3)
        dealt = {name: rest[len(taken[name]) :] for name, rest in dealt.items()}
    flow.feed_at_once(dealt, partitions=3, last=True)
    outcome = flow.outcome()
    assert facts(outcome) == facts(fold(stream))
    assert {one.batch.partition for one in outcome.visited} == {"0"}
    told = {
        name: totals.read for one in outcome.visited for name, totals in one.source_totals.items()
    }
    assert told == {name: clock.totals.read for name, clock in flow.clocks.items()}
    batches = {name: clock.batches for name, clock in flow.clocks.items()}
    assert all(device.watermark.batches == batches for device in flow.devices)
    assert all(user.watermark.batches == batches for user in flow.users)


@given(
    st.booleans().flatmap(lambda s: streams(devices=8, settled=s, step_ms=20 * MINUTE_MS)),
    st.integers(0, 9),
    st.sampled_from([1, 3, 7]),
    st.sets(st.integers(1, 15), min_size=1),
)
def test_a_flow_that_resumes_anywhere_gives_the_same_result(
    stream: list[Event], seed: int, batch_events: int, stops: set[int]
) -> None:
    """All that goes on to learning and to Redis, in its order."""
    arrived = shuffled_within(stream, GAP_MS, seed)
    batches = [arrived[n : n + batch_events] for n in range(0, len(arrived), batch_events)]
    flow, undisturbed = Flow(rules=WITH_SEGMENTS), Flow(rules=WITH_SEGMENTS)
    for n, batch in enumerate(batches):
        if n in stops:
            flow = flow.resumed()
        flow.feed(batch)
        undisturbed.feed(batch)
    for one in (flow, undisturbed):
        one.feed([], last=True)
        for visited in one.visited:
            visited.sequence = 0  # turns are counted anew
    resumed, expected = (one.outcome() for one in (flow, undisturbed))
    assert as_read(resumed.visited) == as_read(expected.visited)
    assert resumed._replace(visited=[]) == expected._replace(visited=[])


@pytest.mark.parametrize("seed", range(10))
def test_timers_that_are_due_together_fire_in_the_same_order_after_a_resume(seed: int) -> None:
    """A shopper that returns leaves an outdated timer behind; a resume does away with it."""
    rng, at_ms = random.Random(seed), 0
    batches = []
    for n in range(10):
        at_ms += rng.choice([0, 1, 10]) * MINUTE_MS
        some = rng.sample(range(8), 3)
        batches.append([view((n, d), at_ms + d, f"device {d}") for d in sorted(some)])
    flow, undisturbed = Flow(rules=WITH_SEGMENTS), Flow(rules=WITH_SEGMENTS)
    for n, batch in enumerate(batches):
        if n == 5:
            flow = flow.resumed()
        flow.feed(batch)
        undisturbed.feed(batch)
    for one in (flow, undisturbed):
        one.feed([view("a day later", DAY_MS)])
        one.feed([], last=True)
    told, expected = (
        [(v["session_outcomes"], v["transitions"], v["writes"]) for v in as_read(one.visited)]
        for one in (flow, undisturbed)
    )
    assert told == expected


def test_a_part_of_a_batch_waits_for_the_others() -> None:
    """Two devices of one user are kept by two workers: events count in the order of reading."""
    phone, laptop = "device 3", "device 4"
    assert shard_of(phone, SHARDS) % 2 != shard_of(laptop, SHARDS) % 2
    stream = [view(1, 0, phone, user_id="u")]
    stream += [view(n, n * GAP_MS // 2, laptop, user_id="u") for n in range(2, 9)]
    stream += [view("x", GAP_MS // 2, phone), view("y", 9 * MINUTE_MS, laptop)]
    for batch_events in (1, 3, 100):
        outcome = fold(stream, batch_events=batch_events, workers=2)
        assert facts(outcome) == facts(fold(stream))


def test_parts_that_came_together_are_one_message_a_batch_in_the_order_of_shards() -> None:
    """The two batches of three shards, of which one is on another worker."""

    def part(batch: int, shard: int) -> ShardPart:
        outputs = [ShardOutput(BatchId("0", batch), shard, 0, last=False)]
        return ShardPart(BatchId("0", batch), shard, batch, outputs)

    arrived = [part(0, 3), part(0, 1), part(1, 1), part(1, 0), part(1, 3), part(0, 0)]
    joined = join_parts(arrived)
    assert [(one.batch.number, one.shard, one.sequence, one.parts) for one in joined] == [
        (0, 0, 0, 3),
        (1, 0, 1, 3),
    ]
    assert [[output.shard for output in one.outputs] for one in joined] == [[0, 1, 3]] * 2
    [whole, _] = join_parts([*joined, part(0, 2)])
    assert ([output.shard for output in whole.outputs], whole.parts) == ([0, 1, 2, 3], 4)


def test_a_part_of_some_shards_is_taken_apart_for_those_who_sort_by_shard() -> None:
    def part(shard: int, outputs: int) -> ShardPart:
        batch = BatchId("0", 0)
        return ShardPart(
            batch, shard, 0, [ShardOutput(batch, shard, n, last=False) for n in range(outputs)]
        )

    [half] = join_parts([part(2, 1), part(0, 2)])
    assert [(one.shard, one.parts, len(one.outputs)) for one in sortable_parts(half, 4)] == [
        (0, 1, 2),
        (2, 1, 1),
    ]
    [whole] = join_parts([half, part(3, 1), part(1, 1)])
    assert sortable_parts(whole, 4) == [whole]
    assert sortable_parts(part(1, 2), 4) == [part(1, 2)]
