"""The cold tier in Redis: rows of shoppers evicted from memory, read when a shopper returns."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from operators.shards.cold_tier import RUN_ID_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from state.store import Store


class RedisColdStore:
    """Reads rows that the shards of a process evicted. It connects at the first read."""

    def __init__(self, connect: Callable[[], Store]) -> None:
        self.run_id = os.urandom(RUN_ID_BYTES)
        self._connect = connect
        self._store: Store | None = None

    def fetch(self, names: Sequence[str]) -> Sequence[bytes | None]:
        """The values of STRING keys, None where a key is missing. Waits while Redis is away."""
        return self._connected().get_strings(names)

    def members(self, names: Sequence[str]) -> Sequence[set[bytes]]:
        """The members of SET keys. Waits while Redis is away."""
        return self._connected().get_sets(names)

    def _connected(self) -> Store:
        if self._store is None:
            self._store = self._connect()
        return self._store
