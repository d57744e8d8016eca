"""The process of webhooks: it starts, stops, is killed or loses Redis, and no change is lost."""

from __future__ import annotations

import time
from collections import Counter

from flows.process.embedded_redis import EmbeddedRedis
from state import keys
from tests.flows.webhooks.deliveries import assert_in_order, pending_count
from tests.hooks_runs import (
    EndpointServer,
    Request,
    Shop,
    process,
    running_webhooks,
    settings,
    until,
)


def test_a_new_endpoint_starts_with_new_changes(
    receiver: EndpointServer, shop: Shop, redis_url: str
) -> None:
    shop.write_moves(5)
    chosen = settings(receiver, start="newest")
    with running_webhooks(chosen, redis_url):
        until(lambda: bool(shop.store.client.xinfo_groups(keys.change_stream_key(7))))
        ids = shop.write_moves(30)
        receiver.wait_until_accepted(ids)
    while_away = shop.write_moves(30)
    with running_webhooks(chosen, redis_url):
        receiver.wait_until_accepted(while_away)
    assert [one.id for one in receiver.accepted if one.id not in ids + while_away] == []
    assert len(receiver.accepted) == 60


def test_delivery_continues_after_redis_restarts_or_loses_its_data(
    receiver: EndpointServer,
) -> None:
    with EmbeddedRedis() as server:
        shop = Shop(server.url)
        with running_webhooks(settings(receiver), server.url):
            before = shop.write_moves(40)
            receiver.wait_until_accepted(before)
            server.stop()
            time.sleep(0.3)
            server.start()
            ids = shop.write_moves(40)
            receiver.wait_until_accepted(ids)
            until(lambda: pending_count(shop) == 0)
        assert [one.id for one in receiver.accepted if one.id not in before + ids] == []


def test_nothing_arrives_after_sigterm_and_nothing_is_lost(
    receiver: EndpointServer, shop: Shop, redis_url: str
) -> None:
    def slow(_: Request) -> int:
        time.sleep(0.01)
        return 204

    receiver.answer = slow
    ids = shop.write_moves(300)
    run = process(settings(receiver, timeout_ms=7000), redis_url)
    run.until(lambda: len(receiver.accepted) > 20)
    code, output = run.stop()
    arrived = len(receiver.requests)
    assert (code, output) == (0, "")
    assert pending_count(shop) < 300
    assert arrived < 300
    taken = {one.id for one in receiver.accepted}
    time.sleep(0.3)
    assert len(receiver.requests) == arrived
    with running_webhooks(settings(receiver), redis_url):
        receiver.wait_until_accepted(ids)
    again = [one.id for one in receiver.accepted[arrived:]]
    assert not taken & set(again)  # what had arrived was acknowledged
    assert_in_order(receiver.accepted)


def test_kill_9_loses_nothing(receiver: EndpointServer, shop: Shop, redis_url: str) -> None:
    def slow(_: Request) -> int:
        time.sleep(0.01)
        return 204

    receiver.answer = slow
    ids = shop.write_moves(300)
    run = process(settings(receiver), redis_url)
    run.until(lambda: len(receiver.accepted) > 30)
    run.kill()
    assert len(receiver.accepted) < 300
    with running_webhooks(settings(receiver), redis_url):
        receiver.wait_until_accepted(ids)
        until(lambda: pending_count(shop) == 0)
    bodies = {(one.id, one.body) for one in receiver.accepted}
    assert len(bodies) == len(ids)  # repeated messages are equal


def test_a_second_process_waits_until_the_first_ends(
    receiver: EndpointServer, shop: Shop, redis_url: str
) -> None:
    with running_webhooks(settings(receiver), redis_url):
        receiver.wait_until_accepted(shop.write_moves(5))
        with running_webhooks(settings(receiver), redis_url):
            receiver.wait_until_accepted(shop.write_moves(50))
            time.sleep(0.2)
    assert max(Counter(one.id for one in receiver.accepted).values()) == 1
