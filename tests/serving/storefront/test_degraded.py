"""While Redis is stopped, paused or full, and after it: always an answer, and back by itself."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from flows.process.embedded_redis import EmbeddedRedis
from state import keys
from state.store import Store
from tests.kafka_broker import free_port
from tests.serving.storefront.servers import Door, open_door

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE_S = 20


@pytest.fixture
def redis() -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis() as server:
        fill(server)
        yield server


def fill(server: EmbeddedRedis) -> None:
    client = Store(server.url, timeout_ms=2000, patience_s=0).client
    for key, item in ((keys.top_key("ann", "home"), "own"), (keys.popular_key(), "popular")):
        stored = {"at": 1, "source": "blend", "items": [[item, 0.5, "popular"]]}
        client.set(key, json.dumps(stored))
    client.hset(keys.card_key("own"), mapping={"name": "Mug", "price": "3.00"})


def ask(door: Door, shopper: str = "ann") -> tuple[bool, list[str]]:
    answer = door.get(f"/v1/lists/home?shopper={shopper}")
    assert answer.status == 200
    found = answer.json()
    return found["degraded"], [one["id"] for one in found["items"]]


def wait_until(condition: Any) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def process_of(server: EmbeddedRedis) -> int:
    client = Store(server.url, timeout_ms=2000, patience_s=0).client
    return int(client.info("server")["process_id"])


def test_a_stopped_redis_costs_no_answer_and_is_used_again_when_it_is_back(
    redis: EmbeddedRedis,
) -> None:
    with open_door(redis.url) as door:
        assert ask(door) == (False, ["own", "popular"])
        redis.stop()
        assert ask(door) == (True, ["own", "popular"])
        assert ask(door, "bob") == (True, ["popular"])
        assert door.get("/readyz").status == 503
        assert door.get("/healthz").status == 200
        redis.start()
        fill(redis)
        wait_until(lambda: ask(door) == (False, ["own", "popular"]))
        assert door.get("/readyz").status == 200


def test_a_redis_that_hangs_costs_the_limit_a_few_times_and_then_nothing(
    redis: EmbeddedRedis,
) -> None:
    process = process_of(redis)
    with open_door(redis.url, read_timeout_ms=300) as door:
        wait_until(lambda: ask(door) == (False, ["own", "popular"]))
        os.kill(process, signal.SIGSTOP)
        try:
            began_s = time.monotonic()
            answers = [ask(door) for _ in range(20)]
            took_s = time.monotonic() - began_s
        finally:
            os.kill(process, signal.SIGCONT)
        assert set(map(str, answers)) == {"(True, ['own', 'popular'])"}
        assert took_s < 20 * 0.3
        wait_until(lambda: ask(door) == (False, ["own", "popular"]))


def test_a_server_that_starts_without_redis_answers_nothing_and_then_lists(
    redis: EmbeddedRedis,
) -> None:
    redis.stop()
    with open_door(redis.url) as door:
        assert ask(door) == (True, [])
        redis.start()
        fill(redis)
        wait_until(lambda: ask(door) == (False, ["own", "popular"]))


def test_an_overloaded_server_answers_what_is_popular_without_redis(redis: EmbeddedRedis) -> None:
    process = process_of(redis)
    with open_door(redis.url, in_flight_max=2) as door:
        assert ask(door) == (False, ["own", "popular"])
        os.kill(process, signal.SIGSTOP)
        answers: list[tuple[bool, list[str]]] = []
        waiting = [
            threading.Thread(target=lambda: answers.append(ask(door, "ann"))) for _ in range(8)
        ]
        try:
            for one in waiting:
                one.start()
            wait_until(lambda: answers.count((True, ["popular"])) >= 6)
        finally:
            os.kill(process, signal.SIGCONT)
        for one in waiting:
            one.join(PATIENCE_S)
    assert len(answers) == 8


def test_a_reply_that_is_no_list_is_no_list(redis: EmbeddedRedis) -> None:
    client = Store(redis.url, timeout_ms=2000, patience_s=0).client
    client.set(keys.top_key("ann", "home"), "{not json")
    with open_door(redis.url) as door:
        assert ask(door) == (False, ["popular"])


def test_metrics_have_an_address_of_their_own(redis: EmbeddedRedis) -> None:
    port = free_port()
    with open_door(redis.url, metrics_listen=f"127.0.0.1:{port}") as door:
        ask(door)
        wait_until(lambda: "penstock_storefront_requests_total" in metrics_at(port))


def metrics_at(port: int) -> str:
    return Door(f"http://127.0.0.1:{port}").get("/metrics").body.decode()
