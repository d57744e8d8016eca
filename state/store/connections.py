"""Write connections: one to each primary, and the routing of commands to them.

The socket loop is our own because redis-py needs 1.5 us to read a reply and this loop .2 us. The
slot map is our own too: redis-py offers its map only inside `RedisCluster`, which opens a
connection pool to each node, retries on its own, and can tell neither which connection carried a
command (the fence needs that) nor that a primary changed (`failed_over`).
"""

from __future__ import annotations

import random
import socket
import ssl
import struct
import uuid
from binascii import crc_hqx
from collections import defaultdict
from typing import TYPE_CHECKING, Any, cast

from hiredis import Reader, pack_command
from redis.sentinel import Sentinel

from state.store.error_messages import RETRYABLE_ERRORS, RefusedError
from state.store.fence import Fence, disconnect

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from state.store.addresses import Address, NodeAddress

SLOTS = 16384
_REPLY_BYTES_MIN = 4  # `:0\r\n`
_RECEIVE_BYTES_MAX = 1 << 16
pack = cast("Callable[[tuple[str | bytes | int | float, ...]], bytes]", pack_command)


class Connection:
    """A connection to one node that redis-py has opened, secured and logged in. For one thread.

    The kernel enforces the timeout, not Python: a blocking send is one system call, whereas with a
    Python timeout the thread waits for the interpreter lock after each part that the socket buffer
    accepts.
    """

    def __init__(self, connection: Any, timeout_ms: int) -> None:
        self._connection = connection
        connection.connect()
        self._reader = Reader()
        self._socket: socket.socket = connection._sock
        # OpenSSL treats a timeout of the kernel as an interruption and tries again.
        self._is_plain = not isinstance(self._socket, ssl.SSLSocket)
        if self._is_plain:
            timeout = struct.pack("ll", timeout_ms // 1000, timeout_ms % 1000 * 1000)
            self._socket.settimeout(None)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)

    @property
    def node(self) -> NodeAddress:
        """Return host and port of the node."""
        host, port = self._socket.getpeername()[:2]
        return host, port

    def send(self, packed: bytes) -> None:
        """Send packed commands."""
        self._socket.sendall(packed)

    def read_replies(self, count: int) -> list[Any]:
        """Read `count` replies; error replies are among them, not raised."""
        replies: list[Any] = []
        gets, receive = self._reader.gets, self._receive
        while len(replies) < count:
            reply = gets()
            if reply is False:
                receive(count - len(replies))
            else:
                replies.append(reply)
        return replies

    def call(self, *commands: tuple[str | bytes | int | float, ...]) -> list[Any]:
        """Send commands and return their replies."""
        self.send(b"".join(map(pack, commands)))
        return self.read_replies(len(commands))

    def close(self) -> None:
        """Close the connection."""
        self._connection.disconnect()

    def _receive(self, replies_missing: int) -> None:
        # Ask for all bytes that must still come (at least the last byte of the first reply) in one
        # call: after each return from the kernel this thread waits for the interpreter lock.
        wanted = 1 + (replies_missing - 1) * _REPLY_BYTES_MIN
        if self._is_plain and replies_missing > 1:
            received = self._socket.recv(min(wanted, _RECEIVE_BYTES_MAX), socket.MSG_WAITALL)
        else:
            received = self._socket.recv(_RECEIVE_BYTES_MAX)
        if not received:
            raise ConnectionError("the server closed the connection")
        self._reader.feed(received)


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
                    disconnect(connection, lambda name: name == self._client_name)
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

    def connections(self) -> list[Connection]:
        """Return one connection to each primary."""
        return list(self._connections.values())

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
    slots: list[NodeAddress | None] = [None] * SLOTS
    nodes: list[NodeAddress] = []
    for first, last, *members in reply:
        addresses = [((host or b"").decode() or answering_host, port) for host, port, *_ in members]
        nodes += addresses
        slots[first : last + 1] = [addresses[0]] * (last + 1 - first)
    if None in slots:
        raise RefusedError("CLUSTERDOWN slots without a node")
    return cast("list[NodeAddress]", slots), nodes


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


def command_key(command: bytes) -> bytes:
    """Return the key of a packed command: the first argument, for EVAL the third.

    >>> command_key(b"*2\\r\\n$3\\r\\nGET\\r\\n$1\\r\\na\\r\\n")
    b'a'
    >>> command_key(pack(("EVAL", "return 1", 1, "{a}", "b")))
    b'{a}'
    """
    _, _, name, length, rest = command.split(b"\r\n", 4)
    if name == b"EVAL":
        _, _, _, length, rest = rest.split(b"\r\n", 4)
    return rest[: int(length[1:])]


def key_slot(key_name: bytes) -> int:
    """Return the cluster slot of a key; only the part between braces counts, if there is one.

    >>> key_slot(b"123456789"), key_slot(b"a{123456789}b"), key_slot(b"{}a") == key_slot(b"a")
    (12739, 12739, False)
    """
    start = key_name.find(b"{")
    if start >= 0:
        end = key_name.find(b"}", start + 1)
        if end > start + 1:
            key_name = key_name[start + 1 : end]
    return crc_hqx(key_name, 0) & (SLOTS - 1)
