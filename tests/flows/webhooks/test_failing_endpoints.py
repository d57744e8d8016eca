"""Every change arrives in order whatever an endpoint answers; a refused one is a dead letter."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from flows.webhooks.process import redeliver_dead
from tests.flows.webhooks.deliveries import assert_in_order, dead_letters, pending_count
from tests.hooks_runs import (
    DRIP,
    HANG,
    HANG_UP,
    EndpointServer,
    Request,
    Shop,
    endpoint,
    running_webhooks,
    settings,
    until,
)


def test_every_change_arrives_at_an_endpoint_that_fails_in_all_ways(
    receiver: EndpointServer, shop: Shop, redis_url: str
) -> None:
    """A third of the requests fails, each way in turn; the changes of a shopper stay in order."""
    ways: list[int | str] = [500, 429, HANG_UP, 503, 404, DRIP, HANG]
    asked = Counter[str]()

    def answer(request: Request) -> int | str:
        asked["all"] += 1
        return ways[asked["all"] // 3 % len(ways)] if asked["all"] % 3 == 0 else 204

    receiver.answer = answer
    ids = shop.write_moves(150)
    with running_webhooks(settings(receiver), redis_url):
        receiver.wait_until_accepted(ids)
        until(lambda: pending_count(shop) == 0)
    assert sorted({one.id for one in receiver.accepted}) == sorted(ids)
    assert len({(one.id, one.body) for one in receiver.requests}) == len(ids)
    assert_in_order(receiver.accepted)
    assert dead_letters(shop) == []


def test_an_endpoint_that_restarts_misses_nothing_and_delays_no_other(
    receiver: EndpointServer, shop: Shop, redis_url: str
) -> None:
    with endpoint() as other, running_webhooks(settings(receiver, other), redis_url):
        receiver.wait_until_accepted(shop.write_moves(40))
        receiver.stop()
        ids = shop.write_moves(40)
        other.wait_until_accepted(ids)
        assert not {one.id for one in receiver.accepted} & set(ids)
        receiver.start()
        receiver.wait_until_accepted(ids)
    assert_in_order(receiver.accepted)


def test_a_refused_change_is_a_dead_letter_and_the_next_is_delivered(
    receiver: EndpointServer, shop: Shop, redis_url: str
) -> None:
    ids = shop.write_moves(3, shoppers=1)
    receiver.answer = lambda request: 400 if request.id == ids[1] else 204
    chosen = settings(receiver)
    with running_webhooks(chosen, redis_url):
        receiver.wait_until_accepted([ids[0], ids[2]])
        until(lambda: len(dead_letters(shop)) == 1 and pending_count(shop) == 0)
    (letter,) = dead_letters(shop)
    assert letter[b"id"] == ids[1].encode()
    assert letter[b"reason"] == b"answered 400 Bad Request"
    assert len(receiver.requests) == 3
    # A redelivery that is refused again stays a dead letter; an accepted one is deleted.
    stop: Any = type("Never", (), {"is_set": lambda self: False})()
    assert redeliver_dead(chosen, redis_url, stop, ["a"]) == (0, 1)
    assert len(dead_letters(shop)) == 1
    receiver.answer = lambda _: 204
    assert redeliver_dead(chosen, redis_url, stop, ["a"]) == (1, 0)
    assert dead_letters(shop) == []
    assert receiver.accepted[-1].id == ids[1]
    assert receiver.accepted[-1].body == letter[b"body"]


def test_a_change_that_fails_too_often_is_a_dead_letter(
    receiver: EndpointServer, shop: Shop, redis_url: str
) -> None:
    ids = shop.write_moves(2, shoppers=2)
    receiver.answer = lambda request: 500 if request.id == ids[0] else 204
    with running_webhooks(settings(receiver, tries=3), redis_url):
        until(lambda: len(dead_letters(shop)) == 1)
    assert Counter(one.id for one in receiver.requests) == {ids[0]: 3, ids[1]: 1}
    assert dead_letters(shop)[0][b"tries"] == b"3"


def test_a_requested_pause_is_kept(receiver: EndpointServer, shop: Shop, redis_url: str) -> None:
    times: list[float] = []

    def answer(_: Request) -> int:
        times.append(time.monotonic())
        return 429 if len(times) == 1 else 204

    receiver.answer, receiver.headers = answer, {"Retry-After": "1"}
    ids = shop.write_moves(5, shoppers=5)
    with running_webhooks(settings(receiver, concurrency=1), redis_url):
        receiver.wait_until_accepted(ids)
    assert times[1] - times[0] >= 0.95


def test_a_refused_change_delays_only_its_shopper(
    receiver: EndpointServer, shop: Shop, redis_url: str
) -> None:
    receiver.answer = lambda one: 500 if one.json["userId"] == "shopper-0" else 204
    ids = shop.write_moves(200, shoppers=20)
    others = [one for n, one in enumerate(ids) if n % 20]
    with running_webhooks(settings(receiver, concurrency=2), redis_url):
        receiver.wait_until_accepted(others)


def test_no_more_requests_at_once_than_configured(
    receiver: EndpointServer, shop: Shop, redis_url: str
) -> None:
    current, highest = [0], [0]

    def answer(_: Request) -> int:
        return 204

    handle = receiver.handle

    def count(handler: Any, request: Request) -> None:
        current[0] += 1
        highest[0] = max(highest[0], current[0])
        time.sleep(0.01)
        current[0] -= 1
        handle(handler, request)

    receiver.answer, receiver.handle = answer, count  # type: ignore[method-assign]
    with running_webhooks(settings(receiver, concurrency=3), redis_url):
        receiver.wait_until_accepted(shop.write_moves(60))
    assert 1 < highest[0] <= 3
