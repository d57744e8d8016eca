"""Appends what many requests bring in groups: a log acknowledges a hundred events nearly as soon as one.

A group is sent at once while few are on their way; then the next one gathers until one of them is back,
or a share of the time that the last one took has passed: a log that synchronises its disk once a second
still answers each within about that.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from serving.collector.event_log import CollectorLog, LogRecord

GROUPS_MAX = 2
"""Groups on their way at once."""


class GroupedLog:
    """A log behind which another one gets larger groups. For one event loop."""

    def __init__(self, log: CollectorLog) -> None:
        self._log = log
        self._records: list[LogRecord] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._on_their_way: set[asyncio.Task[None]] = set()
        self._took_s = 0.0
        self._next_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def append(self, records: Sequence[LogRecord]) -> None:
        """Return when all records are stored. Raises LogUnavailableError; some may be stored then."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._send_if_due)  # after the other requests that have arrived by now
        stored = loop.create_future()
        self._records += records
        self._waiting.append(stored)
        await stored

    async def close(self) -> None:
        """Close the log."""
        await self._log.close()

    def _send_if_due(self) -> None:
        if not self._waiting or len(self._on_their_way) >= GROUPS_MAX:
            return
        wait_s = self._next_s - time.monotonic() if self._on_their_way else 0.0
        if wait_s > 0:
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(wait_s, self._on_timer)
            return
        records, self._records = self._records, []
        waiting, self._waiting = self._waiting, []
        self._next_s = time.monotonic() + self._took_s / GROUPS_MAX
        task = asyncio.create_task(self._send(records, waiting))
        self._on_their_way.add(task)
        task.add_done_callback(self._on_their_way.discard)

    def _on_timer(self) -> None:
        self._timer = None
        self._send_if_due()

    async def _send(self, records: list[LogRecord], waiting: list[asyncio.Future[None]]) -> None:
        began_s = time.monotonic()
        failure: Exception | None = None
        try:
            await self._log.append(records)
        except Exception as error:
            failure = error
        self._took_s = time.monotonic() - began_s
        for one in waiting:
            if one.done():  # its sender went away
                continue
            if failure is None:
                one.set_result(None)
            else:
                one.set_exception(failure)
        # The task itself is about to end: what has gathered may go.
        asyncio.get_running_loop().call_soon(self._send_if_due)
