"""Finds the nodes of a deployment: the primary that Sentinel names, or the slot map of a cluster.

The slot map is parsed here because redis-py offers its own only inside `RedisCluster`, which opens a
connection pool for each node and retries on its own. The write connections must know which connection
carried a command (the fence needs that) and whether a primary changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from redis.crc import REDIS_CLUSTER_HASH_SLOTS
from redis.sentinel import Sentinel

from state.store.error_messages import RefusedError

if TYPE_CHECKING:
    from state.store.addresses import Address, NodeAddress


def find_primary(address: Address) -> NodeAddress:
    """Ask the Sentinels for the current primary."""
    timeout_s = address.options["socket_timeout"]
    options = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s}
    sentinel: Any = cast("Any", Sentinel)(address.seeds, sentinel_kwargs=options)
    try:
        primary_node: NodeAddress = sentinel.discover_master(address.service)
    finally:
        for client in sentinel.sentinels:
            client.close()
    return primary_node


def reports_cluster(info: Any) -> bool:
    """Whether a reply to `INFO cluster` reports a cluster. False if the user may not ask for it."""
    return isinstance(info, bytes) and b"cluster_enabled:1" in info


def slot_map(reply: Any, answering_host: str) -> tuple[list[NodeAddress], list[NodeAddress]]:
    """Return the primary of each slot and all nodes, from a reply to `CLUSTER SLOTS`.

    `answering_host` stands in for a host that the reply leaves empty. Raises RefusedError while a
    slot has no node.
    """
    if isinstance(reply, Exception):
        raise RefusedError(str(reply))
    slots: list[NodeAddress | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
    nodes: list[NodeAddress] = []
    for first, last, *members in reply:
        addresses = [((host or b"").decode() or answering_host, port) for host, port, *_ in members]
        nodes += addresses
        slots[first : last + 1] = [addresses[0]] * (last + 1 - first)
    if None in slots:
        raise RefusedError("CLUSTERDOWN slots without a node")
    return cast("list[NodeAddress]", slots), nodes
