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

from state.store.error_messages import TROUBLES, RefusedError
from state.store.fence import Fence, kill

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from state.store.addresses import Address, Place

SLOTS = 16384
_REPLY_BYTES_MIN = 4  # `:0\r\n`
_RECEIVE_BYTES_MAX = 1 << 16
pack = cast("Callable[[tuple[str | bytes | int | float, ...]], bytes]", pack_command)


class Link:
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
    def place(self) -> Place:
        """Where the node is."""
        host, port = self._socket.getpeername()[:2]
        return host, port

    def send(self, packed: bytes) -> None:
        """Send commands whole."""
        self._socket.sendall(packed)

    def replies(self, count: int) -> list[Any]:
        """The replies to so many commands; errors are among them, not raised."""
        found: list[Any] = []
        gets, more = self._reader.gets, self._more
        while len(found) < count:
            reply = gets()
            if reply is False:
                more(count - len(found))
            else:
                found.append(reply)
        return found

    def ask(self, *commands: tuple[str | bytes | int | float, ...]) -> list[Any]:
        """Send commands and read their replies, at once."""
        self.send(b"".join(map(pack, commands)))
        return self.replies(len(commands))

    def close(self) -> None:
        """Let go of the node."""
        self._connection.disconnect()

    def _more(self, replies: int) -> None:
        # As much as must come (a first reply may be here but for its last byte), in one call: each
        # return from the kernel waits for its turn at the interpreter while the flow computes.
        wanted = 1 + (replies - 1) * _REPLY_BYTES_MIN
        if self._is_plain and replies > 1:
            received = self._socket.recv(min(wanted, _RECEIVE_BYTES_MAX), socket.MSG_WAITALL)
        else:
            received = self._socket.recv(_RECEIVE_BYTES_MAX)
        if not received:
            raise ConnectionError("the server closed the connection")
        self._reader.feed(received)


class Links:
    """All connections of one writer. Whatever goes wrong: `close`, and `open` finds its way anew.

    `open` names each connection, then asks whether the fence still holds, before anything is sent.
    A connection that an earlier `open` left behind may have bytes that the server has not read yet:
    it is ended there first, else these writes would come after newer ones.
    """

    def __init__(self, address: Address, timeout_ms: int, fence: Fence | None) -> None:
        self._address = address
        self._timeout_ms = timeout_ms
        self._fence = fence
        self._name = f"{fence.prefix if fence else 'penstock-writer'}-{uuid.uuid4().hex[:12]}"
        self._links: dict[Place | None, Link] = {}
        self._asking: dict[Place, Link] = {}
        self._slots: list[Place | None] = []
        self._primary: Place | None = None
        self._known = list(address.seeds)
        self._was_open = False
        self._primaries: set[Place] = set()
        self.failed_over: set[Place] = set()
        """Primaries before the last `open` that are none after it."""

    def open(self) -> None:
        """Connect to every primary, if not connected."""
        if self._links:
            return
        try:
            self._find()
            found = {place for place in (*self._slots, self._primary) if place is not None}
            self.failed_over, self._primaries = self._primaries - found, found
            for link in self._links.values():
                link.ask(("CLIENT", "SETNAME", self._name))
                if self._was_open:
                    kill(link, lambda name: name == self._name)
            if self._fence is not None:
                held = self._link_of(self._fence.token_key.encode()).ask(
                    ("GET", self._fence.token_key)
                )
                self._fence.verify(held[0])
        except BaseException:
            self.close()
            raise
        self._was_open = True

    def close(self) -> None:
        """Let go of every node."""
        for link in (*self._links.values(), *self._asking.values()):
            link.close()
        self._links.clear()
        self._asking.clear()

    @property
    def are_many(self) -> bool:
        """Whether there is more than one node, each with an order of its own."""
        return self._address.kind == "cluster" or bool(self._slots)

    def all(self) -> list[Link]:
        """One connection to each primary."""
        return list(self._links.values())

    def spread(self, commands: Sequence[bytes]) -> dict[Link, Sequence[int]]:
        """Which commands go to which node, by their place."""
        if not self._slots:
            return {self._links[None]: range(len(commands))}
        spread: dict[Link, list[int]] = defaultdict(list)
        links, slots = self._links, self._slots
        for number, command in enumerate(commands):
            spread[links[slots[slot(key(command))]]].append(number)
        return cast("dict[Link, Sequence[int]]", spread)

    def redirected(self, command: bytes, reply: str) -> Any:
        """The reply of the node that a slot is moving to (`ASK slot host:port`)."""
        host, _, port = reply.split(" ")[2].rpartition(":")
        place = (host, int(port))
        if place not in self._asking:
            self._asking[place] = link = Link(self._address.connection(place), self._timeout_ms)
            link.ask(("CLIENT", "SETNAME", self._name))
        link = self._asking[place]
        link.send(pack(("ASKING",)) + command)
        return link.replies(2)[1]

    def _link_of(self, name: bytes) -> Link:
        return self._links[self._slots[slot(name)] if self._slots else None]

    def _find(self) -> None:
        if self._address.kind == "cluster" or self._slots:
            self._find_cluster()
            return
        place = primary(self._address) if self._address.kind == "sentinel" else None
        self._primary = place
        link = Link(self._address.connection(place), self._timeout_ms)
        self._links[None] = link
        if self._address.kind == "server" and is_cluster(link.ask(("INFO", "cluster"))[0]):
            host, port = link.place
            link.close()
            self._links.clear()
            self._known = [(host, port)]
            self._find_cluster()

    def _find_cluster(self) -> None:
        """Learn from any node who keeps which slots; another one is asked first each time."""
        trouble: Exception = RefusedError("CLUSTERDOWN no node is known")
        random.shuffle(self._known)
        for place in self._known:
            try:
                link = Link(self._address.connection(place), self._timeout_ms)
                try:
                    slots = slot_map(link.ask(("CLUSTER", "SLOTS"))[0], place[0])
                finally:
                    link.close()
                links: dict[Place | None, Link] = {}
                self._links = links
                for primary_at in dict.fromkeys(slots[0]):
                    links[primary_at] = Link(self._address.connection(primary_at), self._timeout_ms)
            except TROUBLES as error:
                self.close()
                trouble = error
                continue
            self._slots = cast("list[Place | None]", slots[0])
            self._known = list(dict.fromkeys([*slots[1], *self._address.seeds]))
            return
        raise trouble


