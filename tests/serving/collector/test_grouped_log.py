"""Events of many requests reach the log in groups; each sender hears of its own group only."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from serving.collector.event_log import LogRecord, LogUnavailableError
from serving.collector.grouped_log import GROUPS_MAX, GroupedLog
from tests.pages import in_loop

if TYPE_CHECKING:
    from collections.abc import Sequence


class SlowLog:
    """Stores when it is told to; refuses groups that have a bad record."""

    def __init__(self) -> None:
        self.groups: list[list[bytes]] = []
        self.on_their_way = 0
        self.most = 0
        self.go_on = asyncio.Event()

    async def append(self, records: Sequence[LogRecord]) -> None:
        self.on_their_way += 1
        self.most = max(self.most, self.on_their_way)
        await self.go_on.wait()
        self.on_their_way -= 1
        if any(record.value == b"bad" for record in records):
            raise LogUnavailableError("no")
        self.groups.append([record.value for record in records])

    async def close(self) -> None:
        pass


def record(value: object) -> LogRecord:
    return LogRecord(b"k", str(value).encode())


def test_nothing_is_lost_and_the_order_of_a_sender_is_kept() -> None:
    async def run() -> tuple[SlowLog, list[Any]]:
        slow = SlowLog()
        log = GroupedLog(slow)
        first = [asyncio.create_task(log.append([record(n)])) for n in range(3)]
        await asyncio.sleep(0)  # these three have arrived together
        later = []
        for n in range(3, 60):
            later.append(asyncio.create_task(log.append([record(n)])))
            await asyncio.sleep(0)
        slow.go_on.set()
        return slow, await asyncio.gather(*first, *later)

    slow, answers = in_loop(run())
    assert answers == [None] * 60
    assert [int(value) for group in slow.groups for value in group] == [*range(60)]
    assert slow.groups[0] == [b"0", b"1", b"2"]
    assert slow.most <= GROUPS_MAX
    assert len(slow.groups) < 10


def test_a_failure_is_told_to_those_of_its_group_and_the_next_group_goes_on() -> None:
    async def run() -> list[Any]:
        slow = SlowLog()
        slow.go_on.set()
        log = GroupedLog(slow)
        together = [log.append([record(one)]) for one in ("good", "bad")]
        answers = await asyncio.gather(*together, return_exceptions=True)
        await log.append([record("next")])
        return [*answers, slow.groups]

    first, second, stored = in_loop(run())
    assert [type(first), type(second)] == [LogUnavailableError, LogUnavailableError]
    assert stored == [[b"next"]]


def test_a_sender_that_goes_away_takes_nothing_from_others() -> None:
    async def run() -> SlowLog:
        slow = SlowLog()
        log = GroupedLog(slow)
        gone = asyncio.create_task(log.append([record("gone")]))
        stays = asyncio.create_task(log.append([record("stays")]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gone.cancel()
        slow.go_on.set()
        await stays
        return slow

    assert in_loop(run()).groups == [[b"gone", b"stays"]]
