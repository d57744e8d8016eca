"""An item sells out: it is gone from every list in Redis, and comes back when it is back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import orjson
import pytest
from kafka import KafkaProducer

from operators.recommend.published_index import PublishedIndex
from operators.synthetic.traffic import generate_events
from state import config, config_lists
from state.arrays import NO_ROW
from state.events import Event, Item
from state.store import Store
from tests.live_runs import Live
from tests.operators.personalize.test_step import batches
from tests.personalization import Personalization
from tests.streams import START_MS, event, flow_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from state.arrays import Rows
    from tests.kafka_broker import AnyBroker

BOUND_S = 5.0
LONG_AFTER_MS = 1_767_225_600_000 - START_MS + 3 * 3_600_000
"""After all that happens in the shop."""


def items_of_lists(store: Store) -> dict[str, list[str]]:
    """The items of every list in Redis, by key."""
    found = {}
    for pattern in ("ps:1:shopper:*:top:*", "ps:1:item:*", "ps:1:popular:*"):
        names = [key for key in store.client.scan_iter(match=pattern) if not key.endswith(b":card")]
        for key, text in zip(names, store.client.mget(names) if names else (), strict=True):
            if text is not None:  # it was taken back in between
                found[key.decode()] = [entry[0] for entry in orjson.loads(text)["items"]]
    return found


def holding(store: Store, item: str) -> set[str]:
    return {key for key, items in items_of_lists(store).items() if item in items}


def kinds_of(found: set[str]) -> set[str]:
    return {key.split(":")[2] + key.rpartition("}:")[2].partition(":")[0] for key in found}


def catalogue(number: int, at_ms: int, *items: Item) -> Event:
    return event("item", f"catalogue {number}", at_ms, "catalogue", items=items)


@pytest.fixture
def store(redis_url: str) -> Iterator[Store]:
    opened = Store(redis_url, timeout_ms=2000, patience_s=2)
    opened.client.flushall()
    yield opened
    opened.close()


@pytest.mark.parametrize(("rewrite_max", "resume"), [(2000, True), (3, False), (0, True)])
def test_what_sells_out_is_in_no_list_after_the_batch_that_says_so(
    rewrite_max: int, resume: bool, store: Store
) -> None:
    rules = config_lists.ListRules(out_of_stock=config_lists.OutOfStock(rewrite_max=rewrite_max))
    lists = config_lists.Lists(rules=rules, k=8, figures_every_ms=60_000)
    settings = msgspec.structs.replace(flow_settings(), lists=lists)
    stream = list(generate_events(events=1500, shoppers=60, items=40, events_per_s=0.3))
    cuts: list[Sequence[Event]] = [stream[at : at + 100] for at in range(0, 1500, 100)]
    sold_out = _most_listed(settings, cuts[:10], store)
    gone = [Item(item, available=False) for item in sold_out]
    cuts[10:10] = [[catalogue(1, LONG_AFTER_MS, *gone)]]
    cuts.append([catalogue(2, LONG_AFTER_MS, Item(sold_out[0], available=True))])
    cuts.append(stream[:100])
    learning, lists_before = Personalization(settings), 0
    for number, parts in enumerate(batches(cuts)):
        for output in learning.process_batch(parts):
            store.send(output.writes)
        store.flush()
        if number == 9:
            assert kinds_of(holding(store, sold_out[0])) >= {
                "shoppertop",
                "itemsimilar",
                "popular24h",
            }
            lists_before = len(items_of_lists(store))
        if 10 <= number < len(cuts) - 2:
            assert not holding(store, sold_out[0]) | holding(store, sold_out[1])
        if number == 10:
            assert (len(items_of_lists(store)) == lists_before) == (rewrite_max == 2000)
            own = [items for key, items in items_of_lists(store).items() if ":top:" in key]
            assert all(len(items) == 8 for items in own)
        if resume:
            learning = Personalization(settings, learning.snapshot())
    assert holding(store, sold_out[0])
    assert not holding(store, sold_out[1])


def _most_listed(
    settings: config.Settings, cuts: Sequence[Sequence[Event]], store: Store
) -> list[str]:
    """The two items that most lists hold after a stream."""
    learning = Personalization(settings)
    for parts in batches(cuts):
        for output in learning.process_batch(parts):
            store.send(output.writes)
    store.flush()
    counts: dict[str, int] = {}
    for items in items_of_lists(store).values():
        for item in items:
            counts[item] = counts.get(item, 0) + 1
    store.client.flushall()
    return sorted(counts, key=lambda item: -counts[item])[:2]


def test_who_holds_an_item_is_known_and_the_newest_comes_first() -> None:
    written = PublishedIndex(3, ttl_s=10)
    items = np.array([[5, 6, NO_ROW], [7, 5, 8], [9, 1, 2]], np.int32)
    written.store(np.array([0, 2, 4], np.int32), items, 20_000)
    written.store(np.array([2], np.int32), items[1:2], 25_000)
    assert rows_of(written.rows_containing(np.array([5], np.int32), 25_000)) == ([2, 0], [])
    assert rows_of(written.rows_containing(np.array([5, 9], np.int32), 31_000)) == ([2], [0, 4])
    assert rows_of(written.rows_containing(np.array([3], np.int32), 25_000)) == ([], [])
    other = PublishedIndex(3, ttl_s=10)
    other.restore(written.arrays())
    other.remove_rows(np.array([2], np.int32))
    assert rows_of(other.rows_containing(np.array([5], np.int32), 25_000)) == ([0], [])
    longer = PublishedIndex(4, ttl_s=10)
    longer.restore(written.arrays())
    assert rows_of(longer.rows_containing(np.array([5], np.int32), 25_000)) == ([], [])


def rows_of(found: tuple[Rows, Rows]) -> tuple[list[int], list[int]]:
    return found[0].tolist(), found[1].tolist()


def test_a_list_that_stands_longer_than_its_time_is_taken_back_and_so_is_one_left_empty(
    store: Store,
) -> None:
    """Days of events are read in a moment: to Redis the oldest list is as new as the newest."""
    looks = [event("item_view", f"{who}", 0, who, items=(Item("mug"),)) for who in ("ann", "bob")]
    later = event("item_view", "later", 3 * 86_400_000, "bob", items=(Item("mug"),))
    gone = catalogue(1, 3 * 86_400_000, Item("mug", available=False))
    learning = Personalization(flow_settings())
    for number, parts in enumerate(batches([looks, [later], [gone]])):
        for output in learning.process_batch(parts):
            store.send(output.writes)
        store.flush()
        own = {key for key in holding(store, "mug") if ":top:" in key}
        assert len(own) == (2, 2, 0)[number]


@pytest.mark.slow
def test_in_a_live_run_it_takes_less_than_5_s(
    kafka_broker: AnyBroker, redis_url: str, tmp_path: Path, store: Store
) -> None:
    """From when the event was sent until no key in Redis holds the item."""
    with Live(kafka_broker, "sold-out", redis_url, tmp_path) as live:
        live.send(3000)
        run = live.start()
        run.until(live.caught_up)
        item = _best_seller(store)
        assert len(holding(store, item)) > 100
        took_s = {}
        for number, (available, is_so) in enumerate(((False, _is_gone), (True, _is_back))):
            said = catalogue(number, LONG_AFTER_MS + number, Item(item, available=available))
            began_s = time.monotonic()
            _send(live, said)
            run.until(lambda is_so=is_so: is_so(store, item))  # type: ignore[misc]
            took_s[available] = time.monotonic() - began_s
        print(f"gone after {took_s[False]:.2f} s, back after {took_s[True]:.2f} s")
        assert took_s[False] < BOUND_S
        assert run.stop()[0] == 0


def _is_gone(store: Store, item: str) -> bool:
    return not holding(store, item)


def _is_back(store: Store, item: str) -> bool:
    return bool(holding(store, item))


def _best_seller(store: Store) -> str:
    text: Any = store.client.get("ps:1:popular:{all}:24h")
    return str(orjson.loads(text)["items"][0][0])


def _send(live: Live, said: Event) -> None:
    producer = KafkaProducer(bootstrap_servers=live.broker.address)
    producer.send(live.topic, msgspec.json.encode(said), key=b"catalogue")
    producer.flush()
    producer.close()
    live.sent += 1
