"""How often one address may ask: so many requests a second, and some at once (a token bucket)."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING

from serving.http.errors import RequestError
from serving.http.networks import network

if TYPE_CHECKING:
    from collections.abc import Callable

BURST_S = 10
"""An address that was quiet may send what it may send in so many seconds at once."""
ADDRESSES_MAX = 100_000


class RequestRates:
    """The requests of each address, by the generic cell rate algorithm (ITU-T I.371)."""

    def __init__(self, per_s: int, clock_s: Callable[[], float]) -> None:
        self._interval_s = 1 / per_s
        self._clock_s = clock_s
        self._due_s: OrderedDict[tuple[str, str], float] = OrderedDict()

    def count(self, key: str, address: str) -> None:
        """Count a request of an address with a key. Raises RequestError 429 where it is too many."""
        client, now_s = (key, network(address)), self._clock_s()
        due_s = max(self._due_s.get(client, now_s), now_s)
        if due_s - now_s > BURST_S:
            wait_s = math.ceil(due_s - now_s - BURST_S)
            raise RequestError(429, "$", "too many requests", retry_after=str(wait_s))
        self._due_s[client] = due_s + self._interval_s
        self._due_s.move_to_end(client)
        if len(self._due_s) > ADDRESSES_MAX:
            self._due_s.popitem(last=False)
