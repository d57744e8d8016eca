"""Redis is a serving copy: one that lost its data, or a new one, is rebuilt from stored state."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from flows.process.embedded_redis import EmbeddedRedis
from operators.publish.digest import deterministic_rows
from state import keys
from state.store import Store
from tests.flows.observability.test_health import ask
from tests.kafka_broker import free_port
from tests.live_runs import Live, Process, undisturbed
from tests.streams import content

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.kafka_broker import AnyBroker

AGAIN = "is complete again"


@pytest.fixture
def server() -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis() as running:
        yield running


@pytest.fixture
def live(kafka_broker: AnyBroker, server: EmbeddedRedis, tmp_path: Path) -> Iterator[Live]:
    with Live(kafka_broker, "serving-copy", server.url, tmp_path) as found:
        yield found


def held(url: str) -> dict[str, Any]:
    """What has to be the same: facts, segments and cards whole, of lists that they are there."""
    return held_of(content(url))


def held_of(rows: dict[str, Any]) -> dict[str, Any]:
    """The same of rows."""
    same = dict(deterministic_rows(rows.items()))
    for key, value in rows.items():
        if key.endswith(("}:segments", "}:members", "}:card")) or key == keys.registry_key():
            same[key] = value
        elif key.endswith("}:definition"):
            same[key] = [pair for pair in value if pair[0] != b"updated_ms"]
        elif key.endswith((":home", ":24h", "}:similar", "}:bought")):
            same[key] = "a list"
        elif key.endswith("}:stats") or key.startswith("ps:1:model"):
            same[key] = [name for name, _ in value]
    return without_old_intents(same)


def without_old_intents(rows: dict[str, Any]) -> dict[str, Any]:
    """Facts without the intent of a visit that is over, which only Redis remembers."""
    return {
        key: [pair for pair in value if pair[0] != b"intent"]
        if key.endswith("}:profile") and key.replace("}:profile", "}:session") not in rows
        else value
        for key, value in rows.items()
    }


def settled(run: Process, url: str) -> dict[str, Any]:
    """The content when the last watermark is written too."""
    seen: list[dict[str, Any]] = []

    def is_settled() -> bool:
        time.sleep(0.8)
        seen.append(held(url))
        return seen[-2:-1] == seen[-1:]

    run.until(is_settled)
    return seen[-1]


def said(run: Process) -> str:
    """The next line of a run."""
    assert run.popen.stdout is not None
    return run.popen.stdout.readline()


def is_whole(url: str) -> bool:
    """Whether the marker is complete."""
    store = Store(url, timeout_ms=2000, patience_s=2)
    told = store.client.get(keys.write_marker_key()) or b""
    store.close()
    return told.split()[-1:] not in ([], [b"telling"])


class TestWhileItRuns:
    def test_redis_is_rebuilt_without_an_event(self, live: Live, server: EmbeddedRedis) -> None:
        live.send(3000)
        run = live.start()
        run.until(live.caught_up)
        before = settled(run, server.url)
        server.send_command("FLUSHALL")
        run.until(lambda: is_whole(server.url))
        assert held(server.url) == before
        code, said = run.stop()
        assert code == 0
        assert said.count(AGAIN) == 1

    @pytest.mark.slow
    def test_later_events_give_the_same_content(self, live: Live, server: EmbeddedRedis) -> None:
        live.send(2000)
        run = live.start(source__batch_events=50)
        run.until(lambda: live.has_counted(500))
        server.stop()
        server.start()
        run.until(live.caught_up)
        run.stop()
        live.send(500)
        healed = without_old_intents(live.to_the_end())
        assert healed == without_old_intents(undisturbed(live))

    @pytest.mark.slow
    def test_a_cluster(self, live: Live, server: EmbeddedRedis) -> None:
        live.send(1500)
        run = live.start("--processes", "2")
        run.until(live.caught_up)
        before = settled(run, server.url)
        server.send_command("FLUSHALL")
        run.until(lambda: is_whole(server.url))
        assert held(server.url) == before
        live.send(100)
        run.until(live.caught_up)
        assert run.stop()[0] == 0


class TestAtTheStart:
    def stopped(self, live: Live) -> dict[str, Any]:
        live.send(1500)
        run = live.start()
        run.until(live.caught_up)
        settled(run, live.redis_url)
        assert run.stop()[0] == 0
        return held(live.redis_url)

    def resumed(self, live: Live) -> Process:
        run = live.start()
        run.until(lambda: is_whole(live.redis_url))
        return run

    @pytest.mark.slow
    def test_a_new_redis(self, live: Live) -> None:
        before = self.stopped(live)
        with EmbeddedRedis() as new:
            live.redis_url = new.url
            run = self.resumed(live)
            assert held(new.url) == before
            assert AGAIN in run.stop()[1]

    @pytest.mark.slow
    def test_a_current_redis_is_not_rebuilt(self, live: Live) -> None:
        self.stopped(live)
        live.send(1)
        run = live.start()
        run.until(live.caught_up)
        code, said = run.stop()
        assert code == 0
        assert AGAIN not in said

    @pytest.mark.slow
    def test_a_redis_restored_from_an_old_dump_is_rebuilt(
        self, live: Live, server: EmbeddedRedis
    ) -> None:
        before = self.stopped(live)
        store = Store(server.url, timeout_ms=2000, patience_s=2)
        holder = store.client.get(keys.write_marker_key()).split()[0]
        store.client.set(keys.write_marker_key(), holder + b" -1")
        store.client.delete(*(name for name in before if name.endswith(("}:profile", "}:stats"))))
        members = min(name for name in before if name.endswith("}:members"))
        store.client.zadd(members, {"who left since": 1})
        run = live.start()
        run.until(lambda: not store.client.get(keys.write_marker_key()).endswith(b" -1"))
        run.until(lambda: is_whole(server.url))
        run.until(lambda: held(server.url) == before)
        assert AGAIN in run.stop()[1]
        store.close()

    @pytest.mark.slow
    def test_an_unfinished_rebuild_starts_again(self, live: Live, server: EmbeddedRedis) -> None:
        before = self.stopped(live)
        server.send_command("FLUSHALL")
        run = live.start()
        store = Store(server.url, timeout_ms=2000, patience_s=2)
        run.until(lambda: bool(store.client.exists(keys.write_marker_key())))
        run.kill()
        self.resumed(live).stop()
        assert held(server.url) == before
        store.close()

    def test_a_rebuild_waits_for_redis(self, live: Live, server: EmbeddedRedis) -> None:
        live.send(100)
        server.stop()
        run = live.start()
        assert "does not answer: start it" in said(run)
        server.start()
        run.until(live.caught_up)
        assert run.stop()[0] == 0


@pytest.mark.slow
def test_a_process_that_waits_for_redis_is_alive_and_not_ready(
    live: Live, server: EmbeddedRedis
) -> None:
    live.send(500)
    address = f"127.0.0.1:{free_port()}"
    run = live.start(metrics__listen=address, run__stuck_s=2)
    run.until(live.caught_up)
    server.stop()
    live.send(100)
    until_s = time.monotonic() + 3
    while time.monotonic() < until_s:
        assert ask(address, "/healthz")[0] == 200
        time.sleep(0.2)
    assert ask(address, "/readyz")[0] == 503
    server.start()
    run.until(lambda: is_whole(server.url) and live.caught_up())
    assert run.stop()[0] == 0
