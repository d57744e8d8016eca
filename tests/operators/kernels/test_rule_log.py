"""The kernels of segment rules against the plain engine: the same transitions, in the same order.

Whole flows are compared: late events, sign-ins and merges, erasures, refunds, other batches, resumes
with the same rules and with others, evictions, plain events that are folded.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import astuple

from operators.segments.rules.engine import create_engine
from operators.shards import plain_fold, shard_shoppers
from tests.operators.segments.rules.test_engine import RULES, rules_of
from tests.reference.rules.engine import create_reference
from tests.streams import MINUTE_MS, Flow, shuffled_within, streams

if TYPE_CHECKING:
    from collections.abc import Sequence

    from state.events import Event

OTHER_RULES = "\n".join(
    line.replace("at least 2", "at least 3").replace("30 min", "45 min")
    for line in RULES.splitlines()
    if not line.startswith(("dear", "short"))
)
SUMS = """
paid: {when: {event: any, sum of value: between 0.01 and 1000, within: 3 h}}
given-back: {when: {event: purchase, sum of net value: at most 0}}
none-or-few: {when: {any: [{event: any, count: at most 3, within: 2 h}, {all: [{not: {all:
  [purchases >= 1, {not: {event: search, within: 1 h}}]}}, "top_category is wear"]}]}}
one-sided: {when: {all: [top_category_share >= 0.5, {any: [cart_rate >= 10 %, price_level < 50]}]}}
"""


def run(
    stream: Sequence[Event],
    batch_events: int,
    *,
    resume: bool,
    evict: bool,
    other_rules: bool,
) -> tuple[list[Any], dict[str, Any]]:
    """All transitions of a flow, and what rules keep of each shopper in the end."""
    config = rules_of(RULES + SUMS)
    flow = Flow(rules=config)
    rest, batches = iter(stream), 0
    while batch := list(islice(rest, batch_events)):
        flow.feed(batch)
        batches += 1
        if evict and batches % 3 == 0:
            _evict_and_restore(flow)
        if resume and batches % 2 == 0:
            flow = flow.resumed(rules_of(OTHER_RULES + SUMS) if other_rules else config)
    flow.feed([], last=True)
    shoppers = flow.outcome().shoppers
    states = {name: _facts(shopper.rule_state) for name, shopper in shoppers.items()}
    return [[astuple(one) for one in visited.transitions] for visited in flow.visited], states


def _evict_and_restore(flow: Flow) -> None:
    of_devices = [shard.shoppers for shard in flow.devices]
    for shoppers in [*of_devices, *(shard.shoppers for shard in flow.users)]:
        for name in sorted(shoppers.rows)[::2]:
            shopper = shoppers.evict(name)
            if shopper.events:
                shoppers.restore(name, shopper)


def _facts(state: Any) -> Any:
    """Memberships, windows that have entries, texts, and the next timer."""
    if state is None:
        return None
    windows = {key: window for key, window in state.windows.items() if window}
    return state.members, windows, state.latest_context, state.next_check_ms


@settings(max_examples=15)
@given(
    streams(settled=False, orders_repeat=True, max_events=60),
    st.integers(1, 20),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_kernels_and_plain_engine_give_the_same(
    stream: list[Event],
    batch_events: int,
    resume: bool,
    evict: bool,
    other_rules: bool,
    folds: bool,
) -> None:
    arrived = shuffled_within(stream, 20 * MINUTE_MS, seed=5)
    results = []
    for create in (create_engine, create_reference):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(shard_shoppers, "create_engine", create)
            events_min = 1 if folds and create is create_engine else 1 << 30
            patch.setattr(plain_fold, "EVENTS_MIN_WITH_RULES", events_min)
            results.append(
                run(arrived, batch_events, resume=resume, evict=evict, other_rules=other_rules)
            )
    (transitions, states), (plain_transitions, plain_states) = results
    if evict:
        # A shopper leaves its segments in the order in which it entered them; of those that it entered
        # in the same ms, the plain engine knows the order of events.
        transitions = [sorted(of_shard) for of_shard in transitions]
        plain_transitions = [sorted(of_shard) for of_shard in plain_transitions]
    assert transitions == plain_transitions
    assert states == plain_states
