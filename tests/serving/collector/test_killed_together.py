"""Collector and worker killed with -9 in one run, under load: nothing is lost or counted twice."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter, defaultdict
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from flows.process.embedded_redis import EmbeddedRedis
from state import keys
from state.store import Store
from tests.live_runs import Process
from tests.serving.collector.test_collector_processes import ServeProcess, post

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

pytestmark = pytest.mark.slow
PARTITIONS = 3
VISITORS = 5
CLIENTS = 4
ROUNDS = 3
EVENTS_A_ROUND = 300
PATIENCE_S = 240
PAUSE_S = 0.04
"""Between two bodies of a page: the flow has to come to an end with them, also on a slow machine."""
PRICE = 12.5


class Client(threading.Thread):
    """A page that sends each body until it is acknowledged, as often as that takes."""

    def __init__(self, port: int, number: int, is_over: threading.Event) -> None:
        super().__init__()
        self._port = port
        self._number = number
        self._is_over = is_over
        self.acknowledged: list[dict[str, Any]] = []

    def run(self) -> None:
        for number in count():
            if self._is_over.is_set():
                return
            body = self._body(number)
            while not post(self._port, body):
                time.sleep(PAUSE_S)
            self.acknowledged += body
            time.sleep(PAUSE_S)

    def _body(self, number: int) -> list[dict[str, Any]]:
        name = f"{self._number}-{number}"
        item = {"item_id": f"mug-{number % 7}", "price": PRICE}
        fields = {
            "event_ts": time.time_ns() // 1_000_000,
            "anonymous_id": f"v-{self._number}-{number % VISITORS}",
            "items": [item],
        }
        types = ["item_view", "item_view", "cart_add"]
        events = [
            {"event_id": f"{name}-{n}", "type": kind, **fields} for n, kind in enumerate(types)
        ]
        if number % 4 == 0:
            order = {"order_id": f"o-{name}", "value": PRICE, "currency": "EUR"}
            events.append({"event_id": f"{name}-p", "type": "purchase", **fields, **order})
        return events


def recount(events: Iterable[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """What the profile of each visitor must say, from the events alone, each once."""
    by_visitor: dict[str, Counter[str]] = defaultdict(Counter)
    for one in {event["event_id"]: event for event in events}.values():
        by_visitor[one["anonymous_id"]][one["type"]] += 1
    return {
        visitor: {
            "events": str(counts.total()),
            "views": str(counts["item_view"]),
            "carts": str(counts["cart_add"]),
            "purchases": str(counts["purchase"]),
            "revenue": f"{counts['purchase'] * PRICE:.2f}",
        }
        for visitor, counts in by_visitor.items()
    }


def start_flow(redis_url: str, folder: Path) -> Process:
    words = ["run", "--source", "redis", "--redis", redis_url]
    words += ["--recovery", str(folder / "recovery")]
    words += ["--dead-letters", str(folder / "letters.jsonl")]
    for setting in (
        f"collector.partitions={PARTITIONS}",
        "source.epoch_ms=200",
        "metrics.listen=''",
        "log.level=warning",
    ):
        words += ["--set", setting]
    return Process(words)


def wait_until(flow: Process, reached: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not reached():
        assert flow.popen.poll() is None, flow.popen.communicate()[0]
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def test_ids_in_the_streams_are_those_acknowledged_and_counts_equal_a_recount(
    tmp_path: Path,
) -> None:
    with EmbeddedRedis() as redis:
        client = Store(redis.url, timeout_ms=5000, patience_s=30).client
        redis_process = int(client.info("server")["process_id"])
        server = ServeProcess(
            redis.url,
            tmp_path / "spool",
            **{"collector.partitions": str(PARTITIONS), "storefront.rate_max": "100000"},
        )

        def stored() -> list[dict[str, Any]]:
            streams = map(keys.events_key, range(PARTITIONS))
            return [
                json.loads(fields[b"e"])
                for stream in streams
                for _, fields in client.xrange(stream)
            ]

        def counted() -> int:
            return int(client.hget(keys.meta_key(), "events") or 0)

        def has_counted(events: int) -> bool:
            return counted() >= events

        def has_sent(events: int) -> bool:
            return len(acknowledged()) >= events

        def acknowledged() -> list[dict[str, Any]]:
            return [event for one in clients for event in list(one.acknowledged)]

        is_over = threading.Event()
        clients = [Client(server.port, number, is_over) for number in range(CLIENTS)]
        server.start()
        flow = start_flow(redis.url, tmp_path)
        for one in clients:
            one.start()
        try:
            for number in range(1, ROUNDS + 1):
                wait_until(flow, partial(has_sent, number * EVENTS_A_ROUND))
                wait_until(flow, partial(has_counted, counted() + 1))
                if number == 2:  # so that a spool has events when the collector dies
                    os.kill(redis_process, signal.SIGSTOP)
                    time.sleep(3)
                server.stop(signal.SIGKILL)
                flow.kill()
                os.kill(redis_process, signal.SIGCONT)
                server.start()
                flow = start_flow(redis.url, tmp_path)
        finally:
            os.kill(redis_process, signal.SIGCONT)
            is_over.set()
            for one in clients:
                one.join(PATIENCE_S)
        sent = acknowledged()
        deadline_s = time.monotonic() + PATIENCE_S
        while list((tmp_path / "spool").glob("*.spool")):
            assert time.monotonic() < deadline_s, "the spool is not sent"
            time.sleep(0.1)
        found = stored()
        assert {one["event_id"] for one in found} == {one["event_id"] for one in sent}
        wait_until(flow, partial(has_counted, len(found)))
        meta = client.hgetall(keys.meta_key())
        profiles = {
            visitor: {
                name: client.hget(keys.profile_key(visitor), name).decode() for name in expected
            }
            for visitor, expected in recount(sent).items()
        }
        assert flow.stop()[0] == 0
        server.stop()
    assert len(sent) >= ROUNDS * EVENTS_A_ROUND
    assert int(meta[b"events"]) == len(found)
    assert int(meta[b"accepted"]) == len(sent)
    assert int(meta[b"duplicates"]) == len(found) - len(sent)
    assert json.loads(meta[b"by_type"]) == Counter(one["type"] for one in found)
    assert profiles == recount(sent)
    assert not (tmp_path / "letters.jsonl").exists() or not (tmp_path / "letters.jsonl").read_text()
