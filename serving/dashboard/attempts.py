"""Limits wrong tokens: after some tries from one address only one a second is checked.

A user with the right token is never locked out. They wait a moment only if others at the same address
are guessing.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from serving.http.networks import network

if TYPE_CHECKING:
    from collections.abc import Callable

BURST_TRIES = 10
"""Wrong tokens from one address without a delay."""
INTERVAL_S = 1.0
"""Seconds between two tries after that."""
WAITING_MAX = 5
"""Tries from one address that may wait; further ones are refused at once."""
ADDRESSES_MAX = 10_000


class TokenAttempts:
    """The tries of each address, with the time at which the next one is due.

    Uses the generic cell rate algorithm (ITU-T I.371): a try is due every `INTERVAL_S`, and
    `BURST_TRIES` may come early.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._due_s: dict[str, float] = {}
        self._waiting: dict[str, int] = {}

    async def wait_for_turn(self, address: str) -> bool:
        """Wait until a try from an address may be checked; False if too many wait already."""
        client = network(address)
        wait_s = self._wait_s(client)
        if wait_s <= 0:
            return True
        waiting = self._waiting.get(client, 0)
        if waiting >= WAITING_MAX:
            return False
        self._waiting[client] = waiting + 1
        try:
            await asyncio.sleep(wait_s + waiting * INTERVAL_S)
        finally:
            self._waiting[client] -= 1
            if not self._waiting[client]:
                del self._waiting[client]
        return True

    def record_failure(self, address: str) -> None:
        """Record that a try from an address was wrong."""
        client, now_s = network(address), self._clock()
        # Reinserted at the end: the address with the oldest try is removed first.
        due_s = max(self._due_s.pop(client, now_s), now_s) + INTERVAL_S
        self._due_s[client] = due_s
        if len(self._due_s) > ADDRESSES_MAX:
            del self._due_s[next(iter(self._due_s))]

    def _wait_s(self, client: str) -> float:
        due_s = self._due_s.get(client)
        if due_s is None:
            return 0.0
        return due_s - (BURST_TRIES - 1) * INTERVAL_S - self._clock()
