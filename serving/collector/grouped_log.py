"""Appends what many requests bring in groups: a log acknowledges a hundred events nearly as soon as one.

A group is sent at once while few are on their way; then the next one gathers until one of them is back,
or a share of the time that the last one took has passed: a log that synchronises its disk once a second
still answers each within about that.
"""

from __future__ import annotations

import asyncio
import time
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from serving.collector.event_log import LogUnavailableError, TooLargeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from serving.collector.event_log import CollectorLog, LogRecord

GROUPS_MAX = 2
"""Groups on their way at once."""
GROUP_RECORDS_MAX = 10_000
"""Records of a group: a log that was slow gets what has gathered meanwhile in parts."""


class _Append(NamedTuple):
    """The records of one sender, who waits for the future."""

    records: Sequence[LogRecord]
    stored: asyncio.Future[None]


class GroupedLog:
    """A log behind which another one gets larger groups. For one event loop."""

    def __init__(self, log: CollectorLog) -> None:
        self._log = log
        self._waiting: list[_Append] = []
        self._on_their_way: set[asyncio.Task[None]] = set()
        self._took_s = 0.0
        self._next_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def append(self, records: Sequence[LogRecord]) -> None:
        """Return when all records are stored. Raises TooLargeError.

        Raises LogUnavailableError; some may be stored then.
        """
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._send_if_due)  # after the other requests that have arrived by now
        stored = loop.create_future()
        self._waiting.append(_Append(records, stored))
        await stored

    async def close(self) -> None:
        """Close the log; who still waits then hears that nothing is stored."""
        await self._log.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, []
        _answer(waiting, LogUnavailableError("the server ends"))

    def _send_if_due(self) -> None:
        while self._waiting and len(self._on_their_way) < GROUPS_MAX:
            wait_s = self._next_s - time.monotonic() if self._on_their_way else 0.0
            if wait_s > 0:
                if self._timer is None:
                    self._timer = asyncio.get_running_loop().call_later(wait_s, self._on_timer)
                return
            self._next_s = time.monotonic() + self._took_s / GROUPS_MAX
            task = asyncio.create_task(self._send(self._next_group()))
            self._on_their_way.add(task)
            task.add_done_callback(self._on_their_way.discard)

    def _on_timer(self) -> None:
        self._timer = None
        self._send_if_due()

    def _next_group(self) -> list[_Append]:
        """Those who have waited longest, as many as a group has room for, but at least one."""
        counts = accumulate(len(one.records) for one in self._waiting)
        fitting = sum(count <= GROUP_RECORDS_MAX for count in counts) or 1
        group, self._waiting = self._waiting[:fitting], self._waiting[fitting:]
        return group

    async def _send(self, group: list[_Append]) -> None:
        began_s = time.monotonic()
        failure: Exception | None = None
        try:
            await self._log.append([record for one in group for record in one.records])
        except Exception as error:
            failure = error
        except asyncio.CancelledError:
            _answer(group, LogUnavailableError("the server ends"))
            raise
        self._took_s = time.monotonic() - began_s
        _answer(group, failure)
        # This task is about to end: it must not count when the next group wants to go.
        self._on_their_way.discard(asyncio.current_task())
        self._send_if_due()


def _answer(group: list[_Append], failure: Exception | None) -> None:
    """Tell each sender what became of its own records."""
    begin = 0
    for one in group:
        end = begin + len(one.records)
        own = failure
        if isinstance(failure, TooLargeError):
            indexes = [index - begin for index in failure.indexes if begin <= index < end]
            own = TooLargeError(indexes) if indexes else None
        begin = end
        if one.stored.done():  # its sender went away
            continue
        if own is None:
            one.stored.set_result(None)
        else:
            one.stored.set_exception(own)
