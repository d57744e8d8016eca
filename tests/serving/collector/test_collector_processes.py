"""A real `penstock serve`, killed under load before Kafka and Redis Streams: nothing is lost."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from kafka import KafkaConsumer, TopicPartition

from flows.process.embedded_redis import EmbeddedRedis
from serving.http.access import KEY_VARIABLE, SECRET_VARIABLE
from state import keys
from state.store import Store
from tests.kafka_broker import free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.kafka_broker import AnyBroker

pytestmark = pytest.mark.slow
PATIENCE_S = 120
ACKNOWLEDGED_A_PHASE = 60


class ServeProcess:
    """`penstock serve` in a process of its own, which may be killed and started again."""

    def __init__(self, redis_url: str, folder: Path, **settings: str) -> None:
        self.port = free_port()
        self._command = [sys.executable, "-m", "flows", "serve", "--redis", redis_url]
        self._command += ["--listen", f"127.0.0.1:{self.port}"]
        for name, value in {"collector.spool_folder": str(folder), **settings}.items():
            self._command += ["--set", f"{name}={value}"]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = {
            name: value
            for name, value in os.environ.items()
            if name not in (KEY_VARIABLE, SECRET_VARIABLE)
        }
        self._process = subprocess.Popen(self._command, env=environment)
        deadline_s = time.monotonic() + PATIENCE_S
        while not self._is_up():
            assert time.monotonic() < deadline_s
            assert self._process.poll() is None
            time.sleep(0.05)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(PATIENCE_S)

    def _is_up(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        with closing(connection):
            try:
                connection.request("GET", "/healthz")
                return connection.getresponse().status == 200
            except OSError:
                return False


def post(port: int, events: list[dict[str, Any]]) -> bool:
    """Whether the events were acknowledged."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with closing(connection):
        try:
            connection.request("POST", "/v1/events", json.dumps(events).encode())
            answer = connection.getresponse()
            return answer.status == 202 and json.loads(answer.read())["accepted"] == len(events)
        except (OSError, http.client.HTTPException):
            return False


def send_while(port: int, is_over: Callable[[], bool], acknowledged: set[str]) -> None:
    """Send events from four clients, and collect the ids that were acknowledged."""

    def send(client: int) -> None:
        number = 0
        while not is_over():
            ids = [f"{client}-{number}-{n}" for n in range(3)]
            at_ms = time.time_ns() // 1_000_000
            events = [
                {
                    "event_id": i,
                    "type": "page_view",
                    "event_ts": at_ms,
                    "anonymous_id": f"v{client}",
                }
                for i in ids
            ]
            if post(port, events):
                acknowledged.update(ids)
            number += 1

    clients = [threading.Thread(target=send, args=(client,)) for client in range(4)]
    for one in clients:
        one.start()
    for one in clients:
        one.join()


def kill_under_load(server: ServeProcess, trouble: Callable[[], None]) -> set[str]:
    """Kill and restart the server twice while clients send, with some other trouble in between."""
    is_over = threading.Event()
    acknowledged: set[str] = set()

    def wait_for_more() -> None:
        wanted, deadline_s = len(acknowledged) + ACKNOWLEDGED_A_PHASE, time.monotonic() + PATIENCE_S
        while len(acknowledged) < wanted:
            assert time.monotonic() < deadline_s
            time.sleep(0.05)

    server.start()
    sender = threading.Thread(target=send_while, args=(server.port, is_over.is_set, acknowledged))
    sender.start()
    try:
        wait_for_more()
        server.stop(signal.SIGKILL)
        server.start()
        wait_for_more()
        trouble()
        wait_for_more()
        server.stop(signal.SIGKILL)
        server.start()
        wait_for_more()
    finally:
        is_over.set()
        sender.join(PATIENCE_S)
    return acknowledged


def wait_for_all(acknowledged: set[str], stored: Callable[[], set[str]]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while missing := acknowledged - stored():
        assert time.monotonic() < deadline_s, f"{len(missing)} of {len(acknowledged)} are lost"
        time.sleep(0.2)


def test_redis_streams_hold_every_acknowledged_event(tmp_path: Path) -> None:
    with EmbeddedRedis() as redis:
        server = ServeProcess(redis.url, tmp_path)
        client = Store(redis.url, timeout_ms=5000, patience_s=0).client
        process = int(client.info("server")["process_id"])

        def pause() -> None:
            os.kill(process, signal.SIGSTOP)
            time.sleep(3)
            os.kill(process, signal.SIGCONT)

        def stored() -> set[str]:
            return {
                json.loads(fields[b"e"])["event_id"]
                for partition in range(4)
                for _, fields in client.xrange(keys.events_key(partition))
            }

        acknowledged = kill_under_load(server, pause)
        wait_for_all(acknowledged, stored)
        server.stop()
        assert list(tmp_path.glob("*.spool")) == []


def test_kafka_holds_every_acknowledged_event(
    kafka_broker: AnyBroker, redis_url: str, tmp_path: Path
) -> None:
    topic = kafka_broker.create_topic("collected", 2)
    server = ServeProcess(
        redis_url,
        tmp_path,
        **{
            "collector.log": "kafka",
            "kafka.topic": topic,
            "kafka.bootstrap_servers": kafka_broker.address,
        },
    )
    found: set[str] = set()
    consumer = KafkaConsumer(bootstrap_servers=kafka_broker.address, auto_offset_reset="earliest")
    with closing(consumer):
        consumer.assign([TopicPartition(topic, n) for n in range(2)])

        def stored() -> set[str]:
            for records in consumer.poll(500).values():
                found.update(json.loads(record.value)["event_id"] for record in records)
            return found

        wait_for_all(kill_under_load(server, lambda: None), stored)
    server.stop()
