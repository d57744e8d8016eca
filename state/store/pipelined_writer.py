"""A thread that sends chunks of writes and reads their replies while the flow computes.

Only this thread uses the write connections. It waits and logs while an error may pass. An error that
waiting cannot solve stops the thread; `send` and `flush` then raise it in the flow.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from state.errors import StoreError
from state.resp import merge_deletions
from state.store import error_messages
from state.store.connection import command_key
from state.store.outage import Outage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from state.store.connection import Connection
    from state.store.connections import ConnectionPool

UNACKED_BYTES_MAX = 8 << 20
_CHUNKS_IN_FLIGHT_MAX = 2
_NOT_NEWER_ERROR = "equal or smaller than the target stream"
_log = logging.getLogger("penstock.redis")


@dataclass(eq=False, slots=True)
class WriteChunk:
    """Commands that were passed to `send` together.

    The chunk after one with `is_barrier` is sent only when that one has all its replies.
    """

    commands: list[bytes]
    on_written: Callable[[float], None] | None
    size_bytes: int
    is_barrier: bool = False
    is_answered: bool = False
    sent_s: float = 0.0
    routes: dict[Connection, Sequence[int]] = field(default_factory=dict)


class PipelinedWriter:
    """Sends chunks in order and stores each until it is answered and on `replicas` replicas.

    The queue holds first the chunks that are answered but not confirmed by replicas, then those in
    flight, then those not sent. After an error all of them are sent again, from the first: writes
    are idempotent. `entries_missing` says whether stream entries that Redis refused are missing
    from their stream.
    """

    def __init__(
        self,
        pool: ConnectionPool,
        address: str,
        *,
        timeout_ms: int,
        patience_s: float,
        replicas: int,
        entries_missing: Callable[[list[bytes]], bool],
    ) -> None:
        self._pool = pool
        self._address = address
        self._timeout_ms = timeout_ms
        self._replicas = replicas
        self._entries_missing = entries_missing
        self._chunks: deque[WriteChunk] = deque()
        self._unconfirmed = 0
        self._in_flight = 0
        self._unacked_bytes = 0
        self._unconfirmed_connections: set[Connection] = set()
        self._changed = threading.Condition()
        self._is_flushing = False
        self._is_stopped = False
        self._failure: BaseException | None = None
        self._retries = 0
        self._outage = Outage(address, patience_s)
        self._thread: threading.Thread | None = None

    def send(
        self,
        commands: list[bytes],
        on_written: Callable[[float], None] | None,
        on_retry: Callable[[], None] | None,
        *,
        barrier_after: int = 0,
    ) -> None:
        """Queue a chunk; blocks while the queue holds too many bytes.

        `on_written` is called with the seconds from sending to the last reply, `on_retry` at each
        retry. In a cluster each node has its own order, so the first `barrier_after` commands are
        answered before the others are sent.
        """
        if self._thread is None:
            self._is_stopped = False
            self._thread = threading.Thread(target=self._run, name="redis-courier", daemon=True)
            self._thread.start()
        self._wait_until(lambda: self._unacked_bytes <= UNACKED_BYTES_MAX, on_retry)
        chunks = [WriteChunk(commands, on_written, sum(map(len, commands)))]
        if 0 < barrier_after < len(commands) and self._pool.is_cluster:
            leading, remaining = commands[:barrier_after], commands[barrier_after:]
            chunks = [
                WriteChunk(leading, None, sum(map(len, leading)), is_barrier=True),
                WriteChunk(remaining, on_written, sum(map(len, remaining))),
            ]
        with self._changed:
            for chunk in chunks:
                self._chunks.append(chunk)
                self._unacked_bytes += chunk.size_bytes
            self._changed.notify_all()

    def flush(self, on_retry: Callable[[], None] | None) -> None:
        """Block until every chunk is answered and confirmed by replicas."""
        with self._changed:
            self._is_flushing = True
            self._changed.notify_all()
        try:
            self._wait_until(lambda: not self._chunks, on_retry)
        finally:
            self._is_flushing = False

    def stop(self) -> None:
        """End the thread and close the connections; unconfirmed chunks stay for a later start."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._reset_for_resend()

    def _wait_until(
        self, condition: Callable[[], bool], on_retry: Callable[[], None] | None
    ) -> None:
        while True:
            with self._changed:
                retries = self._retries
                self._changed.wait_for(
                    lambda before_wait=retries: (
                        condition() or self._failure or self._retries != before_wait
                    )  # type: ignore[misc]
                )
                if self._failure is not None:
                    raise self._failure
                if condition():
                    return
            if on_retry is not None:
                on_retry()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._has_work)
                if self._is_stopped or self._failure is not None:
                    return
                next_index = self._unconfirmed + self._in_flight
                may_send = (
                    next_index < len(self._chunks) and self._in_flight < _CHUNKS_IN_FLIGHT_MAX
                )
                if self._in_flight and self._chunks[next_index - 1].is_barrier:
                    may_send = False
            try:
                if may_send:
                    self._send_chunk(self._chunks[next_index])
                elif self._in_flight:
                    self._read_replies(self._chunks[self._unconfirmed])
                else:
                    self._confirm_replication()
            except error_messages.RETRYABLE_ERRORS as error:
                self._wait_for_recovery(error)
            except BaseException as error:
                self._fail(error)

    def _has_work(self) -> bool:
        if self._is_stopped or self._failure is not None or self._unconfirmed < len(self._chunks):
            return True
        return bool(self._unconfirmed) and (
            self._is_flushing or self._unacked_bytes > UNACKED_BYTES_MAX // 2
        )

    def _send_chunk(self, chunk: WriteChunk) -> None:
        self._open_connections()
        if not self._pool.is_cluster:
            chunk.commands = merge_deletions(chunk.commands)
        self._in_flight += 1
        chunk.sent_s = time.monotonic()
        chunk.routes = self._pool.route(chunk.commands)
        for connection, indexes in chunk.routes.items():
            is_whole_chunk = len(indexes) == len(chunk.commands)
            connection.send(
                b"".join(chunk.commands if is_whole_chunk else [chunk.commands[n] for n in indexes])
            )
            self._unconfirmed_connections.add(connection)

    def _open_connections(self) -> None:
        self._pool.open()
        if self._pool.failed_over and not self._replicas:
            _log.warning(
                "Redis at %s has failed over: its newest writes may be lost until the same shoppers "
                "are active again; redis.replicas: 1 prevents that",
                self._address,
            )
        self._pool.failed_over = set()

    def _read_replies(self, chunk: WriteChunk) -> None:
        refused: list[tuple[int, str]] = []
        for connection, indexes in chunk.routes.items():
            replies = connection.read_replies(len(indexes))
            refused += [
                (indexes[n], str(reply))
                for n, reply in enumerate(replies)
                if isinstance(reply, Exception)
            ]
        if refused:
            self._classify_errors(chunk, sorted(refused))
        chunk.routes = {}
        if not chunk.is_answered:
            chunk.is_answered = True
            if chunk.on_written is not None:
                chunk.on_written(time.monotonic() - chunk.sent_s)
            self._outage.end()
        with self._changed:
            self._in_flight -= 1
            if self._replicas:
                self._unconfirmed += 1
            else:
                self._drop(1)
            self._changed.notify_all()

    def _classify_errors(self, chunk: WriteChunk, refused: list[tuple[int, str]]) -> None:
        already_written: list[bytes] = []
        for index, error_text in refused:
            command, error_text_now = chunk.commands[index], error_text
            if error_text_now.startswith("ASK "):
                response: Any = self._pool.follow_redirect(command, error_text_now)
                if not isinstance(response, Exception):
                    continue
                error_text_now = str(response)
            if _NOT_NEWER_ERROR in error_text_now:
                already_written.append(command)
            else:
                name = command.split(b"\r\n", 3)[2].decode()
                raise error_messages.refusal_error(
                    self._address,
                    error_text_now,
                    command_key(command).decode(errors="replace"),
                    name,
                )
        if already_written and self._entries_missing(already_written):
            raise error_messages.RefusedError(
                "refused entries of a stream before it took later ones"
            )

    def _confirm_replication(self) -> None:
        """Wait until the replicas have the writes that the primaries accepted since the last call."""
        for connection in self._unconfirmed_connections:
            replica_count = connection.call(("WAIT", self._replicas, self._timeout_ms * 3 // 4))[0]
            if isinstance(replica_count, Exception):
                raise error_messages.refusal_error(self._address, str(replica_count), "-", "WAIT")
            if replica_count < self._replicas:
                raise error_messages.RefusedError(
                    f"NOREPLICAS {replica_count} of {self._replicas} replicas have the writes"
                )
        self._unconfirmed_connections.clear()
        self._outage.end()
        with self._changed:
            self._drop(self._unconfirmed)
            self._unconfirmed = 0
            self._changed.notify_all()

    def _drop(self, count: int) -> None:
        for _ in range(count):
            self._unacked_bytes -= self._chunks.popleft().size_bytes

    def _reset_for_resend(self) -> None:
        """Close the connections, so that every unconfirmed chunk is sent again over new ones."""
        self._pool.close()
        self._unconfirmed_connections.clear()
        self._unconfirmed = self._in_flight = 0

    def _wait_for_recovery(self, error: Exception) -> None:
        try:
            pause_s = self._outage.record_error(error)
        except StoreError as failure:
            self._fail(failure)
            return
        self._reset_for_resend()
        with self._changed:
            self._retries += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._is_stopped, pause_s * random.uniform(0.5, 1.0))

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._failure = error
            self._changed.notify_all()
