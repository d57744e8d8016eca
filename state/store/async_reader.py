"""Reads for a server that answers many requests at once: on an event loop, over a few connections.

Nothing here writes. If Redis does not answer, a read raises StoreError at once; the next read
connects again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import redis
import redis.asyncio as aio
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError

from state.store import error_messages
from state.store.addresses import parse
from state.store.topology import find_primary

if TYPE_CHECKING:
    from collections.abc import Iterable

    from state.store.addresses import Address

CONNECTIONS_MAX = 8
"""Connections in the pool; further reads wait for a free one."""
_KINDS: dict[type[Any], type[Any]] = {
    redis.Connection: aio.Connection,
    redis.SSLConnection: aio.SSLConnection,
    redis.UnixDomainSocketConnection: aio.UnixDomainSocketConnection,
}

_OF_ONE_SERVER = ("host", "port", "db", "retry", "himport_registry")
"""Options of a connection that redis-py's client of a cluster does not take."""

ReadCommand = tuple[str | bytes | int | float, ...]
"""A Redis command that only reads, and its arguments; the key is the first argument."""


class AsyncReader:
    """Reads from a Redis or Valkey server, a primary behind Sentinel or a cluster.

    For one event loop.
    """

    def __init__(self, url: str, *, timeout_ms: int) -> None:
        self._address = parse(url, timeout_ms)
        self.address = self._address.display_url
        self._client: Any = None
        self._opening = asyncio.Lock()

    async def read_many(self, commands: Iterable[ReadCommand]) -> list[Any]:
        """Return the replies to commands, in one round trip to each node. Raises StoreError."""
        batch = list(commands)
        if not batch:
            return []
        try:
            async with self._opening:
                if self._client is None:
                    self._client = await self.open_client()
            if isinstance(self._client, aio.RedisCluster):
                pipeline: Any = self._client.pipeline()
            else:
                pipeline = self._client.pipeline(transaction=False)
            for command in batch:
                pipeline.execute_command(*command)
            return list(await pipeline.execute())
        except error_messages.RETRYABLE_ERRORS as error:
            await self.close()
            raise error_messages.store_error(
                self.address, error, str(batch[0][1]), str(batch[0][0])
            ) from error

    async def read_one(self, *command: str | bytes | int | float) -> Any:
        """Return the reply to one command. Raises StoreError."""
        return (await self.read_many([command]))[0]

    async def close(self) -> None:
        """Close the connections; the next read connects again."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def open_client(self) -> Any:
        """A new client of redis-py: of a cluster where it is one. The caller closes it."""
        address = self._address
        options = address.options | {"retry": Retry(NoBackoff(), 0)}
        if address.kind == "cluster":
            return _cluster(address, options)
        if address.kind == "sentinel":
            host, port = await asyncio.to_thread(find_primary, address)
            options |= {"host": host, "port": port}
        pool = aio.BlockingConnectionPool(
            connection_class=_KINDS[address.connect],
            max_connections=CONNECTIONS_MAX,
            timeout=int(options["socket_timeout"]) + 1,
            **options,
        )
        single = aio.Redis.from_pool(pool)
        try:
            info = await single.info("cluster")
            is_cluster = info.get("cluster_enabled") == 1
        except NoPermissionError:
            is_cluster = False
        except BaseException:  # also when who asked has given up
            await single.aclose()
            raise
        if not is_cluster or "path" in options:
            return single
        await single.aclose()
        return _cluster(address, options)


def _cluster(address: Address, options: dict[str, Any]) -> Any:
    nodes_at = address.seeds or [(options.get("host", "localhost"), options.get("port", 6379))]
    options = {k: v for k, v in options.items() if k not in _OF_ONE_SERVER}
    if issubclass(address.connect, redis.SSLConnection):
        options["ssl"] = True
    nodes = [ClusterNode(host, port) for host, port in nodes_at]
    return aio.RedisCluster(startup_nodes=nodes, max_connections=CONNECTIONS_MAX, **options)
