"""Where shoppers wait who are too many for memory: rows in Redis, read when one of them returns."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from operators.shards.cold_tier import RUN_ID_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from state.store import Store


class RedisColdStore:
    """Reads what the shards of a process had put away; the connection is made at the first read."""

    def __init__(self, connect: Callable[[], Store]) -> None:
        self.run_id = os.urandom(RUN_ID_BYTES)
        self._connect = connect
        self._store: Store | None = None

    def fetch(self, names: Sequence[str]) -> Sequence[bytes | None]:
        """What keys hold, None where there is nothing; waits while Redis is away."""
        return self._connected().get_strings(names)

    def members(self, names: Sequence[str]) -> Sequence[set[bytes]]:
        """What SET keys hold; waits while Redis is away."""
        return self._connected().get_sets(names)

    def _connected(self) -> Store:
        if self._store is None:
            self._store = self._connect()
        return self._store
