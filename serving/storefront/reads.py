"""Reads from Redis with a time limit: a page never waits for a Redis that is slow or away.

After a failure Redis is left alone for a moment, then one request tries again: so an outage costs one
request in many the time limit, and all others nothing.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from state import keys
from state.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from state.store import AsyncPipe, ReadCommand

PAUSE_S = 0.25
"""After some failures no read is tried for so long. A Redis that is back is used within this time."""
FAILURES_MAX = 3
"""So many failures one after the other begin a pause: a single slow read is no outage."""

_log = logging.getLogger("penstock.storefront")


class UnavailableError(Exception):
    """Redis did not answer in time, or is left alone after it did not."""


class TimedReads:
    """Reads with a time limit, and whether the last one was answered."""

    def __init__(self, pipe: AsyncPipe, clock: Callable[[], float]) -> None:
        self._pipe = pipe
        self._clock = clock
        self._resume_s = 0.0
        self._failures = 0

    @property
    def is_answering(self) -> bool:
        """Whether the last reads were answered."""
        return self._failures < FAILURES_MAX

    async def read(self, commands: Sequence[ReadCommand]) -> list[Any]:
        """The replies to commands, in one round trip. Raises UnavailableError."""
        if not commands:
            return []
        if not self.is_answering:
            if self._clock() < self._resume_s:
                raise UnavailableError
            self._resume_s = self._clock() + PAUSE_S  # only this request tries
        try:
            replies = await self._pipe.call(commands)
        except (TimeoutError, StoreError) as error:
            self._record_failure(error)
            raise UnavailableError from error
        if not self.is_answering:
            _log.info("Redis answers again", extra={"event": "storefront_recovered"})
        self._failures = 0
        return replies

    def _record_failure(self, error: Exception) -> None:
        was_answering = self.is_answering
        self._failures += 1
        if self.is_answering:
            return
        self._resume_s = self._clock() + PAUSE_S
        if was_answering:
            _log.warning(
                "Redis does not answer within the limit (%s): earlier answers and popular lists are "
                "served until it does",
                error or "too slow",
                extra={"event": "storefront_degraded"},
            )

    async def try_again(self) -> bool:
        """Whether Redis answers now."""
        self._resume_s = 0.0
        try:
            await self.read([("EXISTS", keys.meta_key())])
        except UnavailableError:
            return False
        return True
