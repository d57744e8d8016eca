"""Connections for writing: one to each primary, and which of them a command goes to."""

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

    The kernel times it out, not Python: a blocking send goes out whole, while under a Python
    timeout each part that the socket's buffer takes waits for its turn at the interpreter.
    """

    def __init__(self, connection: Any, timeout_ms: int) -> None:
        self._connection = connection
        connection.connect()
        self._reader = Reader()
        self._socket: socket.socket = connection._sock
        # OpenSSL would take a timeout of the kernel for an interruption, and try again.
        self._is_plain = not isinstance(self._socket, ssl.SSLSocket)
        if self._is_plain:
            timeout = struct.pack("ll", timeout_ms // 1000, timeout_ms % 1000 * 1000)
            self._socket.settimeout(None)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)

    @property
    def node(self) -> NodeAddress:
        """Where the node is."""
        host, port = self._socket.getpeername()[:2]
        return host, port

    def send(self, packed: bytes) -> None:
        """Send commands whole."""
        self._socket.sendall(packed)

    def read_replies(self, count: int) -> list[Any]:
        """The replies to so many commands; errors are among them, not raised."""
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
        """Send commands and read their replies, at once."""
        self.send(b"".join(map(pack, commands)))
        return self.read_replies(len(commands))

    def close(self) -> None:
        """Let go of the node."""
        self._connection.disconnect()

    def _receive(self, replies_missing: int) -> None:
        # As much as must come (a first reply may be here but for its last byte), in one call: each
        # return from the kernel waits for its turn at the interpreter while the flow computes.
        wanted = 1 + (replies_missing - 1) * _REPLY_BYTES_MIN
        if self._is_plain and replies_missing > 1:
            received = self._socket.recv(min(wanted, _RECEIVE_BYTES_MAX), socket.MSG_WAITALL)
        else:
            received = self._socket.recv(_RECEIVE_BYTES_MAX)
        if not received:
            raise ConnectionError("the server closed the connection")
        self._reader.feed(received)


class ConnectionPool:
    """All connections of one writer. Whatever goes wrong: `close`, and `open` finds its way anew.

    `open` names each connection, then asks whether the fence still holds, before anything is sent.
    A connection that an earlier `open` left behind may have bytes that the server has not read yet:
    it is ended there first, else these writes would come after newer ones.
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
        """Primaries before the last `open` that are none after it."""

    def open(self) -> None:
        """Connect to every primary, if not connected."""
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
        """Let go of every node."""
        for connection in (*self._connections.values(), *self._redirect_connections.values()):
            connection.close()
        self._connections.clear()
        self._redirect_connections.clear()

    @property
    def is_cluster(self) -> bool:
        """Whether there is more than one node, each with an order of its own."""
        return self._address.kind == "cluster" or bool(self._slots)

    def connections(self) -> list[Connection]:
        """One connection to each primary."""
        return list(self._connections.values())

    def route(self, commands: Sequence[bytes]) -> dict[Connection, Sequence[int]]:
        """Which commands go to which node, by their place."""
        if not self._slots:
            return {self._connections[None]: range(len(commands))}
        routes: dict[Connection, list[int]] = defaultdict(list)
        connections, slots = self._connections, self._slots
        for index, command in enumerate(commands):
            routes[connections[slots[key_slot(command_key(command))]]].append(index)
        return cast("dict[Connection, Sequence[int]]", routes)

    def follow_redirect(self, command: bytes, reply: str) -> Any:
        """The reply of the node that a slot is moving to (`ASK slot host:port`)."""
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
        """Learn from any node who keeps which slots; another one is asked first each time."""
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
    """Whether an `INFO cluster` speaks of a cluster; a user who may not ask is taken to know."""
    return isinstance(info, bytes) and b"cluster_enabled:1" in info


def slot_map(reply: Any, answering_host: str) -> tuple[list[NodeAddress], list[NodeAddress]]:
    """Who keeps each slot, and all nodes, from `CLUSTER SLOTS`; `answering_host` is the host that
    answered.

    Raises RefusedError while some slot is nobody's.
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
    """Where the Sentinels say that the primary is now."""
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
    """The key of a packed command: the first argument, of a script the third.

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
    """The slot of a key: of what is between its braces, if anything is.

    >>> key_slot(b"123456789"), key_slot(b"a{123456789}b"), key_slot(b"{}a") == key_slot(b"a")
    (12739, 12739, False)
    """
    start = key_name.find(b"{")
    if start >= 0:
        end = key_name.find(b"}", start + 1)
        if end > start + 1:
            key_name = key_name[start + 1 : end]
    return crc_hqx(key_name, 0) & (SLOTS - 1)
