"""redis-py's client for reads, for every kind of deployment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import redis
from redis.cluster import ClusterNode, RedisCluster

from state.store.topology import find_primary

if TYPE_CHECKING:
    from state.store.addresses import Address, ServerKind


class RedisClient:
    """redis-py's client for an address. It connects at the first use and then detects a cluster."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._client: Any = None

    def __getattr__(self, name: str) -> Any:
        if self._client is None:
            self._client = self._open()
        return getattr(self._client, name)

    @property
    def kind(self) -> ServerKind:
        """Return the kind of server, also for a cluster whose URL does not say so."""
        return "cluster" if self.any_node else self._address.kind

    @property
    def any_node(self) -> dict[str, str]:
        """Return the arguments that send a command without a key to any node of a cluster."""
        if self._client is None:
            self._client = self._open()
        return (
            {"target_nodes": RedisCluster.RANDOM} if isinstance(self._client, RedisCluster) else {}
        )

    def close(self) -> None:
        """Close the connections; the next use connects again."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _open(self) -> Any:
        address = self._address
        if address.kind == "cluster":
            return self._cluster()
        node = find_primary(address) if address.kind == "sentinel" else None
        host_port = {} if node is None else {"host": node[0], "port": node[1]}
        pool = redis.ConnectionPool(address.connect, **(address.options | host_port))
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
