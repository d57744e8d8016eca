"""The write connections of one writer: one to each primary, and the routing of commands to them."""

from __future__ import annotations

import random
import uuid
from collections import defaultdict
from typing import TYPE_CHECKING, Any, cast

from redis.crc import key_slot

from state.store.connection import Connection, command_key, pack
from state.store.error_messages import RETRYABLE_ERRORS, RefusedError
from state.store.topology import find_primary, reports_cluster, slot_map

if TYPE_CHECKING:
    from collections.abc import Sequence

    from state.store.addresses import Address, NodeAddress
    from state.store.fence import Fence


class ConnectionPool:
    """All write connections of one writer. After any error call `close`; `open` then connects again.

    `open` names each connection, then verifies the fence, before anything is sent. A connection of an
    earlier `open` may still hold bytes that the server has not read. The server disconnects it first;
    otherwise those writes would arrive after newer ones.
    """

    def __init__(self, address: Address, timeout_ms: int, fence: Fence | None) -> None:
        self._address = address
        self._timeout_ms = timeout_ms
        self._fence = fence
        self._client_name = (
            f"{fence.connection_prefix if fence else 'penstock-writer'}-{uuid.uuid4().hex[:12]}"
        )
        self._connections: dict[NodeAddress | None, Connection] = {}
        self._redirect_connections: dict[NodeAddress, Connection] = {}
        self._slots: list[NodeAddress | None] = []
        self._single_primary: NodeAddress | None = None
        self._known_nodes = list(address.seeds)
        self._was_open = False
        self._primaries: set[NodeAddress] = set()
        self.failed_over: set[NodeAddress] = set()
        """Nodes that were primaries before the last `open` and are not any more."""

    def open(self) -> None:
        """Connect to every primary, unless connected."""
        if self._connections:
            return
        try:
            self._connect()
            primaries = {node for node in (*self._slots, self._single_primary) if node is not None}
            self.failed_over, self._primaries = self._primaries - primaries, primaries
            for connection in self._connections.values():
                connection.call(("CLIENT", "SETNAME", self._client_name))
                if self._was_open:
                    connection.disconnect_others(lambda name: name == self._client_name)
            if self._fence is not None:
                replies = self._connection_for(self._fence.token_key.encode()).call(
                    ("GET", self._fence.token_key)
                )
                self._fence.verify(replies[0])
        except BaseException:
            self.close()
            raise
        self._was_open = True

    def close(self) -> None:
        """Close all connections."""
        for connection in (*self._connections.values(), *self._redirect_connections.values()):
            connection.close()
        self._connections.clear()
        self._redirect_connections.clear()

    @property
    def is_cluster(self) -> bool:
        """Whether this is a cluster: each node has its own order of writes."""
        return self._address.kind == "cluster" or bool(self._slots)

    def disconnect_older_writers(self, fence: Fence) -> None:
        """Disconnect every writer of any primary that has an older token. Connects first."""
        self.open()
        for connection in self._connections.values():
            connection.disconnect_others(fence.is_newer_than)

    def route(self, commands: Sequence[bytes]) -> dict[Connection, Sequence[int]]:
        """Return the connection of each command: connection -> indexes of its commands."""
        if not self._slots:
            return {self._connections[None]: range(len(commands))}
        routes: dict[Connection, list[int]] = defaultdict(list)
        connections, slots = self._connections, self._slots
        for index, command in enumerate(commands):
            routes[connections[slots[key_slot(command_key(command))]]].append(index)
        return cast("dict[Connection, Sequence[int]]", routes)

    def follow_redirect(self, command: bytes, reply: str) -> Any:
        """Send a command to the node that its slot is moving to (`ASK slot host:port`).

        Return the reply.
        """
        host, _, port = reply.split(" ")[2].rpartition(":")
        node = (host, int(port))
        if node not in self._redirect_connections:
            self._redirect_connections[node] = connection = Connection(
                self._address.connection(node), self._timeout_ms
            )
            connection.call(("CLIENT", "SETNAME", self._client_name))
        connection = self._redirect_connections[node]
        connection.send(pack(("ASKING",)) + command)
        return connection.read_replies(2)[1]

    def _connection_for(self, key_name: bytes) -> Connection:
        return self._connections[self._slots[key_slot(key_name)] if self._slots else None]

    def _connect(self) -> None:
        if self._address.kind == "cluster" or self._slots:
            self._connect_cluster()
            return
        node = find_primary(self._address) if self._address.kind == "sentinel" else None
        self._single_primary = node
        connection = Connection(self._address.connection(node), self._timeout_ms)
        self._connections[None] = connection
        if self._address.kind == "server" and reports_cluster(
            connection.call(("INFO", "cluster"))[0]
        ):
            host, port = connection.node
            connection.close()
            self._connections.clear()
            self._known_nodes = [(host, port)]
            self._connect_cluster()

    def _connect_cluster(self) -> None:
        """Read the slot map from any known node, in random order, and connect to every primary."""
        last_error: Exception = RefusedError("CLUSTERDOWN no node is known")
        random.shuffle(self._known_nodes)
        for node in self._known_nodes:
            try:
                connection = Connection(self._address.connection(node), self._timeout_ms)
                try:
                    slots = slot_map(connection.call(("CLUSTER", "SLOTS"))[0], node[0])
                finally:
                    connection.close()
                connections: dict[NodeAddress | None, Connection] = {}
                self._connections = connections
                for primary_node in dict.fromkeys(slots[0]):
                    connections[primary_node] = Connection(
                        self._address.connection(primary_node), self._timeout_ms
                    )
            except RETRYABLE_ERRORS as error:
                self.close()
                last_error = error
                continue
            self._slots = cast("list[NodeAddress | None]", slots[0])
            self._known_nodes = list(dict.fromkeys([*slots[1], *self._address.seeds]))
            return
        raise last_error
