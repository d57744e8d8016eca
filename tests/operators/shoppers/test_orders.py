"""Orders: each counts once, under whatever event ids; refunds give back no more than its value."""

from __future__ import annotations

import time
from itertools import permutations
from typing import TYPE_CHECKING, Any

import pytest

from operators.segments.rules.compiler import RuleSet
from operators.shards.config import ProcessorConfig
from state.config import Lifecycle, Profiles, Sessions, State
from state.events import Item
from state.times import DAY_MS
from tests.streams import GAP_MS, LATENESS_MS, MINUTE_MS, SHARDS, Flow, event, fold, run_flow

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from state.events import Event, EventType
    from state.shopper import Shopper

MUG, CUP = Item("mug", price=30.0), Item("cup", price=10.0, quantity=2)
SEGMENTS = """
once: {when: {event: purchase, count: exactly 1, within: 30 d}}
spent: {when: {event: purchase, sum of value: at least 60, within: 30 d}}
net: {when: {event: purchase, sum of net value: at least 20}}
returned: {when: refunded >= 50}
pieces: {when: {event: purchase, sum of quantity: at least 4}}
"""
RULES = ProcessorConfig.from_config(
    Sessions(shards=SHARDS),
    Profiles(),
    State(),
    Lifecycle(),
    RuleSet.from_text(SEGMENTS, "segments.yaml", gap_ms=GAP_MS),
)


def order(event_id: object, at_ms: int, order_id: str = "7", **more: Any) -> Event:
    """An order of 50: a mug and two cups."""
    return event("purchase", event_id, at_ms, order_id=order_id, items=(MUG, CUP), **more)


def refund(event_id: object, at_ms: int, order_id: str = "7", **more: Any) -> Event:
    return event("refund", event_id, at_ms, order_id=order_id, **more)


def shoppers(stream: Sequence[Event], batch_events: int = 100) -> dict[str, Shopper]:
    flow = Flow(rules=RULES)
    for start in range(0, len(stream), batch_events):
        flow.feed(stream[start : start + batch_events])
        flow = flow.resumed()
    flow.feed([], last=True)
    return flow.outcome().shoppers


def back(stream: Sequence[Event]) -> float:
    """The amount that was given back to the only shopper."""
    (shopper,) = shoppers(stream).values()
    return shopper.refund_micros / 1e6


REFUNDS: dict[str, tuple[list[dict[str, Any]], float, int]] = {
    "of the order alone": ([{}], 50, 1),
    "of the order alone, twice": ([{}, {}], 50, 1),
    "of an amount": ([{"value": 12.5}], 12.5, 1),
    "of amounts": ([{"value": 12.5}, {"value": 7.5}], 20, 2),
    "of an amount, then the rest": ([{"value": 12.5}, {}], 50, 2),
    "of more than it was worth": ([{"value": 80.0}], 50, 1),
    "of amounts that come to more": ([{"value": 30.0}, {"value": 30.0}], 50, 2),
    "of items with their prices": ([{"items": (CUP,)}], 20, 1),
    "of items by their name": ([{"items": (Item("mug"),)}], 30, 1),
    "of one piece by its name": ([{"items": (Item("cup"),)}], 10, 1),
    "of all items by their names": ([{"items": (Item("mug"), Item("cup", quantity=2))}], 50, 1),
    "of an item by its name, then the rest": ([{"items": (Item("mug"),)}, {}], 50, 2),
    "of nothing": ([{"value": 0.0}], 0, 1),
}


@pytest.mark.parametrize("name", REFUNDS)
def test_a_refund_gives_back_the_same_before_or_after_its_order(name: str) -> None:
    given, amount, count = REFUNDS[name]
    stream = [order(0, 0), *[refund(n, n * 1000, **more) for n, more in enumerate(given, 1)]]
    for arrived in permutations(stream):
        (shopper,) = shoppers(arrived, batch_events=1).values()
        assert (shopper.refund_micros / 1e6, shopper.refunds) == (amount, count)
        assert (shopper.purchases, shopper.units, shopper.revenue_micros) == (1, 3, 50_000_000)
        assert shopper.rule_state is not None
        is_net = 50 - amount >= 20
        expected = (
            {"once"} | ({"net"} if is_net else set()) | ({"returned"} if amount >= 50 else set())
        )
        assert shopper.rule_state.members.keys() == expected


def test_a_refund_of_an_unknown_order_counts_the_amount_it_names() -> None:
    assert back([refund(1, 0, value=12.5)]) == 12.5
    assert back([refund(1, 0)]) == 0


def test_an_order_is_remembered_for_400_days() -> None:
    for days, amount in ((399, 50.0), (401, 0.0)):
        assert back([order(0, 0), refund(1, days * DAY_MS)]) == amount


def test_an_item_is_refunded_at_what_it_cost_in_the_order() -> None:
    assert back([order(0, 0, value=25.0), refund(1, 1, items=(Item("mug"),))]) == 15


def test_many_refunds_of_one_order_give_back_its_value() -> None:
    stream = [order(0, 0), *[refund(f"r{n}", n, value=0.25) for n in range(150)]]
    assert back(stream) == 37.5
    assert back([*stream, refund("all", 200)]) == 50
    assert shoppers([*stream, refund("all", 200)])["ann"].refunds == 151


