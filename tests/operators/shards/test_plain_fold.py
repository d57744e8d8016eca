"""The compiled fold and the slow path come to the same in all fields and outputs, whatever the mix.

The slow path is the specification: it counts event by event, and handles all events. The fold takes
those of shoppers who do nothing else in a batch than count.
"""

from __future__ import annotations

import dataclasses
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from operators.segments.rules import folded_operations
from operators.segments.rules.compiler import RuleSet
from operators.segments.rules.engine import RuleEngine
from operators.segments.rules.latest_texts import LatestTexts
from operators.shards import plain_fold
from operators.shards.config import ProcessorConfig
from operators.shards.shopper_table import ShopperTable
from operators.tables import texts
from operators.tables.texts import TextPool
from state.config import Lifecycle, Profiles, Propensity, Sessions, State
from state.events import Item
from state.times import DAY_MS, HOUR_MS
from tests.streams import (
    GAP_MS,
    ITEMS,
    LATENESS_MS,
    MINUTE_MS,
    SHARDS,
    Flow,
    event,
    shuffled_within,
    streams,
    view,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from logging import LogRecord

    from state.events import Event, EventType

NEVER = 1 << 30
NO_RULES = ""
OWN_RULES = (Path(__file__).parents[3] / "segments.yaml").read_text()
TEXT_RULES = """
phones: {when: {all: [device is phone, {not: {segment: far}}]}}
far: {when: country is PE}
signed-in: {when: {all: [known is yes, top_category is wear]}}
euro: {when: {all: [currency is EUR, {not: {holdout: 50 %}}]}}
may-write: {when: {any: [consent.ads is yes, consent.analytics is not no]}}
wears: {when: {event: item_view, category: wear, price: at least 5, count: at least 2, within: 2 h}}
spent: {when: {event: purchase, sum of value: at least 20, within: 1 d}}
kinds: {when: {event: item_view, distinct items: at least 3, within: 1 h}}
here: {when: {all: [session_minutes >= 1, session_views >= 1, intent is browsing]}}
single-minded: {when: {all: [top_category_share >= 0.6, aov > 10, cart_rate < 0.5]}}
"""


def small(rules: str) -> ProcessorConfig:
    """Small limits, so that a short stream reaches all of them."""
    return ProcessorConfig.from_config(
        Sessions(shards=SHARDS, remembered_event_ids=5),
        Profiles(affinity_categories_max=2, affinity_half_life_days=0.05),
        State(idle_days=2, known_idle_days=3),
        Lifecycle(dormant_days=1, lost_days=3, new_days=1, reengaged_days=1),
        RuleSet.from_text(rules, "segments.yaml", gap_ms=GAP_MS),
        propensity=Propensity(sampled_share=0.7, horizon_days=1, churn_days=1),
    )


SMALL = {rules: small(rules) for rules in (NO_RULES, OWN_RULES, TEXT_RULES)}

PLAIN: tuple[EventType, ...] = (
    "page_view",
    "search",
    "list_view",
    "item_view",
    "cart_add",
    "cart_remove",
    "checkout_start",
    "purchase",
    "wishlist_add",
    "reco_view",
    "reco_click",
    "custom",
)


@contextmanager
def folds_from(events_min: int) -> Iterator[None]:
    with mock.patch.multiple(plain_fold, EVENTS_MIN=events_min, EVENTS_MIN_WITH_RULES=events_min):
        yield


def run(
    batches: Sequence[Sequence[Event]],
    events_min: int,
    partitions: int = 1,
    rules: str = OWN_RULES,
    resumes_at: int | None = None,
) -> dict[str, Any]:
    """Everything that a flow puts out and remembers."""
    flow = Flow(rules=SMALL[rules])
    with folds_from(events_min):
        for number, batch in enumerate(batches):
            if number == resumes_at:
                flow = flow.resumed()
            flow.feed(batch, partition=str(number % partitions), partitions=partitions)
        for partition in range(partitions):
            flow.feed([], partition=str(partition), partitions=partitions, last=True)
    stored = [shard.snapshot() for shard in flow.devices]
    stored += [shard.snapshot() for shard in flow.users]
    outcome = flow.outcome()
    return {
        "outputs": [msgspec.structs.asdict(output) for output in outcome.visited],
        "shoppers": {
            name: msgspec.structs.asdict(shopper)
            for name, shopper in sorted(outcome.shoppers.items())
        },
        "totals": outcome.totals,
        "links": outcome.links,
        "stored": [len(blob) for blob in stored],
    }


@st.composite
def plain_streams(draw: st.DrawFn) -> list[Event]:
    """Events of a few shoppers at the edges of sessions, lateness, hours and absences; some twice."""
    at_ms, stream = 0, []
    edges = [0, 1, LATENESS_MS, GAP_MS, GAP_MS + 1, HOUR_MS, 6 * HOUR_MS, DAY_MS, 3 * DAY_MS]
    for number in range(draw(st.integers(1, 40))):
        at_ms += draw(st.one_of(st.integers(0, 3 * MINUTE_MS), st.sampled_from(edges)))
        kind = draw(st.sampled_from(PLAIN))
        who = draw(st.sampled_from([("ann", None), ("bob", None), (None, "eve")]))
        items = draw(st.lists(st.sampled_from((*ITEMS, *ODD_ITEMS)), max_size=3))
        more: dict[str, Any] = {"items": tuple(items)}
        if kind == "purchase":
            more["order_id"] = f"order {draw(st.integers(0, number))}"
            more["value"] = draw(st.sampled_from([None, 12.5, 1e12]))
        more["currency"] = draw(st.sampled_from([None, "EUR"]))
        more["device"] = draw(st.sampled_from([None, "phone", "desktop"]))
        more["country"] = draw(st.sampled_from([None, "PE"]))
        stream.append(event(kind, number, at_ms, *who, **more))
        if draw(st.integers(0, 9)) == 0:
            stream.append(replace(stream[draw(st.integers(0, len(stream) - 1))]))
    return stream


ODD_ITEMS = (
    Item("weighed", category=("food",), price=3.333333, quantity=0.35),
    Item("dear", category=("wear", "\ue000"), price=1e12, quantity=1_000_000),
    Item("plain", category=("wear", "\U00010000")),
)


def cut(stream: Sequence[Event], sizes: Sequence[int]) -> list[list[Event]]:
    batches, start = [], 0
    for size in sizes:
        batches.append(list(stream[start : start + size]))
        start += size
    return [*batches, list(stream[start:])]


SIZES = st.lists(st.integers(0, 12), max_size=6)
RULES = st.sampled_from([*SMALL])
RESUMES = st.none() | st.integers(1, 3)


def test_categories_that_shoppers_no_longer_have_leave_the_pool_of_texts() -> None:
    """Each event has a category of its own, of which a shopper remembers a few."""
    names = [f"shopper {number}" for number in range(4)]
    batches = [
        [
            view(f"{batch} {name}", batch * MINUTE_MS, name)
            if batch % 7 == 0
            else event(
                "item_view",
                f"{batch} {name}",
                batch * MINUTE_MS,
                name,
                items=(Item("one", category=(f"category {batch} of {name}",)),),
            )
            for name in names
        ]
        for batch in range(60)
    ]
    with mock.patch.object(texts, "SWEPT_ABOVE", 8):
        rules = dataclasses.replace(SMALL[OWN_RULES], texts=TextPool())
        with mock.patch.dict(SMALL, {OWN_RULES: rules}):
            folded = run(batches, 1)
    assert len(rules.texts.text_of) < 60, "of 208 categories"
    assert folded == run(batches, NEVER)


@settings(max_examples=150)
@given(plain_streams(), SIZES, st.integers(0, 99), st.integers(1, 2), RULES, RESUMES)
def test_plain_events_fold_as_one_by_one(
    stream: list[Event],
    sizes: list[int],
    seed: int,
    partitions: int,
    rules: str,
    resumes_at: int | None,
) -> None:
    batches = cut(shuffled_within(stream, 2 * LATENESS_MS, seed), sizes)
    folded = run(batches, 1, partitions, rules, resumes_at)
    assert folded == run(batches, NEVER, partitions, rules, resumes_at)


@settings(max_examples=150)
@given(
    streams(settled=False, orders_repeat=True),
    SIZES,
    st.integers(0, 99),
    st.integers(1, 9),
    RULES,
    RESUMES,
)
def test_the_mix_of_both_paths_does_not_matter(
    stream: list[Event],
    sizes: list[int],
    seed: int,
    events_min: int,
    rules: str,
    resumes_at: int | None,
) -> None:
    batches = cut(shuffled_within(stream, 2 * LATENESS_MS, seed), sizes)
    folded = run(batches, events_min, 1, rules, resumes_at)
    assert folded == run(batches, NEVER, 1, rules, resumes_at)


def test_a_shopper_with_many_events_forgets_the_oldest() -> None:
    views = [view(number, number * MINUTE_MS) for number in range(20)]
    again = [*views, views[14], views[15], views[19]]
    folded = run([again], 1)
    assert folded == run([again], NEVER)
    assert folded["totals"]["duplicates"] == 1


def test_more_decisions_than_a_session_has_place_for_are_kept_when_sessions_join() -> None:
    apart_ms = GAP_MS + LATENESS_MS - 1
    first = [view(f"a{number}", number) for number in range(20)]
    second = [view(f"b{number}", apart_ms + number) for number in range(20)]
    between = view("between", GAP_MS - 1)
    batches = [[*first, *second, between, view("c", apart_ms + 50)]]
    folded = run(batches, 1)
    assert folded == run(batches, NEVER)
    assert folded["shoppers"]["ann"]["sessions"] == 1
    assert folded["shoppers"]["ann"]["views"] == 42


def test_pools_grow_as_events_need_it() -> None:
    wide = tuple(Item(f"item {n}", category=(f"category {n}",)) for n in range(300))
    stream = [
        event("item_view", f"{name} {number}", number, f"shopper {name}", items=wide)
        for name in range(40)
        for number in range(3)
    ]
    assert run([stream], 1) == run([stream], NEVER)


@pytest.mark.parametrize("events_min", [1, NEVER])
def test_shoppers_are_rows_or_structs(events_min: int) -> None:
    flow = Flow()
    with folds_from(events_min):
        flow.feed([view(number, number, f"shopper {number % 7}") for number in range(70)])
    rows = [shard.shoppers.rows for shard in flow.devices]
    assert sum(len(table.row_of) for table in rows) == (7 if events_min == 1 else 0)
    assert sum(map(len, rows)) == 7


def test_events_whose_windows_cannot_be_told_take_the_slow_path() -> None:
    batches = [[view(number, number * MINUTE_MS) for number in range(9)]]
    with mock.patch.object(RuleSet, "additions_of", side_effect=KeyError("a bug")):
        assert run(batches, 1) == run(batches, NEVER)


def test_rules_that_cannot_be_told_of_a_batch_are_evaluated_with_the_next(
    processing_errors: list[LogRecord],
) -> None:
    first, second = [view(number, number) for number in range(3)], [view(3, MINUTE_MS)]
    flow = Flow(rules=SMALL[TEXT_RULES])
    with folds_from(1):
        with mock.patch.object(LatestTexts, "update_all", side_effect=KeyError("a bug")):
            flow.feed(first)
        assert processing_errors.pop().getMessage().startswith("identify.settle raised")
        assert [one.transitions for one in flow.visited if one.transitions] == []
        errors = [one.error_counts for one in flow.visited if one.error_counts]
        assert errors == [{"identify.settle": 1}]
        flow.feed(second)
    entered = [one.segment for output in flow.visited for one in output.transitions]
    assert entered == ["may-write"]
    assert flow.outcome().shoppers["ann"].views == 4


def test_a_truth_that_raises_for_one_shopper_leaves_the_rules_of_others_alone(
    processing_errors: list[LogRecord],
) -> None:
    names = [f"shopper {number}" for number in range(9)]
    batches = [
        [view((batch, name), batch * MINUTE_MS + n, name) for n, name in enumerate(names)]
        for batch in range(3)
    ]
    batches[1][4] = replace(batches[1][4], country="PE")
    words_of = folded_operations._words_of

    def raises_for_peru(*args: Any) -> list[int]:
        if "PE" in args[-1]:
            raise KeyError("a bug")
        return words_of(*args)

    def transitions() -> dict[str, list[tuple[str, bool]]]:
        flow = Flow(rules=SMALL[TEXT_RULES])
        found: dict[str, list[tuple[str, bool]]] = {name: [] for name in names}
        with folds_from(1):
            for batch in batches:
                flow.feed(batch)
        for one in (one for output in flow.visited for one in output.transitions):
            found[one.shopper].append((one.segment, one.entered))
        return found

    expected = transitions()
    with mock.patch.object(folded_operations, "_words_of", raises_for_peru):
        found = transitions()
    messages = {record.getMessage().split(" raised")[0] for record in processing_errors}
    processing_errors.clear()
    assert messages == {"identify.settle"}
    del found[names[4]], expected[names[4]]
    assert found == expected
    assert any(expected.values())


def test_shoppers_whose_rules_cannot_begin_take_the_slow_path_and_no_batch_sees_those_of_another() -> (
    None
):
    batches = [
        [view((batch, n), batch * MINUTE_MS + n, f"shopper {n}") for n in range(9)]
        for batch in range(2)
    ]
    begin, begun = RuleEngine.begin, list[str]()

    def raises_for_one(engine: RuleEngine, names: list[str]) -> None:
        if "shopper 4" in names:
            raise KeyError("a bug")
        begun.extend(names)
        begin(engine, names)

    with mock.patch.object(RuleEngine, "begin", raises_for_one):
        folded = run(batches, 1)
    assert folded == run(batches, NEVER)
    assert sorted(begun) == sorted({f"shopper {n}" for n in range(9)} - {"shopper 4"})


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (ShopperTable, "row_for"),
        (RuleSet, "additions_of"),
        (RuleEngine, "begin"),
        (LatestTexts, "update_all"),
        (folded_operations, "_words_of"),
    ],
)
def test_too_little_memory_ends_the_run_and_costs_no_event(owner: Any, name: str) -> None:
    flow = Flow(rules=SMALL[TEXT_RULES])
    with (
        folds_from(1),
        mock.patch.object(owner, name, side_effect=MemoryError),
        pytest.raises(MemoryError),
    ):
        flow.feed([view(number, number) for number in range(3)])
