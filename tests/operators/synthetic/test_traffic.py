"""The synthetic shop: repeatable, valid, out of order as configured, and with patterns to learn."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import islice, pairwise, takewhile
from typing import TYPE_CHECKING

import pytest

from operators.events.decode import decode_lines
from operators.synthetic.catalogue import CATALOGUE, build_catalogue
from operators.synthetic.personas import PERSONAS, persona_of
from operators.synthetic.traffic import Past, encode_lines, generate_events
from state.events import Event

if TYPE_CHECKING:
    from collections.abc import Iterator

ITEMS = 200
DISORDER_MS = 5000
START_MS = 1_767_225_600_000


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return list(generate_events(shoppers=500, items=ITEMS, events=30_000, disorder_ms=DISORDER_MS))


def shopper_of(event: Event) -> int:
    return int((event.anonymous_id or "").removeprefix("visitor-"))


def test_the_same_seed_gives_the_same_events() -> None:
    first, again, other = (list(generate_events(seed=seed, events=5000)) for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_a_longer_run_begins_like_a_shorter_one() -> None:
    assert list(generate_events(events=1000)) == list(islice(generate_events(), 1000))


def test_every_item_is_described_once(events: list[Event]) -> None:
    assert [e.items[0] for e in events if e.type == "item"] == list(build_catalogue(ITEMS))


def test_every_event_is_valid_and_has_a_unique_id(events: list[Event]) -> None:
    now_ms = events[-1].received_ts
    sent = encode_lines(iter(events))
    found = decode_lines(sent, source="shop", partition="0", first_offset=0, now_ms=now_ms)
    assert [event for event in found if not isinstance(event, Event)] == []
    assert len({event.event_id for event in events}) == len(events)


def test_events_arrive_in_order_and_happened_out_of_order(events: list[Event]) -> None:
    arrived = [event.received_ts for event in events]
    assert arrived == sorted(arrived)
    late_ms = [event.received_ts - event.event_ts for event in events]
    assert 0 <= min(late_ms) <= max(late_ms) <= DISORDER_MS
    assert any(later.event_ts < event.event_ts for event, later in pairwise(events))


def test_without_disorder_events_happen_in_order() -> None:
    happened = [event.event_ts for event in generate_events(events=3000, disorder_ms=0)]
    assert happened == sorted(happened)


def test_the_rate_is_the_configured_one() -> None:
    stream = list(generate_events(items=50, events=60_050, events_per_s=100))[50:]
    seconds = (stream[-1].received_ts - stream[0].received_ts) / 1000
    assert 0.85 < len(stream) / seconds / 100 < 1.15


def test_the_past_has_a_rate_of_its_own_until_it_ends() -> None:
    hour_ms = 3_600_000
    until_ms = START_MS + 200 * hour_ms
    stream = generate_events(
        items=50, start_ms=START_MS, events_per_s=50, past=Past(until_ms, 0.05), shoppers=500
    )
    events = list(takewhile(lambda event: event.event_ts < until_ms + hour_ms // 4, stream))
    before = sum(event.event_ts < until_ms for event in events) - 50
    after = sum(event.event_ts >= until_ms for event in events)
    assert 0.8 < before / (200 * 3600 * 0.05) < 1.2
    assert 0.8 < after / (900 * 50) < 1.2
    assert len({event.event_id for event in events}) == len(events)
    arrived = [event.received_ts for event in events]
    assert arrived == sorted(arrived)


def test_an_account_belongs_to_one_visitor_and_some_visitors_identify(events: list[Event]) -> None:
    accounts = defaultdict(set)
    for event in events:
        if event.user_id:
            accounts[event.anonymous_id].add(event.user_id)
    assert all(len(users) == 1 for users in accounts.values())
    assert {event.type for event in events} >= {"identify", "cart_remove", "purchase", "search"}
    assert any(event.user_id is None for event in events)


def test_the_value_of_an_order_is_the_sum_of_its_items(events: list[Event]) -> None:
    orders = [event for event in events if event.type == "purchase"]
    assert len({order.order_id for order in orders}) == len(orders)
    for order in orders:
        worth = sum((item.price or 0) * item.quantity for item in order.items)
        assert order.value == pytest.approx(worth, abs=0.01)


def test_few_items_and_few_shoppers_make_most_of_the_traffic(events: list[Event]) -> None:
    views = [event for event in events if event.type == "item_view"]
    for seen in (
        Counter(event.items[0].item_id for event in views),
        Counter(event.anonymous_id for event in views),
    ):
        top_tenth = sum(n for _, n in seen.most_common(len(seen) // 10))
        assert top_tenth > 0.3 * len(views)


def test_the_previous_item_predicts_the_next(events: list[Event]) -> None:
    views: dict[str, list[str]] = defaultdict(list)
    for event in sorted(events, key=lambda event: event.event_ts):
        if event.type == "item_view":
            views[event.anonymous_id or ""].append(event.items[0].item_id)
    pairs = [pair for seen in views.values() for pair in pairwise(seen)]
    train, test = pairs[: len(pairs) // 2], pairs[len(pairs) // 2 :]
    following: dict[str, Counter[str]] = defaultdict(Counter)
    for before, after in train:
        following[before][after] += 1
    popular = {item for item, _ in Counter(after for _, after in train).most_common(5)}
    markov = sum(after in dict(following[before].most_common(5)) for before, after in test)
    popularity = sum(after in popular for _, after in test)
    assert markov > 2 * popularity


def test_personas_show_in_the_behaviour_of_shoppers(events: list[Event]) -> None:
    done: dict[str, Counter[str]] = {habit.name: Counter() for habit in PERSONAS}
    for event in events:
        if event.anonymous_id != CATALOGUE:
            done[persona_of(shopper_of(event)).name][event.type] += 1
    orders_a_view = {name: n["purchase"] / n["item_view"] for name, n in done.items()}
    assert max(orders_a_view, key=orders_a_view.__getitem__) == "loyal buyer"
    removed_a_view = {name: n["cart_remove"] / n["item_view"] for name, n in done.items()}
    assert max(removed_a_view, key=removed_a_view.__getitem__) == "bargain hunter"


def test_lines_are_repeated_and_damaged_in_the_given_shares() -> None:
    def events() -> Iterator[Event]:
        return generate_events(events=5000)

    clean = list(encode_lines(events()))
    dirty = list(encode_lines(events(), repeated=0.02, damaged=0.01))
    assert 50 < len(dirty) - len(clean) < 150
    assert 25 < len(set(dirty) - set(clean)) < 100
