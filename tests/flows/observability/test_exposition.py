"""`penstock run` on a real broker and a real Redis, as Prometheus, a prober and an operator see it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.request import urlopen

import msgspec
import orjson

from operators.synthetic.traffic import generate_events
from state import keys
from state.store import Store
from tests.flows.observability.test_health import ask
from tests.kafka_broker import free_port
from tests.kafka_runs import send

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.kafka_broker import AnyBroker

EVENTS = 500
WAIT_S = 60


@contextmanager
def running(
    broker: AnyBroker, topic: str, redis_url: str, folder: Path
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A run and where it answers."""
    address = f"127.0.0.1:{free_port()}"
    sets = [
        f"kafka.bootstrap_servers={broker.address}",
        f"kafka.topic={topic}",
        f"kafka.group={topic}",
        f"metrics.listen={address}",
        "log.format=json",
    ]
    command = [sys.executable, "-m", "flows", "run", "--redis", redis_url]
    command += ["--recovery", str(folder / "recovery"), "--dead-letters", str(folder / "dead")]
    for one in sets:
        command += ["--set", one]
    with (folder / "log").open("w") as log:
        run = subprocess.Popen(command, stderr=log, text=True)
    try:
        yield run, address
    finally:
        run.send_signal(signal.SIGCONT)
        run.terminate()
        try:
            run.wait(WAIT_S)
        finally:
            run.kill()


def page(address: str) -> str:
    with urlopen(f"http://{address}/metrics", timeout=5) as answer:
        text: str = answer.read().decode()
        return text


def value(text: str, name: str) -> float:
    """The sum over all labels."""
    found = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
    return sum(map(float, found))


def until(holds: object, run: subprocess.Popen[str]) -> None:
    give_up_s = time.monotonic() + WAIT_S
    while True:
        assert run.poll() is None, "the run has ended"
        assert time.monotonic() < give_up_s
        try:
            if holds():  # type: ignore[operator]
                return
        except OSError:
            pass
        time.sleep(0.1)


def test_a_run_exposes_metrics_health_and_a_heartbeat(
    kafka_broker: AnyBroker, redis_url: str, tmp_path: Path
) -> None:
    topic = kafka_broker.create_topic("outside", 2)
    now_ms = time.time_ns() // 1_000_000
    events = generate_events(events=EVENTS, shoppers=40, items=20)
    lines = [
        msgspec.json.encode(msgspec.structs.replace(one, event_ts=now_ms, received_ts=now_ms))
        for one in events
    ]
    send(kafka_broker, topic, [*lines, b"{"])
    store = Store(redis_url, timeout_ms=2000, patience_s=2)
    with running(kafka_broker, topic, redis_url, tmp_path) as (run, address):
        until(lambda: value(page(address), "penstock_accepted_total") >= EVENTS, run)
        until(lambda: value(page(address), "penstock_freshness_seconds_count") >= 3 * EVENTS, run)
        until(lambda: ask(address, "/readyz")[0] == 200, run)
        text = page(address)
        meta = {name.decode(): text for name, text in store.client.hgetall(keys.meta_key()).items()}
        assert value(text, "penstock_accepted_total") == int(meta["accepted"]) == EVENTS
        assert value(text, "penstock_rejected_total") == 1
        counts = re.findall(r'penstock_freshness_seconds_count{branch="(\w+)"} (\S+)', text)
        assert {name: float(count) for name, count in counts} == {
            "profile": EVENTS,
            "segments": EVENTS,
            "list": EVENTS,
        }
        until(lambda: value(page(address), "penstock_kafka_lag") == 0, run)
        beat = orjson.loads(store.client.get(keys.worker_key(0)))
        assert beat["pid"] == run.pid
        assert ask(address, "/healthz")[0] == 200
    assert run.returncode == 0
    assert not store.client.exists(keys.worker_key(0))
    for line in (tmp_path / "log").read_text().splitlines():
        assert {"ts", "level", "logger", "message"} <= set(json.loads(line))
