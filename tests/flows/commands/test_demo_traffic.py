"""The visitors of the demo: a shop with a past, then events when they are due, each in the log once."""

from __future__ import annotations

import time
from itertools import takewhile
from typing import TYPE_CHECKING

import msgspec
import pytest

from flows.commands.demo_traffic import EVENTS_PER_S, RECENT_SHARE, ShopTraffic, shop_events
from flows.process.background import ThreadEndedError
from serving.collector.event_log import LogRecord, LogUnavailableError
from state.events import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PATIENCE_S = 30
NOW_MS = 1_795_262_400_000


class UnsteadyLog:
    """A log that takes nothing at first."""

    def __init__(self, failures: int) -> None:
        self.records: list[LogRecord] = []
        self.is_closed = False
        self._failures = failures

    async def append(self, records: Sequence[LogRecord]) -> None:
        self._failures -= 1
        if self._failures >= 0:
            raise LogUnavailableError("away")
        self.records += records

    async def close(self) -> None:
        self.is_closed = True


def until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_the_shop_has_about_so_many_events_behind_it_and_addresses_for_its_items() -> None:
    events = list(takewhile(lambda one: one.received_ts <= NOW_MS, shop_events(20_000, NOW_MS)))
    assert 0.9 < len(events) / 20_000 < 1.1
    recent_ms = 1000 * RECENT_SHARE * 20_000 / EVENTS_PER_S
    recent = sum(event.event_ts > NOW_MS - recent_ms for event in events)
    assert 0.85 < recent / (RECENT_SHARE * len(events)) < 1.15
    described = [event.items[0] for event in events if event.type == "item"]
    assert len(described) == 500
    assert (described[0].url, described[0].image_url) == (
        "/product/mug-0000",
        "/pictures/mug-0000.svg",
    )


def test_the_past_comes_at_once_then_events_when_they_are_due_each_once() -> None:
    log = UnsteadyLog(failures=2)
    with ShopTraffic(log, 1500) as traffic:
        until(lambda: traffic.is_live)
        past = traffic.sent
        assert len(log.records) == past > 1200
        until(lambda: traffic.sent > past)
    assert log.is_closed
    events = [msgspec.json.decode(record.value, type=Event) for record in log.records]
    assert len({event.event_id for event in events}) == len(events) == traffic.sent
    assert max(event.received_ts for event in events) <= time.time_ns() // 1_000_000
    assert {record.key for record in log.records} == {
        (event.anonymous_id or "").encode() for event in events
    }


def test_a_log_that_stays_away_does_not_hold_up_the_end() -> None:
    log = UnsteadyLog(failures=10**9)
    with ShopTraffic(log, 1500) as traffic:
        time.sleep(0.1)
    assert (traffic.sent, log.records, log.is_closed) == (0, [], True)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_visitors_that_end_by_themselves_are_missed() -> None:
    class BrokenLog(UnsteadyLog):
        async def append(self, records: Sequence[LogRecord]) -> None:
            raise RuntimeError("broken")

    def has_ended() -> bool:
        try:
            traffic.check()
        except ThreadEndedError as error:
            return str(error) == "the visitors ended: RuntimeError: broken"
        return False

    with ShopTraffic(BrokenLog(0), 1500) as traffic:
        until(has_ended)
