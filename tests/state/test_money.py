"""Money: no sum of amounts overflows, and every sum within the limits is exact."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from operators.segments.rules.compiler import RuleSet
from operators.shards.config import ProcessorConfig
from state import money
from state.config import Lifecycle, Profiles, Sessions, State
from state.events import Event, Item
from state.money import AMOUNT_MAX
from tests.streams import GAP_MS, MINUTE_MS, SHARDS, Flow, event, flow_settings, run_flow

if TYPE_CHECKING:
    from pathlib import Path

    from state.events import EventType
    from state.shopper import Shopper

near = st.sampled_from(
    [0, 1, -1, AMOUNT_MAX, -AMOUNT_MAX, AMOUNT_MAX - 1, 1 - AMOUNT_MAX, AMOUNT_MAX // 2 + 1]
)
amounts = st.one_of(st.integers(-AMOUNT_MAX, AMOUNT_MAX), near)


def naive(total: int) -> int:
    return max(-AMOUNT_MAX, min(AMOUNT_MAX, total))


@given(amounts, amounts)
def test_a_sum_is_exact_or_clamped(first: int, second: int) -> None:
    assert money.add(first, second) == naive(first + second)
    totals = money.add_columns(np.array([first]), np.array([second]))
    assert totals.dtype == np.int64
    assert totals.tolist() == [naive(first + second)]


@given(st.lists(amounts, min_size=3, max_size=3), st.lists(st.tuples(st.integers(0, 2), amounts)))
def test_many_amounts_at_the_same_indices_add_up_exactly_or_are_clamped(
    begin: list[int], added: list[tuple[int, int]]
) -> None:
    into = np.array(begin, np.int64)
    money.add_at(
        into,
        np.array([place for place, _ in added], np.int64),
        np.array([amount for _, amount in added], np.int64),
    )
    sums = [start + sum(by for at, by in added if at == n) for n, start in enumerate(begin)]
    assert into.tolist() == [naive(total) for total in sums]


@given(st.floats(allow_nan=True, allow_infinity=True, width=64))
def test_a_float_becomes_an_amount_within_the_limits(amount: float) -> None:
    micros = money.to_micros(amount)
    assert -AMOUNT_MAX <= micros <= AMOUNT_MAX
    if not math.isnan(amount) and abs(amount) < 1e9:
        assert abs(micros - amount * 1e6) <= 0.5
    column = money.to_column(np.array([amount]))
    assert abs(int(column[0])) <= AMOUNT_MAX
    assert int(column[0]) == (
        0 if math.isnan(amount) else naive(int(max(-1e30, min(1e30, amount))))
    )


def test_a_sum_at_a_limit_is_saturated() -> None:
    assert [money.is_saturated(n) for n in (AMOUNT_MAX, -AMOUNT_MAX, AMOUNT_MAX - 1, 0)] == [
        True,
        True,
        False,
        False,
    ]


SUMS = """
lately: {when: {event: purchase, sum of value: at least 5, within: 30 d}}
net: {when: {event: purchase, sum of net value: at least 5}}
carts: {when: {event: cart_add, sum of value: at least 5, within: 1 h}}
pieces: {when: {event: purchase, sum of quantity: at least 5}}
"""
RULES = ProcessorConfig.from_config(
    Sessions(shards=SHARDS),
    Profiles(),
    State(),
    Lifecycle(),
    RuleSet.from_text(SUMS, "segments.yaml", gap_ms=GAP_MS),
)
POISON = Item("x", price=25_000_000.0, quantity=999_999)
"""Price and quantity are within their limits; their product in millionths exceeds 64 bits."""
DEAR = Item("x", price=1e12, quantity=1)
KINDS: tuple[EventType, ...] = ("purchase", "refund", "cart_add", "cart_remove", "item_view")


def stream(
    who: dict[str, str | None], many: int, items: tuple[Item, ...], **more: Any
) -> list[Event]:
    """Events of all kinds that have amounts, a minute apart."""
    return [
        event(
            kind,
            f"{who} {kind} {n}",
            MINUTE_MS * n,
            **who,
            order_id=f"{n} of {who}",
            items=items,
            **more,
        )
        for n in range(many)
        for kind in KINDS
    ]


def resumed_after_each(events: list[Event]) -> dict[str, Shopper]:
    """The final rows of shoppers where each event is a batch, and a restart follows each batch."""
    flow = Flow(rules=RULES)
    for one in events:
        flow.feed([one])
        flow = flow.resumed()
    return flow.outcome().shoppers


def test_amounts_beyond_the_limit_count_as_the_limit_and_stay_there_over_restarts() -> None:
    shopper = resumed_after_each(stream({"anonymous_id": "ann"}, 3, (POISON,)))["ann"]
    assert (shopper.purchases, shopper.units, shopper.carts) == (3, 2_999_997, 3)
    assert shopper.revenue_micros == AMOUNT_MAX
    assert shopper.rule_state is not None
    assert shopper.rule_state.members.keys() == {"lately", "carts", "pieces"}


def test_sums_over_time_and_over_many_items_are_clamped() -> None:
    """Each amount is within the limits; their sum is not."""
    shopper = resumed_after_each(stream({"anonymous_id": "ann"}, 6, (DEAR,) * 2, value=1e12))["ann"]
    assert (shopper.revenue_micros, shopper.viewed_price_micros) == (AMOUNT_MAX, AMOUNT_MAX)


def test_a_removal_from_the_cart_beyond_the_limit_is_clamped() -> None:
    events = [event("cart_remove", n, MINUTE_MS * n, "ann", items=(POISON,) * 3) for n in range(4)]
    assert resumed_after_each(events)["ann"].open_sessions[-1].cart_micros == -AMOUNT_MAX


def test_two_shoppers_with_the_largest_sums_are_merged() -> None:
    events = [
        *stream({"anonymous_id": "phone"}, 3, (POISON,)),
        *stream({"anonymous_id": "laptop"}, 3, (POISON,), value=1e12),
        event("identify", "a", 4 * MINUTE_MS, "phone", "ann"),
        event("identify", "b", 5 * MINUTE_MS, "laptop", "ann"),
    ]
    shopper = resumed_after_each(events)["ann"]
    assert (shopper.revenue_micros, shopper.purchases, shopper.units) == (AMOUNT_MAX, 6, 5_999_994)


def test_an_event_with_a_huge_amount_ends_no_run_and_is_counted(
    redis_url: str, tmp_path: Path
) -> None:
    events = [
        *stream({"anonymous_id": None, "user_id": "ann"}, 20, (POISON, DEAR)),
        *stream({"anonymous_id": "bob"}, 20, (DEAR,), value=1e12),
        *[event("page_view", f"eve {n}", n * 3_600_000, "eve") for n in range(30)],
    ]
    events.sort(key=lambda one: one.event_ts)
    for batch_events in (1, 1000):
        rows = run_flow(
            events, redis_url, tmp_path, settings=flow_settings(batch_events=batch_events)
        )
        profile = dict(rows["ps:1:shopper:{ann}:profile"])
        assert (profile[b"purchases"], profile[b"revenue"]) == (b"20", b"4611686018427.39")
        assert b"views" in dict(rows["ps:1:shopper:{eve}:profile"])
        meta = dict(rows["ps:1:meta"])
        assert int(meta[b"accepted"]) == len(events) == int(meta[b"events"])
        assert 100 < int(meta[b"saturated"]) <= 160
