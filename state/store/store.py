"""The store that a flow uses: writes that survive an outage, and plain reads."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from redis.exceptions import NoPermissionError

from state import keys
from state.store import error_messages
from state.store.addresses import parse
from state.store.client import RedisClient
from state.store.connection import pack
from state.store.connections import ConnectionPool
from state.store.key_scan import Row, read_rows
from state.store.outage import backoff_s
from state.store.pipelined_writer import PipelinedWriter
from state.store.server_info import ServerInfo
from state.store.streams import remove_conflicting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from state.store.fence import Fence

T = TypeVar("T")
Command = tuple[str | bytes | int | float, ...] | bytes
"""A Redis command with its arguments, or a packed one (`state.resp`); the key is the first argument."""

_log = logging.getLogger("penstock.redis")


class Store:
    """Writes to Redis or Valkey (a server, a primary behind Sentinel or a cluster); `client` reads.

    For one thread. Raises StoreError if waiting cannot help, or did not help for `patience_s`. A write
    counts as stored when `replicas` replicas of its primary have it. `on_retry` is called at each retry
    during an outage; an error that it raises ends the wait.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_ms: int,
        patience_s: float,
        replicas: int = 0,
        fence: Fence | None = None,
        on_retry: Callable[[], None] | None = None,
    ) -> None:
        address = parse(url, timeout_ms)
        self.address = address.display_url
        # Any: redis-py types each reply as a union over all settings of a client.
        self.client: Any = RedisClient(address)
        self._on_retry = on_retry
        self._patience_s = patience_s
        self._writer = PipelinedWriter(
            ConnectionPool(address, timeout_ms, fence),
            address.display_url,
            timeout_ms=timeout_ms,
            patience_s=patience_s,
            replicas=replicas,
            entries_missing=self._entries_missing,
        )

    def check(self) -> None:
        """Raise StoreError at once unless the server answers, accepts the login and accepts writes."""
        with self.errors_as_user_errors():
            self.client.hset(keys.meta_key(), "contract", keys.CONTRACT_VERSION)

    def server_info(self) -> ServerInfo:
        """Return kind, name, version and eviction policy of the server. Raises StoreError."""
        with self.errors_as_user_errors():
            try:
                info = self.client.execute_command("INFO", **self.client.any_node)
            except NoPermissionError:
                info = {}
        name = info.get("server_name", "redis")
        version = str(info.get(f"{name}_version", ""))
        return ServerInfo(self.client.kind, name, version, str(info.get("maxmemory_policy", "")))

    def wait_until_ready(self) -> None:
        """Wait until the server accepts writes, as long as a write would wait. Raises StoreError."""
        self.send([("HSET", keys.meta_key(), "contract", keys.CONTRACT_VERSION)])
        self.flush()

    @contextmanager
    def errors_as_user_errors(self) -> Iterator[None]:
        """Turn errors of reads inside the block into a StoreError that says what to do."""
        try:
            yield
        except error_messages.REDIS_ERRORS as error:
            raise error_messages.store_error(self.address, error, keys.meta_key()) from error

    def send(
        self,
        commands: Iterable[Command],
        on_written: Callable[[float], None] | None = None,
        *,
        barrier_after: int = 0,
    ) -> None:
        """Write commands in order, without waiting for their replies.

        In a cluster each node has its own order; only the first `barrier_after` commands are
        written before all others. `on_written` is called in a thread of the store when all are
        answered, with the seconds since they were sent.
        """
        packed = [command if isinstance(command, bytes) else pack(command) for command in commands]
        if packed:
            self._writer.send(packed, on_written, self._on_retry, barrier_after=barrier_after)

    def flush(self) -> None:
        """Block until every write is answered and on `replicas` replicas."""
        self._writer.flush(self._on_retry)

    def get_strings(self, names: Sequence[str]) -> list[bytes | None]:
        """Return the values of STRING keys, None for a missing key.

        Waits during an outage as writes do.
        """
        return self._read("GET", names)

    def get_sets(self, names: Sequence[str]) -> list[set[bytes]]:
        """Return the members of SET keys; waits during an outage as writes do."""
        return [set(members) for members in self._read("SMEMBERS", names)]

    def with_retries(self, operation: Callable[[], T], key: str) -> T:
        """Return the result of `operation`, which may run several times.

        Waits during an outage as writes do.
        """
        outage_started_s, attempt = 0.0, 0
        while True:
            try:
                return operation()
            except error_messages.RETRYABLE_ERRORS as error:
                now_s = time.monotonic()
                outage_started_s = outage_started_s or now_s
                failure = error_messages.store_error(self.address, error, key)
                if (
                    error_messages.is_permanent(error)
                    or now_s - outage_started_s > self._patience_s
                ):
                    raise failure from error
                if attempt == 0:
                    _log.warning("%s; waiting", failure)
                self.client.close()
            if self._on_retry is not None:
                self._on_retry()
            time.sleep(backoff_s(attempt))
            attempt += 1

    def _read(self, command: str, names: Sequence[str]) -> list[Any]:
        def read() -> list[Any]:
            reads = self.client.pipeline(transaction=False)
            for name in names:
                reads.execute_command(command, name)
            return list(reads.execute())

        return self.with_retries(read, names[0] if names else "")

    def close(self) -> None:
        """Flush, then close the connections."""
        try:
            self.flush()
        finally:
            self._writer.stop()
            self.client.close()

    def rows(self, pattern: str = "ps:1:*", *, in_parts: bool = False) -> Iterator[Row]:
        """Yield every key of a pattern with its value in a canonical form, in any order.

        Keys of operation are left out: leases, heartbeats, the write marker and evicted shoppers.
        With `in_parts` the value of a large key is an iterator, to be exhausted before the next row
        is taken.
        """
        return read_rows(self.client, pattern, in_parts=in_parts)

    def _entries_missing(self, commands: list[bytes]) -> bool:
        return remove_conflicting(self.client, commands)
