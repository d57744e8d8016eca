"""The store as a flow sees it: writes that wait out an outage, and plain reads."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import redis
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import NoPermissionError, RedisError

from state import keys
from state.store import error_messages
from state.store.addresses import parse
from state.store.connections import Links, pack, primary
from state.store.key_scan import Row, read_rows
from state.store.pipelined_writer import BACKOFF_S_MAX, BACKOFF_S_MIN, Courier
from state.store.server_info import About
from state.store.streams import give_way

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from state.store.addresses import Address, Kind
    from state.store.fence import Fence

T = TypeVar("T")
Command = tuple[str | bytes | int | float, ...] | bytes
"""A Redis command and its arguments, or one packed already (`state.resp`). Its key comes first."""

_log = logging.getLogger("penstock.redis")


class Store:
    """Writes to, and a client for reads of, a Redis or Valkey server, Sentinel's primary or cluster.

    Not for several threads. Raises UserError where waiting is no use, or was no use for
    `patience_s`. `replicas` is how many replicas of each primary must have a write before it is
    settled. `waiting` is called at every retry while Redis is away; what it raises ends the wait.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_ms: int,
        patience_s: float,
        replicas: int = 0,
        fence: Fence | None = None,
        waiting: Callable[[], None] | None = None,
    ) -> None:
        address = parse(url, timeout_ms)
        self.address = address.shown
        # Any: redis-py types every reply as all that any setting could make of it.
        self.client: Any = Client(address)
        self._waiting = waiting
        self._patience_s = patience_s
        self._courier = Courier(
            Links(address, timeout_ms, fence),
            address.shown,
            timeout_ms=timeout_ms,
            patience_s=patience_s,
            replicas=replicas,
            missing=self._is_missing,
        )

    def check(self) -> None:
        """Make sure that the server answers, lets us in and takes writes; else UserError, at once."""
        with self.in_words():
            self.client.hset(keys.meta_key(), "contract", keys.CONTRACT)

    def about(self) -> About:
        """What it is that we talk to. Raises UserError."""
        with self.in_words():
            try:
                told = self.client.execute_command("INFO", **self.client.any_node)
            except NoPermissionError:
                told = {}
        name = told.get("server_name", "redis")
        version = str(told.get(f"{name}_version", ""))
        return About(self.client.kind, name, version, str(told.get("maxmemory_policy", "")))

    def wait(self) -> None:
        """Wait until the server takes writes, as a write does. Raises UserError."""
        self.send([("HSET", keys.meta_key(), "contract", keys.CONTRACT)])
        self.settle()

    @contextmanager
    def in_words(self) -> Iterator[None]:
        """Whatever goes wrong with a read inside is a UserError that says what to do."""
        try:
            yield
        except (RedisError, error_messages.RefusedError) as error:
            raise error_messages.failure(self.address, error, keys.meta_key()) from error

    def send(
        self,
        commands: Iterable[Command],
        done: Callable[[float], None] | None = None,
        *,
        first: int = 0,
    ) -> None:
        """Write commands in order, without waiting for their replies; to each node of a cluster in
        an order of its own, but for the `first` so many, which come before the others.

        `done` is called, in a thread of the store's own, when all of them are answered, with how
        many seconds that took since they were sent.
        """
        packed = [one if isinstance(one, bytes) else pack(one) for one in commands]
        if packed:
            self._courier.send(packed, done, self._waiting, first=first)

    def settle(self) -> None:
        """Return when every write has been answered, and is on as many replicas as asked for."""
        self._courier.settle(self._waiting)

    def values(self, names: Sequence[str]) -> list[bytes | None]:
        """What STRING keys hold, None where there is none; waits where Redis is away, as writes do."""
        return self._read("GET", names)

    def sets(self, names: Sequence[str]) -> list[set[bytes]]:
        """What SET keys hold; waits too."""
        return [set(found) for found in self._read("SMEMBERS", names)]

    def patiently(self, ask: Callable[[], T], key: str) -> T:
        """What a command that may be asked again answers; waits where Redis is away, as writes do."""
        away_s, attempt = 0.0, 0
        while True:
            try:
                return ask()
            except error_messages.TROUBLES as error:
                now_s = time.monotonic()
                away_s = away_s or now_s
                failure = error_messages.failure(self.address, error, key)
                if error_messages.is_for_ever(error) or now_s - away_s > self._patience_s:
                    raise failure from error
                if attempt == 0:
                    _log.warning("%s; waiting", failure)
                self.client.close()
            if self._waiting is not None:
                self._waiting()
            time.sleep(min(BACKOFF_S_MAX, BACKOFF_S_MIN * 2 ** min(attempt, 10)))
            attempt += 1

    def _read(self, command: str, names: Sequence[str]) -> list[Any]:
        def ask() -> list[Any]:
            reads = self.client.pipeline(transaction=False)
            for name in names:
                reads.execute_command(command, name)
            return list(reads.execute())

        return self.patiently(ask, names[0] if names else "")

    def close(self) -> None:
        """Settle and let go of the server."""
        try:
            self.settle()
        finally:
            self._courier.stop()
            self.client.close()

    def rows(self, pattern: str = "ps:1:*", *, in_parts: bool = False) -> Iterator[Row]:
        """Every key of a pattern with its value in a canonical form, in no order.

        But for what only says which process runs and what it has told (leases, heartbeats, the
        marker), and what it has put away. With `in_parts` the value of a key that holds much is an
        iterator over it, to be gone through before the next row is taken.
        """
        return read_rows(self.client, pattern, in_parts=in_parts)

    def _is_missing(self, commands: list[bytes]) -> bool:
        return give_way(self.client, commands)


class Client:
    """redis-py's client for an address; made at the first use, since what it talks to is asked then."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._client: Any = None

    def __getattr__(self, name: str) -> Any:
        if self._client is None:
            self._client = self._open()
        return getattr(self._client, name)

    @property
    def kind(self) -> Kind:
        """What it is, also where the URL does not say that it is a cluster."""
        return "cluster" if self.any_node else self._address.kind

    @property
    def any_node(self) -> dict[str, str]:
        """Where a command without a key goes."""
        if self._client is None:
            self._client = self._open()
        return (
            {"target_nodes": RedisCluster.RANDOM} if isinstance(self._client, RedisCluster) else {}
        )

    def close(self) -> None:
        """Let go of the server; the next use connects again."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _open(self) -> Any:
        address = self._address
        if address.kind == "cluster":
            return self._cluster()
        at = primary(address) if address.kind == "sentinel" else None
        where = {} if at is None else {"host": at[0], "port": at[1]}
        pool = redis.ConnectionPool(address.connect, **(address.options | where))
        single = redis.Redis(connection_pool=pool)
        single.close = pool.disconnect  # type: ignore[method-assign]
        try:
            is_cluster = single.info("cluster").get("cluster_enabled") == 1
        except redis.exceptions.NoPermissionError:
            is_cluster = False
        if not is_cluster or "path" in address.options:
            return single
        pool.disconnect()
        return self._cluster()

    def _cluster(self) -> Any:
        options = dict(self._address.options)
        seeds = self._address.seeds or [
            (options.get("host", "localhost"), options.get("port", 6379))
        ]
        for name in ("host", "port", "db", "retry"):
            options.pop(name, None)
        if issubclass(self._address.connect, redis.SSLConnection):
            options["ssl"] = True
        nodes = [ClusterNode(host, port) for host, port in seeds]  # type: ignore[no-untyped-call]
        return RedisCluster(startup_nodes=nodes, **options)
