"""The health checks and metrics of a process, read over real HTTP."""

from __future__ import annotations

import json
import re
import time
from array import array
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import orjson
import pytest

from flows.observability import recording
from flows.observability.exposition import expose_process
from flows.observability.health import WorkerHealth, health_server
from flows.observability.heartbeat import TTL_S, Heartbeat
from flows.process import liveness
from state import keys
from state.config import Settings
from state.config_deployment import Metrics, Run
from state.errors import ConfigurationError
from state.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flows.process.embedded_redis import EmbeddedRedis

ANYWHERE = "127.0.0.1:0"
STUCK_S = 60.0
SOON_STUCK_S = 0.2


class Topic:
    log_name: ClassVar[str] = "kafka"

    """A topic of two partitions."""

    def __init__(self) -> None:
        self.lag = {"0-events": 3, "1-events": 4}
        self.is_reachable = True


@contextmanager
def outside(
    redis_url: str, topic: Topic, *, lag_max: int = 10, stuck_s: float = STUCK_S
) -> Iterator[str]:
    settings = Settings(
        metrics=Metrics(listen=ANYWHERE, ready_lag_max=lag_max), run=Run(stuck_s=stuck_s)
    )
    with expose_process(settings, redis_url, topic) as address:
        yield address


def until(is_so: Callable[[], bool]) -> None:
    """Wait for something."""
    give_up_s = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < give_up_s
        time.sleep(0.01)


