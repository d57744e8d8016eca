"""The process of webhooks: it starts, stops, is killed or loses Redis, and no change is lost."""

from __future__ import annotations

import time
from collections import Counter

from flows.process.embedded_redis import EmbeddedRedis
from state import keys
from tests.flows.webhooks.deliveries import assert_in_order, pending_count
from tests.hooks_runs import Endpointer, Request, Shop, process, settings, telling, until


def test_a_new_endpoint_starts_with_new_changes(
    there: Endpointer, shop: Shop, redis_url: str
) -> None:
    shop.moves(5)
    chosen = settings(there, start="newest")
    with telling(chosen, redis_url):
        until(lambda: bool(shop.store.client.xinfo_groups(keys.change_stream_key(7))))
        ids = shop.moves(30)
        there.until_taken(ids)
    while_away = shop.moves(30)
    with telling(chosen, redis_url):
        there.until_taken(while_away)
    assert [one.id for one in there.taken if one.id not in ids + while_away] == []
    assert len(there.taken) == 60


def test_delivery_continues_after_redis_restarts_or_loses_its_data(there: Endpointer) -> None:
    with EmbeddedRedis() as server:
        shop = Shop(server.url)
        with telling(settings(there), server.url):
            before = shop.moves(40)
            there.until_taken(before)
            server.stop()
            time.sleep(0.3)
            server.start()
            ids = shop.moves(40)
            there.until_taken(ids)
            until(lambda: pending_count(shop) == 0)
        assert [one.id for one in there.taken if one.id not in before + ids] == []


def test_nothing_arrives_after_sigterm_and_nothing_is_lost(
    there: Endpointer, shop: Shop, redis_url: str
) -> None:
    def slow(_: Request) -> int:
        time.sleep(0.01)
        return 204

    there.answer = slow
    ids = shop.moves(300)
    run = process(settings(there, timeout_ms=7000), redis_url)
    run.until(lambda: len(there.taken) > 20)
    code, output = run.stop()
    arrived = len(there.requests)
    assert (code, output) == (0, "")
    assert pending_count(shop) < 300
    assert arrived < 300
    taken = {one.id for one in there.taken}
    time.sleep(0.3)
    assert len(there.requests) == arrived
    with telling(settings(there), redis_url):
        there.until_taken(ids)
    again = [one.id for one in there.taken[arrived:]]
    assert not taken & set(again)  # what had arrived was acknowledged
    assert_in_order(there.taken)


def test_kill_9_loses_nothing(there: Endpointer, shop: Shop, redis_url: str) -> None:
    def slow(_: Request) -> int:
        time.sleep(0.01)
        return 204

    there.answer = slow
    ids = shop.moves(300)
    run = process(settings(there), redis_url)
    run.until(lambda: len(there.taken) > 30)
    run.kill()
    assert len(there.taken) < 300
    with telling(settings(there), redis_url):
        there.until_taken(ids)
        until(lambda: pending_count(shop) == 0)
    bodies = {(one.id, one.body) for one in there.taken}
    assert len(bodies) == len(ids)  # repeated messages are equal


def test_a_second_process_waits_until_the_first_ends(
    there: Endpointer, shop: Shop, redis_url: str
) -> None:
    with telling(settings(there), redis_url):
        there.until_taken(shop.moves(5))
        with telling(settings(there), redis_url):
            there.until_taken(shop.moves(50))
            time.sleep(0.2)
    assert max(Counter(one.id for one in there.taken).values()) == 1
