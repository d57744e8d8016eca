"""`penstock run --source redis`: killed at any moment, it comes to what an undisturbed run comes to."""

from __future__ import annotations

import signal
import zlib
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from flows.process.embedded_redis import EmbeddedRedis
from operators.publish.digest import deterministic_rows
from operators.synthetic.traffic import generate_events
from state import keys
from state.store import ENTRY_FIELD, Store
from tests.live_runs import LATE_MS, Process
from tests.streams import content

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

pytestmark = pytest.mark.slow
PARTITIONS = 3
EVENTS = 3000


class StreamsShop:
    """A Redis with event streams, and runs that read them, one after the other."""

    def __init__(self, redis: EmbeddedRedis, folder: Path) -> None:
        self._redis = redis
        self._folder = folder
        self._client = Store(redis.url, timeout_ms=5000, patience_s=0).client
        self.sent = 0

    def append(self, values: Iterable[tuple[int, bytes]]) -> None:
        for partition, value in values:
            self._client.xadd(keys.events_key(partition), {ENTRY_FIELD: value})
            self.sent += 1

    def end(self, run: Process) -> None:
        """An event of a day later in every stream, then another: all visits are over."""
        for round_ in range(2):
            self.append((n, late_event(f"{round_}-{n}")) for n in range(PARTITIONS))
            # A run that still starts would read both in one batch, and end no visit.
            run.until(lambda: self.count() >= self.sent)

    def start(self, *more: str) -> Process:
        words = ["run", "--source", "redis", "--redis", self._redis.url]
        words += ["--recovery", str(self._folder / "recovery")]
        words += ["--dead-letters", str(self._folder / "letters.jsonl")]
        for setting in (
            f"collector.partitions={PARTITIONS}",
            "source.batch_events=200",
            "source.epoch_ms=100",
            "metrics.listen=''",
            "log.level=warning",
        ):
            words += ["--set", setting]
        return Process([*words, *more])

    def count(self) -> int:
        return int(self._client.hget(keys.meta_key(), "events") or 0)

    def has_counted(self, events: int) -> bool:
        return self.count() >= events

    def facts(self) -> dict[str, Any]:
        return {
            key: row
            for key, row in deterministic_rows(content(self._redis.url).items())
            if ":events:" not in str(key)
        }


def late_event(name: str) -> bytes:
    fields = {"event_id": name, "type": "page_view", "event_ts": LATE_MS, "anonymous_id": "late"}
    return msgspec.json.encode(fields)


def shop_events() -> list[tuple[int, bytes]]:
    events = generate_events(events=EVENTS, shoppers=120, items=40, events_per_s=0.5)
    return [
        (
            zlib.crc32((event.anonymous_id or event.user_id or "").encode()) % PARTITIONS,
            msgspec.json.encode(event),
        )
        for event in events
    ]


def undisturbed(folder: Path) -> dict[str, Any]:
    with EmbeddedRedis() as redis:
        shop = StreamsShop(redis, folder)
        shop.append(shop_events())
        run = shop.start()
        run.until(lambda: shop.count() >= shop.sent)
        shop.end(run)
        assert run.stop()[0] == 0
        return shop.facts()


@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_that_is_killed_loses_and_doubles_nothing(tmp_path: Path, processes: int) -> None:
    (tmp_path / "calm").mkdir()
    expected = undisturbed(tmp_path / "calm")
    more = ("--processes", "2") if processes == 2 else ()
    with EmbeddedRedis() as redis:
        shop = StreamsShop(redis, tmp_path)
        events = shop_events()
        for part in range(3):
            shop.append(events[part * EVENTS // 3 : (part + 1) * EVENTS // 3])
            run = shop.start(*more)
            run.until(partial(shop.has_counted, round((part + 0.5) * EVENTS / 3)))
            run.kill()
        run = shop.start(*more)
        run.until(lambda: shop.count() >= shop.sent)
        shop.end(run)
        assert run.stop(signal.SIGTERM)[0] == 0
        assert shop.facts() == expected