def ask(address: str, path: str) -> tuple[int, Any]:
    """Status and answer."""
    try:
        with urlopen(f"http://{address}{path}", timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except HTTPError as refused:
        return refused.code, json.loads(refused.read())


def test_a_worker_is_alive_while_it_makes_progress(redis_url: str) -> None:
    with outside(redis_url, Topic(), stuck_s=SOON_STUCK_S) as address:

        def moves() -> tuple[int, str]:
            liveness.mark_progress()
            status, told = ask(address, "/healthz")
            return status, told["status"]

        until(lambda: moves() == (200, "ok"))
        time.sleep(SOON_STUCK_S + 0.1)
        status, told = ask(address, "/healthz")
        assert (status, told["status"]) == (503, "stuck")
        assert re.fullmatch(
            r"the worker has made no progress for \d+ s \(limit 0.2\)", told["reason"]
        )
        assert ask(address, "/readyz")[1]["worker"] == told["reason"]
        until(lambda: moves() == (200, "ok"))


def test_a_worker_is_ready_if_every_check_passes(redis_server: EmbeddedRedis) -> None:
    topic = Topic()
    with outside(redis_server.url, topic) as address:
        liveness.mark_progress()
        fine = dict.fromkeys(("status", "worker", "state", "redis", "kafka", "lag"), "ok")
        assert ask(address, "/readyz") == (200, fine)
        topic.lag["1-events"] = 8
        status, told = ask(address, "/readyz")
        assert status == 503
        assert told == fine | {
            "status": "not ready",
            "lag": "11 records behind, more than metrics.ready_lag_max (10)",
        }
        topic.lag, topic.is_reachable = {}, False
        assert ask(address, "/readyz")[1]["kafka"] == "does not answer"
        topic.is_reachable = True
        redis_server.stop()
        try:
            liveness.mark_progress()
            status, told = ask(address, "/readyz")
            assert (status, ask(address, "/healthz")[0]) == (503, 200)
            assert re.match(r"Redis at unix:.* does not answer: start it", told["redis"])
        finally:
            redis_server.start()
        liveness.mark_progress()
        assert ask(address, "/readyz")[0] == 200


def test_before_the_first_progress_the_state_is_being_resumed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(liveness, "_has_started", False)
    health = WorkerHealth(STUCK_S, lambda: None, Topic())
    assert health.check_ready()[1]["state"] == "is being resumed"


def test_metrics_have_the_format_of_prometheus(redis_url: str) -> None:
    with outside(redis_url, Topic()) as address:
        with urlopen(f"http://{address}/metrics", timeout=10) as answer:
            text = answer.read().decode()
            assert answer.headers["Content-Type"].startswith("text/plain")
        assert 'penstock_kafka_lag{partition="1-events"} 4.0' in text
        assert re.search(r"^penstock_pulse_age_seconds \d", text, re.MULTILINE)
        assert "_created" not in text
        newer = Request(f"http://{address}/metrics")
        newer.add_header("Accept", "application/openmetrics-text; version=1.0.0")
        with urlopen(newer, timeout=10) as answer:
            assert answer.read().endswith(b"# EOF\n")
        with pytest.raises(HTTPError, match="404"):
            urlopen(f"http://{address}/", timeout=10)


def test_an_address_that_is_not_available_is_a_one_line_error(redis_url: str) -> None:
    health = WorkerHealth(STUCK_S, lambda: None, Topic())
    with health_server(health, ANYWHERE) as address:
        said = rf"metrics.listen {address}: cannot listen on port \d+: Address already in use: set"
        with pytest.raises(ConfigurationError, match=said), health_server(health, address):
            pass
    for listen, said in (
        ("9464", 'expected host:port, or "" for none'),
        ("127.0.0.1:http", "expected host:port"),
        ("127.0.0.1:99999", "cannot listen on port 99999"),
        ("no.such.host.invalid:0", "cannot listen"),
    ):
        with (
            pytest.raises(ConfigurationError, match=re.escape(said)),
            health_server(health, listen),
        ):
            pass
    with health_server(health, "") as address:
        assert address == ""


def test_each_process_has_its_own_port() -> None:
    health = WorkerHealth(STUCK_S, lambda: None, Topic())
    with health_server(health, ANYWHERE) as address:
        host, _, port = address.rpartition(":")
        with health_server(health, address, worker=1) as other:
            assert other == f"{host}:{int(port) + 1}"
    with health_server(health, "[::1]:0") as address:
        liveness.mark_progress()
        assert ask(address, "/healthz")[0] == 200


def test_a_heartbeat_expires(redis_url: str) -> None:
    store = Store(redis_url, timeout_ms=2000, patience_s=0)
    first, second = (Heartbeat(store, Topic(), worker, 2) for worker in (0, 1))
    second.write()
    first.write()
    told = orjson.loads(store.client.get(keys.worker_key(1)))
    assert set(told) == {
        *("at", "pid", "host", "events", "events_per_s", "watermark_ms", "lag", "version")
    }
    assert told["lag"] == 7
    assert 0 < store.client.ttl(keys.worker_key(1)) <= TTL_S
    assert store.client.hget(keys.meta_key(), "lag") == b"14"
    second.remove()
    assert not store.client.exists(keys.worker_key(1))


def test_a_heartbeat_says_how_fresh_the_lists_were_since_the_one_before(redis_url: str) -> None:
    store = Store(redis_url, timeout_ms=2000, patience_s=0)
    heartbeat = Heartbeat(store, Topic(), 0, 1)

    def write_after(*ages_ms: int) -> dict[str, int]:
        now_ms = time.time_ns() // 1_000_000
        received = array("q", [now_ms - age_ms for age_ms in ages_ms])
        recording.record_freshness(recording.LISTS, received.tobytes())
        recording.record_freshness("profile", array("q", [now_ms - 50_000]).tobytes())
        heartbeat.write()
        told = orjson.loads(store.client.get(keys.worker_key(0)))
        return {name: ms for name, ms in told.items() if name.startswith("freshness")}

    first = write_after(*[170] * 98, 7000, 7000)
    assert 150 <= first["freshness_p50_ms"] <= 400
    assert 5000 <= first["freshness_p99_ms"] <= 10_000
    second = write_after(20_000)
    assert 10_000 <= second["freshness_p50_ms"] <= second["freshness_p99_ms"] <= 30_000
    assert write_after() == {}


def test_heartbeats_are_written_while_a_process_is_exposed(redis_url: str) -> None:
    store = Store(redis_url, timeout_ms=2000, patience_s=0)
    with outside(redis_url, Topic()):
        until(lambda: bool(store.client.exists(keys.worker_key(0))))
    assert not store.client.exists(keys.worker_key(0))
