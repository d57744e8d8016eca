"""Events of many requests reach the log in groups; each sender hears of its own group only."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from serving.collector.event_log import LogRecord, LogUnavailableError, TooLargeError
from serving.collector.grouped_log import GROUP_RECORDS_MAX, GROUPS_MAX, GroupedLog
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
        if large := [n for n, record in enumerate(records) if record.value == b"large"]:
            raise TooLargeError(large)
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


def test_a_record_that_is_too_large_is_told_to_its_own_sender() -> None:
    async def run() -> list[Any]:
        slow = SlowLog()
        slow.go_on.set()
        log = GroupedLog(slow)
        bodies = [["a", "b"], ["c", "large", "d", "large"], ["e"]]
        together = [log.append(list(map(record, body))) for body in bodies]
        return await asyncio.gather(*together, return_exceptions=True)

    first, second, third = in_loop(run())
    assert (first, third) == (None, None)
    assert isinstance(second, TooLargeError)
    assert second.indexes == {1, 3}


def test_a_group_has_a_limit_and_what_is_beyond_it_follows() -> None:
    async def run() -> SlowLog:
        slow = SlowLog()
        slow.go_on.set()
        log = GroupedLog(slow)
        body = [record(n) for n in range(GROUP_RECORDS_MAX // 4 + 1)]
        huge = [record("h")] * (GROUP_RECORDS_MAX + 1)
        await asyncio.gather(*(log.append(body) for _ in range(5)), log.append(huge))
        return slow

    groups = in_loop(run()).groups
    quarter = GROUP_RECORDS_MAX // 4 + 1
    assert [len(group) for group in groups] == [3 * quarter, 2 * quarter, GROUP_RECORDS_MAX + 1]


def test_what_has_gathered_goes_as_soon_as_a_group_is_back() -> None:
    """Without waiting for a share of the time that the last one took: nothing else is on its way."""

    async def run() -> list[list[bytes]]:
        slow = SlowLog()
        log = GroupedLog(slow)
        first = asyncio.create_task(log.append([record("first")]))
        await asyncio.sleep(0.05)
        log._next_s = float("inf")  # the share of a group that takes for ever
        second = asyncio.create_task(log.append([record("second")]))
        await asyncio.sleep(0)
        slow.go_on.set()
        await asyncio.wait_for(asyncio.gather(first, second), 30)
        return slow.groups

    assert in_loop(run()) == [[b"first"], [b"second"]]


def test_a_server_that_ends_leaves_no_sender_without_an_answer() -> None:
    async def run() -> list[Any]:
        log = GroupedLog(SlowLog())
        sent = []
        for n in range(GROUPS_MAX + 1):
            sent.append(asyncio.ensure_future(log.append([record(n)])))
            await asyncio.sleep(0.01)
        for group in set(log._on_their_way):
            group.cancel()
        await asyncio.sleep(0)
        await log.close()
        return await asyncio.wait_for(asyncio.gather(*sent, return_exceptions=True), 30)

    assert [type(one) for one in in_loop(run())] == [LogUnavailableError] * (GROUPS_MAX + 1)