# The senders of an order and of its copy: the device before it is ann's, ann herself, or both.
WAYS: dict[str, dict[str, Any]] = {
    "phone": {"anonymous_id": "phone"},
    "laptop": {"anonymous_id": "laptop"},
    "ann": {"anonymous_id": None, "user_id": "ann"},
    "ann's laptop": {"anonymous_id": "laptop", "user_id": "ann"},
}


def told(way: str, kind: EventType, number: int, at_ms: int, **more: Any) -> Event:
    more |= WAYS[way]
    return event(kind, number, at_ms, order_id="7", **more)


@pytest.mark.parametrize("batch_events", [1, 100])
@pytest.mark.parametrize("again", WAYS)
@pytest.mark.parametrize("first", WAYS)
def test_an_order_counts_once_when_two_shoppers_turn_out_to_be_one(
    first: str, again: str, batch_events: int
) -> None:
    stream = [
        event("item_view", "v", 0, "phone", items=(MUG,)),
        told(first, "purchase", 1, MINUTE_MS, items=(MUG, CUP)),
        told(again, "purchase", 2, 2 * MINUTE_MS, items=(MUG, CUP)),
        event("identify", "p", 3 * MINUTE_MS, "phone", "ann"),
        event("identify", "l", 4 * MINUTE_MS, "laptop", "ann"),
        told("phone", "purchase", 3, 5 * MINUTE_MS, items=(MUG, CUP)),
    ]
    (ann,) = shoppers(stream, batch_events).values()
    assert (ann.purchases, ann.units, ann.revenue_micros) == (1, 3, 50_000_000)
    assert (ann.events, ann.views, ann.sessions, ann.session_events) == (4, 1, 1, 4)
    assert ann.first_purchase_ms == ann.last_purchase_ms == stream[1].event_ts
    (session,) = ann.open_sessions
    assert (session.events, session.purchases, session.cart_micros) == (4, 1, -50_000_000)
    assert ann.rule_state is not None
    assert ann.rule_state.members.keys() == {"once", "net"}


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("of_refund", WAYS)
@pytest.mark.parametrize("of_order", WAYS)
def test_an_order_and_its_refund_may_come_through_different_devices(
    of_order: str, of_refund: str, swapped: bool
) -> None:
    stream = [
        told(of_order, "purchase", 1, MINUTE_MS, items=(MUG, CUP)),
        told(of_refund, "refund", 2, 2 * MINUTE_MS),
        told("phone", "refund", 3, 2 * MINUTE_MS, value=20.0),
    ]
    links = [
        event("identify", "p", 3 * MINUTE_MS, "phone", "ann"),
        event("identify", "l", 4 * MINUTE_MS, "laptop", "ann"),
    ]
    (ann,) = shoppers([*(stream[::-1] if swapped else stream), *links], 1).values()
    assert (ann.purchases, ann.revenue_micros) == (1, 50_000_000)
    assert (ann.refunds, ann.refund_micros) == (2, 50_000_000)
    assert ann.rule_state is not None
    assert ann.rule_state.members.keys() == {"once", "returned"}


def test_an_event_that_two_shoppers_had_counts_once() -> None:
    twice = [
        event("item_view", "v", 0, "phone", items=(MUG,)),
        event("search", "s", 1000, "phone"),
        event("refund", "r", 2000, "phone", order_id="9", value=5.0),
    ]
    stream = [
        *twice,
        *[event(e.type, e.event_id, e.event_ts - twice[0].event_ts, None, "ann", items=e.items,
                order_id=e.order_id, value=e.value) for e in twice],
        event("identify", "p", MINUTE_MS, "phone", "ann"),
    ]  # fmt: skip
    ann = shoppers(stream, 1)["ann"]
    assert (ann.events, ann.views, ann.searches, ann.sessions) == (4, 1, 1, 1)
    assert (ann.refunds, ann.refund_micros) == (1, 5_000_000)
    assert fold(stream).totals["repeats"] == 3


def test_the_shops_figures_count_an_order_of_two_shoppers_once(
    redis_url: str, tmp_path: Path
) -> None:
    stream = [
        order(1, 0, anonymous_id="phone"),
        event("purchase", 2, 1000, None, "ann", order_id="7", items=(MUG, CUP)),
        order(3, 2000, "8", anonymous_id="eve"),
        event("identify", "p", MINUTE_MS, "phone", "ann"),
        event("page_view", "later", 3 * MINUTE_MS, "eve"),
    ]
    rows = run_flow(stream, redis_url, tmp_path)
    now = dict(rows["ps:1:shop:now"])
    assert (now[b"orders_today"], now[b"revenue_today"]) == (b"2", b"100.00")
    assert int(dict(rows["ps:1:meta"])[b"repeats"]) == 1


def test_the_cost_of_remembering_orders_grows_linearly() -> None:
    """A shopper's 16,000 orders take about twice as long as 8,000, not four times."""

    def seconds(many: int) -> float:
        stream = [order(n, n * LATENESS_MS, str(n)) for n in range(many)]
        flow = Flow()
        start = time.process_time()
        for begin in range(0, many, 4000):
            flow.feed(stream[begin : begin + 4000])
        return time.process_time() - start

    seconds(200)  # kernels load
    assert seconds(16_000) < 3 * seconds(8_000)
