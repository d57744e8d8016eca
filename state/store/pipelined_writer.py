"""A thread that sends chunks of writes and reads their replies, while the flow computes.

It alone uses the connections for writing. It waits out what may pass, and says so; what no waiting
helps stops it, and is raised where the flow hands over or settles.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from state.errors import UserError
from state.store import error_messages
from state.store.connections import Links, key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from state.store.connections import Link

UNSETTLED_BYTES_MAX = 8 << 20
BACKOFF_S_MIN = 0.05
BACKOFF_S_MAX = 1.0
_LOG_EVERY_S = 60.0
_SENT_AHEAD = 2
_ALREADY_WRITTEN = "equal or smaller than the target stream"
_log = logging.getLogger("penstock.redis")


@dataclass(eq=False, slots=True)
class Chunk:
    """Commands that were handed over together. What follows a `is_first` one waits for its answers."""

    commands: list[bytes]
    done: Callable[[float], None] | None
    size: int
    is_first: bool = False
    is_answered: bool = False
    sent_s: float = 0.0
    spread: dict[Link, Sequence[int]] = field(default_factory=dict)


class Courier:
    """Sends chunks in order. They stay here until they are answered, and on `replicas` replicas.

    First come chunks that are answered and not confirmed by replicas (`kept`), then those sent, then
    those that wait. After any trouble all of them go out again, from the first: writes are
    idempotent. `is_there` tells whether refused entries of streams are there.
    """

    def __init__(
        self,
        links: Links,
        address: str,
        *,
        timeout_ms: int,
        patience_s: float,
        replicas: int,
        missing: Callable[[list[bytes]], bool],
    ) -> None:
        self._links = links
        self._address = address
        self._timeout_ms = timeout_ms
        self._patience_s = patience_s
        self._replicas = replicas
        self._missing = missing
        self._chunks: deque[Chunk] = deque()
        self._kept = 0
        self._sent = 0
        self._bytes = 0
        self._dirty: set[Link] = set()
        self._changed = threading.Condition()
        self._is_settling = False
        self._is_stopped = False
        self._failure: BaseException | None = None
        self._retries = 0
        self._away_since_s: float | None = None
        self._attempts = 0
        self._logged_s = 0.0
        self._thread: threading.Thread | None = None

    def send(
        self,
        commands: list[bytes],
        done: Callable[[float], None] | None,
        waiting: Callable[[], None] | None,
        *,
        first: int = 0,
    ) -> None:
        """Hand over a chunk; waits while too much is not settled.

        Of many nodes each has an order of its own: so many of the commands are answered first.
        """
        if self._thread is None:
            self._is_stopped = False
            self._thread = threading.Thread(target=self._run, name="redis-courier", daemon=True)
            self._thread.start()
        self._wait_until(lambda: self._bytes <= UNSETTLED_BYTES_MAX, waiting)
        chunks = [Chunk(commands, done, sum(map(len, commands)))]
        if 0 < first < len(commands) and self._links.are_many:
            ahead, rest = commands[:first], commands[first:]
            chunks = [
                Chunk(ahead, None, sum(map(len, ahead)), is_first=True),
                Chunk(rest, done, sum(map(len, rest))),
            ]
        with self._changed:
            for chunk in chunks:
                self._chunks.append(chunk)
                self._bytes += chunk.size
            self._changed.notify_all()

    def settle(self, waiting: Callable[[], None] | None) -> None:
        """Return when every chunk is answered and confirmed."""
        with self._changed:
            self._is_settling = True
            self._changed.notify_all()
        try:
            self._wait_until(lambda: not self._chunks, waiting)
        finally:
            self._is_settling = False

    def stop(self) -> None:
        """End the thread and the connections; what is not settled stays for a later start."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._again()

    def _wait_until(self, reached: Callable[[], bool], waiting: Callable[[], None] | None) -> None:
        while True:
            with self._changed:
                retries = self._retries
                self._changed.wait_for(
                    lambda seen=retries: reached() or self._failure or self._retries != seen  # type: ignore[misc]
                )
                if self._failure is not None:
                    raise self._failure
                if reached():
                    return
            if waiting is not None:
                waiting()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._has_work)
                if self._is_stopped or self._failure is not None:
                    return
                ahead = self._kept + self._sent
                is_next = ahead < len(self._chunks) and self._sent < _SENT_AHEAD
                if self._sent and self._chunks[ahead - 1].is_first:
                    is_next = False
            try:
                if is_next:
                    self._send_next(self._chunks[ahead])
                elif self._sent:
                    self._answer(self._chunks[self._kept])
                else:
                    self._confirm()
            except error_messages.TROUBLES as error:
                self._wait_out(error)
            except BaseException as error:
                self._fail(error)

    def _has_work(self) -> bool:
        if self._is_stopped or self._failure is not None or self._kept < len(self._chunks):
            return True
        return bool(self._kept) and (self._is_settling or self._bytes > UNSETTLED_BYTES_MAX // 2)

    def _send_next(self, chunk: Chunk) -> None:
        self._open()
        self._sent += 1
        chunk.sent_s = time.monotonic()
        chunk.spread = self._links.spread(chunk.commands)
        for link, numbers in chunk.spread.items():
            whole = len(numbers) == len(chunk.commands)
            link.send(b"".join(chunk.commands if whole else [chunk.commands[n] for n in numbers]))
            self._dirty.add(link)

    def _open(self) -> None:
        self._links.open()
        if self._links.failed_over and not self._replicas:
            _log.warning(
                "Redis at %s has failed over: its newest writes may be lost until the same shoppers "
                "are active again; redis.replicas: 1 prevents that",
                self._address,
            )
        self._links.failed_over = set()

    def _answer(self, chunk: Chunk) -> None:
        refused: list[tuple[int, str]] = []
        for link, numbers in chunk.spread.items():
            replies = link.replies(len(numbers))
            refused += [
                (numbers[n], str(reply))
                for n, reply in enumerate(replies)
                if isinstance(reply, Exception)
            ]
        if refused:
            self._judge(chunk, sorted(refused))
        chunk.spread = {}
        if not chunk.is_answered:
            chunk.is_answered = True
            if chunk.done is not None:
                chunk.done(time.monotonic() - chunk.sent_s)
            self._progress()
        with self._changed:
            self._sent -= 1
            if self._replicas:
                self._kept += 1
            else:
                self._drop(1)
            self._changed.notify_all()

    def _judge(self, chunk: Chunk, refused: list[tuple[int, str]]) -> None:
        written: list[bytes] = []
        for number, said in refused:
            command, reply = chunk.commands[number], said
            if reply.startswith("ASK "):
                answer: Any = self._links.redirected(command, reply)
                if not isinstance(answer, Exception):
                    continue
                reply = str(answer)
            if _ALREADY_WRITTEN in reply:
                written.append(command)
            else:
                name = command.split(b"\r\n", 3)[2].decode()
                raise error_messages.refused(
                    self._address, reply, key(command).decode(errors="replace"), name
                )
        if written and self._missing(written):
            raise error_messages.RefusedError(
                "refused entries of a stream before it took later ones"
            )

    def _confirm(self) -> None:
        """Have the replicas confirm what the primaries took since the last time."""
        for link in self._dirty:
            acknowledged = link.ask(("WAIT", self._replicas, self._timeout_ms * 3 // 4))[0]
            if isinstance(acknowledged, Exception):
                raise error_messages.refused(self._address, str(acknowledged), "-", "WAIT")
            if acknowledged < self._replicas:
                raise error_messages.RefusedError(
                    f"NOREPLICAS {acknowledged} of {self._replicas} replicas have the writes"
                )
        self._dirty.clear()
        self._progress()
        with self._changed:
            self._drop(self._kept)
            self._kept = 0
            self._changed.notify_all()

    def _drop(self, count: int) -> None:
        for _ in range(count):
            self._bytes -= self._chunks.popleft().size

    def _again(self) -> None:
        """Everything that is not settled goes out again, over new connections."""
        self._links.close()
        self._dirty.clear()
        self._kept = self._sent = 0

    def _wait_out(self, error: Exception) -> None:
        now_s = time.monotonic()
        if self._away_since_s is None:
            self._away_since_s, self._attempts, self._logged_s = now_s, 0, float("-inf")
        waited_s = now_s - self._away_since_s
        trouble = f"Redis at {self._address} {error_messages.what_to_do(error)}"
        if error_messages.is_for_ever(error) or waited_s > self._patience_s:
            waited = "" if error_messages.is_for_ever(error) else f" (waited {waited_s:.0f} s)"
            failure = UserError(trouble + waited)
            failure.__cause__ = error
            self._fail(failure)
            return
        if now_s - self._logged_s >= _LOG_EVERY_S:
            self._logged_s = now_s
            _log.warning("%s; waiting", trouble)
        self._again()
        pause_s = min(BACKOFF_S_MAX, BACKOFF_S_MIN * 2 ** min(self._attempts, 10))
        self._attempts += 1
        with self._changed:
            self._retries += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._is_stopped, pause_s * random.uniform(0.5, 1.0))

    def _progress(self) -> None:
        if self._away_since_s is not None:
            away_s = time.monotonic() - self._away_since_s
            self._away_since_s = None
            _log.warning("Redis at %s is back after %.1f s", self._address, away_s)

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._failure = error
            self._changed.notify_all()
