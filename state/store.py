"""The one door to Redis: pipelined writes that wait out an outage, and plain reads.

Writes are commands as tuples. They are all idempotent, so that whatever was sent and not yet
answered when a connection breaks is sent again. Replies are read one batch later: the server works
while the flow computes. Nothing else imports redis or hiredis.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import socket
import struct
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import urlsplit

import redis
from hiredis import HiredisError, Reader, pack_command
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    NoPermissionError,
    RedisError,
)
from redis.retry import Retry

from state import keys
from state.errors import UserError
from state.sending import Sender
from state.streams import give_way

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

Command = tuple[str | bytes | int | float, ...] | bytes
"""A Redis command and its arguments, or one packed already (`state.resp`)."""

LOGIN_VARIABLE = "PENSTOCK_REDIS_PASSWORD"

_pack = cast("Callable[[tuple[str | bytes | int | float, ...]], bytes]", pack_command)
_UNSETTLED_BYTES_MAX = 8 << 20
_RECEIVE_BYTES = 1 << 16
_BACKOFF_S = (0.05, 0.1, 0.2, 0.5, 1.0)
_ALREADY_WRITTEN = "equal or smaller than the target stream"
_WAIT_FOR = {
    "READONLY": "is read-only, perhaps a replica: point redis.url at the primary",
    "OOM": "is full: raise its maxmemory, or give it an eviction policy that spares keys without expiry",
    "LOADING": "is still loading its data",
    "MISCONF": "cannot save to its disk and refuses writes: free the disk",
    "MASTERDOWN": "has lost its primary",
    "NOREPLICAS": "has too few replicas to accept writes",
    "CLUSTERDOWN": "is a cluster that is down",
    "BUSY": "is running a long script",
}
_LOCKED_OUT = {"NOAUTH", "WRONGPASS", "NOPERM"}
_LOCKED_OUT_ERRORS = (AuthenticationError, AuthorizationError, NoPermissionError)
_log = logging.getLogger("penstock.redis")


class _Chunk(NamedTuple):
    packed: bytes
    replies: int


class _RefusedError(Exception):
    """A reply that may turn to the better: the write is kept and sent again."""


_TROUBLES = (OSError, RedisError, HiredisError, _RefusedError)


class Store:
    """A connection for writes, and a client for reads, of one Redis or Valkey server.

    Not for several threads. Raises UserError where waiting is no use, or was no use for
    `patience_s`.
    """

    def __init__(self, url: str, *, timeout_ms: int, patience_s: float) -> None:
        self.address = url
        self._patience_s = patience_s
        self._timeout = struct.pack("ll", timeout_ms // 1000, timeout_ms % 1000 * 1000)
        try:
            self.address = _without_password(url)
            self._pool = redis.ConnectionPool.from_url(
                url,
                **_password(),
                protocol=2,
                socket_timeout=timeout_ms / 1000,
                socket_connect_timeout=timeout_ms / 1000,
                retry=Retry(NoBackoff(), 0),
            )
        except ValueError as error:
            raise UserError(
                f"redis.url {self.address}: expected redis://, rediss:// or unix://"
            ) from error
        # Any: redis-py types every reply as all that any setting could make of it.
        self.client: Any = redis.Redis(connection_pool=self._pool)
        self._connection: Any = None
        self._sender = Sender()
        self._unsettled: list[_Chunk] = []
        self._unsettled_bytes = 0

    def check(self) -> None:
        """Make sure that the server answers, lets us in and takes writes; else UserError, at once."""
        with self.in_words():
            self.client.hset(keys.meta_key(), "contract", keys.CONTRACT)

    @contextmanager
    def in_words(self) -> Iterator[None]:
        """Whatever goes wrong with a read inside is a UserError that says what to do."""
        try:
            yield
        except _LOCKED_OUT_ERRORS as error:
            raise self._locked_out(error) from error
        except RedisError as error:
            raise UserError(
                f"Redis at {self.address} {_what_to_do(error, keys.meta_key())}"
            ) from error

    def send(self, commands: Iterable[Command]) -> None:
        """Write commands in order, without waiting for their replies."""
        packed = [one if isinstance(one, bytes) else _pack(one) for one in commands]
        if not packed:
            return
        if self._unsettled_bytes > _UNSETTLED_BYTES_MAX:
            self.settle()
        chunk = _Chunk(b"".join(packed), len(packed))
        self._unsettled.append(chunk)
        self._unsettled_bytes += len(chunk.packed)
        self._sender.send(chunk.packed, self._connected)

    def settle(self) -> None:
        """Return when every write has been answered; what was refused has been sent again."""
        try:
            self._sender.wait()
            self._read_replies()
        except _TROUBLES as error:
            self._send_again(error)

    def close(self) -> None:
        """Settle and let go of the server."""
        try:
            self.settle()
        finally:
            self._sender.stop()
            self._disconnect()
            self._pool.disconnect()

    def rows(self, pattern: str = "ps:1:*") -> Iterator[tuple[str, Any]]:
        """Every key of a pattern with its value in a canonical form, in no order."""
        batch: list[bytes] = []
        for key in self.client.scan_iter(match=pattern, count=5000):
            batch.append(key)
            if len(batch) == 2000:
                yield from self._values(batch)
                batch = []
        yield from self._values(batch)

    def sha256(self, rows: Iterable[tuple[str, Any]]) -> str:
        """One digest over rows of a store, whatever their order; a scan may give a row twice."""
        digests = {hashlib.sha256(repr(row).encode()).digest() for row in rows}
        return hashlib.sha256(b"".join(sorted(digests))).hexdigest()

    def _values(self, keys: Sequence[bytes]) -> Iterator[tuple[str, Any]]:
        kinds = self.client.pipeline(transaction=False)
        for key in keys:
            kinds.type(key)
        reads = self.client.pipeline(transaction=False)
        typed = list(zip(keys, kinds.execute(), strict=True))
        for key, kind in typed:
            match kind:
                case b"string":
                    reads.get(key)
                case b"hash":
                    reads.hgetall(key)
                case b"zset":
                    reads.zrange(key, 0, -1, withscores=True)
                case b"stream":
                    reads.xrange(key)
                case _:  # it expired between the two reads
                    reads.get(key)
        for (key, _), value in zip(typed, reads.execute(), strict=True):
            if value is not None:
                canonical = sorted(value.items()) if isinstance(value, dict) else value
                yield key.decode(), canonical

    def _connected(self) -> socket.socket:
        """The socket of a connection that redis-py has opened, secured and logged in.

        The kernel times it out, not Python: a blocking send goes out whole, while under a Python
        timeout each part that the socket's buffer takes waits for its turn at the interpreter.
        """
        if self._connection is None:
            self._connection = self._pool.get_connection()
            self._reader = Reader()
            fresh: socket.socket = self._connection._sock
            fresh.settimeout(None)
            fresh.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, self._timeout)
            fresh.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, self._timeout)
        opened: socket.socket = self._connection._sock
        return opened

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.disconnect()
            self._pool.release(self._connection)
            self._connection = None

    def _read_replies(self) -> None:
        while self._unsettled:
            chunk = self._unsettled[0]
            written: list[list[bytes]] = []
            for number, error in self._errors(chunk.replies):
                if _ALREADY_WRITTEN in error:
                    written.append(_command(chunk, number))
                else:
                    self._judge(error, chunk, number)
            if written and give_way(self.client, written):
                raise _RefusedError("refused entries of a stream before it took later ones")
            del self._unsettled[0]
            self._unsettled_bytes -= len(chunk.packed)

    def _errors(self, replies: int) -> list[tuple[int, str]]:
        """Read so many replies; those that are errors, by number and as text."""
        opened, reader = self._connected(), self._reader
        errors: list[tuple[int, str]] = []
        number = 0
        while number < replies:
            reply = reader.gets()
            if reply is False:
                received = opened.recv(_RECEIVE_BYTES)
                if not received:
                    raise ConnectionError("the server closed the connection")
                reader.feed(received)
                continue
            if isinstance(reply, Exception):
                errors.append((number, str(reply)))
            number += 1
        return errors

    def _judge(self, refused: str, chunk: _Chunk, number: int) -> None:
        """Keep the chunk for another try where the server may recover, else say what is wrong."""
        code = refused.split(" ", 1)[0]
        if code in _WAIT_FOR:
            raise _RefusedError(refused)
        if code in _LOCKED_OUT:
            raise self._locked_out(refused)
        key = _command(chunk, number)[1].decode(errors="replace")
        raise UserError(f"Redis at {self.address} {_what_to_do(_RefusedError(refused), key)}")

    def _send_again(self, error: Exception) -> None:
        began = time.monotonic()
        attempt = 0
        while True:
            waited_s = time.monotonic() - began
            if isinstance(error, _LOCKED_OUT_ERRORS):
                raise self._locked_out(error) from error
            trouble = f"Redis at {self.address} {_what_to_do(error)}"
            if waited_s > self._patience_s:
                raise UserError(f"{trouble} (waited {waited_s:.0f} s)") from error
            if attempt % 20 == 0:
                _log.warning("%s; waiting", trouble)
            self._disconnect()
            time.sleep(_BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)])
            attempt += 1
            try:
                for chunk in self._unsettled:
                    self._sender.send(chunk.packed, self._connected)
                self._sender.wait()
                self._read_replies()
            except _TROUBLES as again:
                error = again
            else:
                _log.warning(
                    "Redis at %s is back after %.1f s", self.address, time.monotonic() - began
                )
                return

    def _locked_out(self, error: Exception | str) -> UserError:
        return UserError(
            f"Redis at {self.address} refused the login ({error}): set {LOGIN_VARIABLE}"
        )


def _what_to_do(error: BaseException, key: str = "") -> str:
    """What is wrong, and what a person can do about it; `key` is the one that was written."""
    text = str(error)
    code = text.split(" ", 1)[0].rstrip(":")
    if isinstance(error, redis.ReadOnlyError):
        code = "READONLY"
    elif isinstance(error, redis.OutOfMemoryError):
        code = "OOM"
    elif isinstance(error, redis.BusyLoadingError):
        code = "LOADING"
    if code in _WAIT_FOR:
        return _WAIT_FOR[code]
    if code == "WRONGTYPE":
        return f"holds another program's value at {key}: delete that key, or use another database"
    if isinstance(error, HiredisError | redis.InvalidResponse):
        return "does not speak as Redis does: set redis.url (--redis URL)"
    if isinstance(error, OSError | redis.ConnectionError | redis.TimeoutError):
        return "does not answer: start it, or set redis.url (--redis URL)"
    return f"refused to write {key}: {text}: expected Redis 6.2 or later, or Valkey, and no cluster"


def _command(chunk: _Chunk, number: int) -> list[bytes]:
    """A command of a chunk, taken out of its bytes again."""
    packed = Reader()
    packed.feed(chunk.packed)
    for _ in range(number):
        packed.gets()
    command: list[bytes] = packed.gets()
    return command


def _password() -> dict[str, str]:
    """The password for a URL that holds none: one in the URL goes before it."""
    given = os.environ.get(LOGIN_VARIABLE)
    return {"password": given} if given else {}


def _without_password(url: str) -> str:
    """As it may be shown."""
    login, at, _ = urlsplit(url).netloc.rpartition("@")
    return re.sub(r"(?<=password=)[^&]*", "...", url.replace(login + at, "", 1))
