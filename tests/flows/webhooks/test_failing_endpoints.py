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
    Endpointer,
    Request,
    Shop,
    endpoint,
    settings,
    telling,
    until,
)


def test_every_change_arrives_at_an_endpoint_that_fails_in_all_ways(
    there: Endpointer, shop: Shop, redis_url: str
) -> None:
    """A third of the requests fails, each way in turn; the changes of a shopper stay in order."""
    ways: list[int | str] = [500, 429, HANG_UP, 503, 404, DRIP, HANG]
    asked = Counter[str]()

    def answer(request: Request) -> int | str:
        asked["all"] += 1
        return ways[asked["all"] // 3 % len(ways)] if asked["all"] % 3 == 0 else 204

    there.answer = answer
    ids = shop.moves(150)
    with telling(settings(there), redis_url):
        there.until_taken(ids)
        until(lambda: pending_count(shop) == 0)
    assert sorted({one.id for one in there.taken}) == sorted(ids)
    assert len({(one.id, one.body) for one in there.requests}) == len(ids)
    assert_in_order(there.taken)
    assert dead_letters(shop) == []


def test_an_endpoint_that_restarts_misses_nothing_and_delays_no_other(
    there: Endpointer, shop: Shop, redis_url: str
) -> None:
    with endpoint() as other, telling(settings(there, other), redis_url):
        there.until_taken(shop.moves(40))
        there.stop()
        ids = shop.moves(40)
        other.until_taken(ids)
        assert not {one.id for one in there.taken} & set(ids)
        there.start()
        there.until_taken(ids)
    assert_in_order(there.taken)


def test_a_refused_change_is_a_dead_letter_and_the_next_is_delivered(
    there: Endpointer, shop: Shop, redis_url: str
) -> None:
    ids = shop.moves(3, shoppers=1)
    there.answer = lambda request: 400 if request.id == ids[1] else 204
    chosen = settings(there)
    with telling(chosen, redis_url):
        there.until_taken([ids[0], ids[2]])
        until(lambda: len(dead_letters(shop)) == 1 and pending_count(shop) == 0)
    (letter,) = dead_letters(shop)
    assert letter[b"id"] == ids[1].encode()
    assert letter[b"reason"] == b"answered 400 Bad Request"
    assert len(there.requests) == 3
    # A redelivery that is refused again stays a dead letter; an accepted one is deleted.
    stop: Any = type("Never", (), {"is_set": lambda self: False})()
    assert redeliver_dead(chosen, redis_url, stop, ["a"]) == (0, 1)
    assert len(dead_letters(shop)) == 1
    there.answer = lambda _: 204
    assert redeliver_dead(chosen, redis_url, stop, ["a"]) == (1, 0)
    assert dead_letters(shop) == []
    assert there.taken[-1].id == ids[1]
    assert there.taken[-1].body == letter[b"body"]


def test_a_change_that_fails_too_often_is_a_dead_letter(
    there: Endpointer, shop: Shop, redis_url: str
) -> None:
    ids = shop.moves(2, shoppers=2)
    there.answer = lambda request: 500 if request.id == ids[0] else 204
    with telling(settings(there, tries=3), redis_url):
        until(lambda: len(dead_letters(shop)) == 1)
    assert Counter(one.id for one in there.requests) == {ids[0]: 3, ids[1]: 1}
    assert dead_letters(shop)[0][b"tries"] == b"3"


def test_a_requested_pause_is_kept(there: Endpointer, shop: Shop, redis_url: str) -> None:
    times: list[float] = []

    def answer(_: Request) -> int:
        times.append(time.monotonic())
        return 429 if len(times) == 1 else 204

    there.answer, there.headers = answer, {"Retry-After": "1"}
    ids = shop.moves(5, shoppers=5)
    with telling(settings(there, concurrency=1), redis_url):
        there.until_taken(ids)
    assert times[1] - times[0] >= 0.95


def test_a_refused_change_delays_only_its_shopper(
    there: Endpointer, shop: Shop, redis_url: str
) -> None:
    there.answer = lambda one: 500 if one.json["userId"] == "shopper-0" else 204
    ids = shop.moves(200, shoppers=20)
    others = [one for n, one in enumerate(ids) if n % 20]
    with telling(settings(there, concurrency=2), redis_url):
        there.until_taken(others)


def test_no_more_requests_at_once_than_configured(
    there: Endpointer, shop: Shop, redis_url: str
) -> None:
    current, highest = [0], [0]

    def answer(_: Request) -> int:
        return 204

    handle = there.handle

    def count(handler: Any, request: Request) -> None:
        current[0] += 1
        highest[0] = max(highest[0], current[0])
        time.sleep(0.01)
        current[0] -= 1
        handle(handler, request)

    there.answer, there.handle = answer, count  # type: ignore[method-assign]
    with telling(settings(there, concurrency=3), redis_url):
        there.until_taken(shop.moves(60))
    assert 1 < highest[0] <= 3
