"""One connection for writing: sends packed commands and reads their replies.

The socket loop is our own because redis-py needs 1.5 us to read a reply and this loop .2 us. redis-py
opens the socket, secures it and logs in.
"""

from __future__ import annotations

import logging
import socket
import ssl
import struct
from typing import TYPE_CHECKING, Any, cast

from hiredis import Reader, pack_command

if TYPE_CHECKING:
    from collections.abc import Callable

    from state.store.addresses import NodeAddress

_REPLY_BYTES_MIN = 4  # `:0\r\n`
_RECEIVE_BYTES_MAX = 1 << 16
_log = logging.getLogger("penstock.redis")
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

    def disconnect_others(self, matches: Callable[[str], bool]) -> None:
        """Disconnect the other connections to this node whose names match."""
        own_id, clients = self.call(("CLIENT", "ID"), ("CLIENT", "LIST"))
        if isinstance(own_id, Exception) or isinstance(clients, Exception):
            _log.warning(
                "Redis does not let us list connections (%s): an old writer is kept out only when it "
                "connects again; allow +client|id, +client|list and +client|kill",
                own_id if isinstance(own_id, Exception) else clients,
            )
            return
        for line in clients.decode().splitlines():
            fields = dict(part.partition("=")[::2] for part in line.split(" "))
            if int(fields["id"]) != own_id and matches(fields.get("name", "")):
                self.call(("CLIENT", "KILL", "ID", fields["id"]))


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