def is_cluster(info: Any) -> bool:
    """Whether an `INFO cluster` speaks of a cluster; a user who may not ask is taken to know."""
    return isinstance(info, bytes) and b"cluster_enabled:1" in info


def slot_map(reply: Any, asked: str) -> tuple[list[Place], list[Place]]:
    """Who keeps each slot, and all nodes, from `CLUSTER SLOTS`; `asked` is the host that answered.

    Raises RefusedError while some slot is nobody's.
    """
    if isinstance(reply, Exception):
        raise RefusedError(str(reply))
    slots: list[Place | None] = [None] * SLOTS
    nodes: list[Place] = []
    for first, last, *keepers in reply:
        places = [((host or b"").decode() or asked, port) for host, port, *_ in keepers]
        nodes += places
        slots[first : last + 1] = [places[0]] * (last + 1 - first)
    if None in slots:
        raise RefusedError("CLUSTERDOWN slots without a node")
    return cast("list[Place]", slots), nodes


def primary(address: Address) -> Place:
    """Where the Sentinels say that the primary is now."""
    timeout_s = address.options["socket_timeout"]
    options = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s}
    sentinel: Any = cast("Any", Sentinel)(address.seeds, sentinel_kwargs=options)
    try:
        found: Place = sentinel.discover_master(address.service)
    finally:
        for one in sentinel.sentinels:
            one.close()
    return found


def key(command: bytes) -> bytes:
    """The key of a packed command: the first argument, of a script the third.

    >>> key(b"*2\\r\\n$3\\r\\nGET\\r\\n$1\\r\\na\\r\\n")
    b'a'
    >>> key(pack(("EVAL", "return 1", 1, "{a}", "b")))
    b'{a}'
    """
    _, _, name, length, rest = command.split(b"\r\n", 4)
    if name == b"EVAL":
        _, _, _, length, rest = rest.split(b"\r\n", 4)
    return rest[: int(length[1:])]


def slot(name: bytes) -> int:
    """The slot of a key: of what is between its braces, if anything is.

    >>> slot(b"123456789"), slot(b"a{123456789}b"), slot(b"{}a") == slot(b"a")
    (12739, 12739, False)
    """
    start = name.find(b"{")
    if start >= 0:
        end = name.find(b"}", start + 1)
        if end > start + 1:
            name = name[start + 1 : end]
    return crc_hqx(name, 0) & (SLOTS - 1)
