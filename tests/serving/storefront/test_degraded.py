"""While Redis is stopped, paused or full, and after it: always an answer, and back by itself."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from flows.process.embedded_redis import EmbeddedRedis
from serving.collector.redis_log import RedisEventLog
from serving.collector.spool import Spool
from serving.storefront.reads import FAILURES_MAX, PAUSE_S
from state import keys
from state.store import AsyncAppender, Store
from tests.kafka_broker import free_port
from tests.serving.storefront.servers import Answer, Door, open_door

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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


def test_a_cluster_that_is_away_costs_no_answer_and_no_event(tmp_path: Path) -> None:
    """redis-py's error for it is none of its other errors, nor one of the system."""
    url = f"redis+cluster://127.0.0.1:{free_port()}"
    log = RedisEventLog(AsyncAppender(url, timeout_ms=2000), 1)
    event = {"event_id": "e", "type": "page_view", "event_ts": 1, "user_id": "ann"}
    with open_door(url, log, tmp_path) as door:
        assert ask(door) == (True, [])
        assert door.get("/readyz").status == 503
        assert door.post("/v1/events", event).json() == {"accepted": 1, "rejected": []}
        assert Spool(tmp_path, 1).byte_count


def test_a_redis_that_is_back_is_used_within_two_seconds() -> None:
    """By the server's own timer: a slow machine gives it more than 2 s, never less."""
    with EmbeddedRedis() as redis:
        fill(redis)
        with open_door(redis.url, read_timeout_ms=500) as door:
            assert ask(door) == (False, ["own", "popular"])
            redis.stop()
            for _ in range(FAILURES_MAX + 1):
                assert ask(door)[0]
            redis.start()  # which returns when it answers PING
            fill(redis)
            probes = 0
            while ask(door) != (False, ["own", "popular"]):
                probes += 1
                time.sleep(PAUSE_S)
            assert probes * PAUSE_S <= 2


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


def test_a_full_redis_answers_lists_and_takes_no_events_but_loses_none(
    redis: EmbeddedRedis, tmp_path: Path
) -> None:
    client = Store(redis.url, timeout_ms=2000, patience_s=0).client
    log = RedisEventLog(AsyncAppender(redis.url, timeout_ms=2000), 1)

    def send(number: int) -> Answer:
        event = {"event_id": f"e-{number}", "type": "page_view", "event_ts": 1, "user_id": "ann"}
        return door.post("/v1/events", event | {"props": {"text": "x" * 20_000}})

    def stored() -> set[str]:
        entries = client.xrange(keys.events_key(0))
        return {json.loads(fields[b"e"])["event_id"] for _, fields in entries}

    with open_door(redis.url, log, tmp_path) as door:
        assert send(0).status == 202
        used = client.info("memory")["used_memory"]
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", used // 2)
        answers = [send(number) for number in range(1, 80)]
        accepted = {f"e-{n}" for n, one in enumerate(answers, 1) if one.status == 202}
        refused = [one for one in answers if one.status != 202]
        assert len(accepted) > 5, "the spool of 1 MB takes some"
        assert refused, "and is full then"
        assert {(one.status, one.headers.get("retry-after")) for one in refused} == {(503, "5")}
        assert ask(door) == (False, ["own", "popular"])
        assert door.get("/readyz").status == 200
        assert stored() == {"e-0"}
        client.config_set("maxmemory", 0)
        wait_until(lambda: stored() == {"e-0", *accepted})
        assert send(99).status == 202
        wait_until(lambda: "e-99" in stored())


def test_under_load_nothing_fails_while_redis_is_away_and_it_is_used_again_at_once(
    redis: EmbeddedRedis,
) -> None:
    """Stopped and started, paused and continued, with requests all the while: no 5xx but /readyz."""
    process = process_of(redis)
    with open_door(redis.url, read_timeout_ms=200, rate_max=100_000) as door:
        wait_until(lambda: ask(door) == (False, ["own", "popular"]))
        is_over = threading.Event()
        statuses: Counter[int] = Counter()

        def load() -> None:
            while not is_over.is_set():
                statuses[door.get("/v1/lists/home?shopper=ann").status] += 1
                statuses[door.get("/healthz").status] += 1

        clients = [threading.Thread(target=load) for _ in range(4)]
        for one in clients:
            one.start()
        try:
            os.kill(process, signal.SIGSTOP)
            wait_until(lambda: ask(door)[0])
            os.kill(process, signal.SIGCONT)
            wait_until(lambda: not ask(door)[0])
            redis.stop()
            wait_until(lambda: ask(door)[0])
            assert door.get("/readyz").status == 503
            redis.start()
            fill(redis)
            wait_until(lambda: ask(door) == (False, ["own", "popular"]))
        finally:
            is_over.set()
            for one in clients:
                one.join(PATIENCE_S)
    assert set(statuses) == {200}
    assert statuses[200] > 20


def test_metrics_have_an_address_of_their_own(redis: EmbeddedRedis) -> None:
    port = free_port()
    with open_door(redis.url, metrics_listen=f"127.0.0.1:{port}") as door:
        ask(door)
        wait_until(lambda: "penstock_storefront_requests_total" in metrics_at(port))
        wait_until(lambda: "penstock_storefront_in_flight 0.0" in metrics_at(port))


def metrics_at(port: int) -> str:
    return Door(f"http://127.0.0.1:{port}").get("/metrics").body.decode()
