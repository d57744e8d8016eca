"""An outage of Redis: how long it may last, when it is logged, and the pause before each attempt."""

from __future__ import annotations

import logging
import time

from state.errors import StoreError
from state.store import error_messages

_BACKOFF_S_MIN = 0.05
_BACKOFF_S_MAX = 1.0
_LOG_EVERY_S = 60.0
_log = logging.getLogger("penstock.redis")


def backoff_s(attempt: int) -> float:
    """Return the pause after an attempt, counted from 0: doubled each time, up to a second.

    >>> backoff_s(0), backoff_s(2), backoff_s(100)
    (0.05, 0.2, 1.0)
    """
    return min(_BACKOFF_S_MAX, _BACKOFF_S_MIN * 2.0 ** min(attempt, 10))


class Outage:
    """The current outage of the Redis at an address, if there is one; it may last `patience_s`."""

    def __init__(self, address: str, patience_s: float) -> None:
        self._address = address
        self._patience_s = patience_s
        self._started_s: float | None = None
        self._attempts = 0
        self._logged_s = float("-inf")

    def record_error(self, error: Exception) -> float:
        """Log an error, at most once a minute, and return the pause before the next attempt.

        Raises StoreError if waiting cannot help, or has not helped for `patience_s`.
        """
        now_s = time.monotonic()
        if self._started_s is None:
            self._started_s, self._attempts, self._logged_s = now_s, 0, float("-inf")
        waited_s = now_s - self._started_s
        problem = f"Redis at {self._address} {error_messages.advice(error)}"
        if error_messages.is_permanent(error):
            raise StoreError(problem) from error
        if waited_s > self._patience_s:
            raise StoreError(f"{problem} (waited {waited_s:.0f} s)") from error
        if now_s - self._logged_s >= _LOG_EVERY_S:
            self._logged_s = now_s
            _log.warning("%s; waiting", problem)
        self._attempts += 1
        return backoff_s(self._attempts - 1)

    def end(self) -> None:
        """Log that Redis answers again, if there was an outage."""
        if self._started_s is not None:
            outage_s = time.monotonic() - self._started_s
            self._started_s = None
            _log.warning("Redis at %s is back after %.1f s", self._address, outage_s)
