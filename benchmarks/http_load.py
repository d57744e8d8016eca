"""A load from one client on this machine, bounded in time: as fast as answers come, or at a steady rate.

Requests are bytes made before; of an answer only status and length are looked at. So the client costs
less than what it measures. It connects to 127.0.0.1 alone.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from itertools import cycle
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import uvloop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence

SECONDS_MAX = 60.0
TICK_S = 0.001
_LENGTH = b"content-length: "


class Load(NamedTuple):
    """What came back: answers a second, how many of each status, and what the slow ones took."""

    rate: float
    statuses: Counter[bytes]
    p50_ms: float
    p99_ms: float


class Connection(asyncio.Protocol):
    """One connection, with one request at a time."""

    def __init__(self, on_answer: Callable[[Connection, bytes], None]) -> None:
        self._on_answer = on_answer
        self._received = b""
        self._transport: Any = None
        self.sent_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport

    def send(self, request: bytes) -> None:
        """Send a request."""
        self.sent_s = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Tell of an answer that is whole."""
        received = self._received + data if self._received else data
        head_end = received.find(b"\r\n\r\n")
        at = received.find(_LENGTH, 0, head_end)
        if head_end > 0 and at < 0 and b"304" not in received[:13]:
            raise SystemExit(f"an answer without a length: {received[:200]!r}")
        length = int(received[at + len(_LENGTH) : received.find(b"\r", at)]) if at > 0 else 0
        if head_end < 0 or len(received) < head_end + 4 + length:
            self._received = received
            return
        self._received = b""
        self._on_answer(self, received[9:12])

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()


def saturate(port: int, requests: Sequence[bytes], *, connections: int, seconds: float) -> Load:
    """As many requests as are answered: each connection sends its next one at once."""
    return _run(_saturate(port, cycle(requests), connections, min(seconds, SECONDS_MAX)))


def pace(
    port: int, requests: Sequence[bytes], *, rate: float, connections: int, seconds: float
) -> Load:
    """So many requests a second, whether earlier ones are answered or not."""
    return _run(_pace(port, cycle(requests), rate, connections, min(seconds, SECONDS_MAX)))


def _run(load: Coroutine[Any, Any, Load]) -> Load:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(load)


async def _connect(
    port: int, count: int, on_answer: Callable[[Connection, bytes], None]
) -> list[Connection]:
    loop = asyncio.get_running_loop()
    return [
        (await loop.create_connection(lambda: Connection(on_answer), "127.0.0.1", port))[1]
        for _ in range(count)
    ]


async def _saturate(port: int, requests: Iterator[bytes], count: int, seconds: float) -> Load:
    statuses: Counter[bytes] = Counter()
    took_s: list[float] = []
    end_s = float("inf")

    def on_answer(connection: Connection, status: bytes) -> None:
        now_s = time.perf_counter()
        if now_s < end_s:
            statuses[status] += 1
            took_s.append(now_s - connection.sent_s)
            connection.send(next(requests))

    connections = await _connect(port, count, on_answer)
    end_s = time.perf_counter() + seconds
    for one in connections:
        one.send(next(requests))
    await asyncio.sleep(seconds)
    for one in connections:
        one.close()
    return _load(statuses, took_s, seconds)


async def _pace(
    port: int, requests: Iterator[bytes], rate: float, count: int, seconds: float
) -> Load:
    statuses: Counter[bytes] = Counter()
    took_s: list[float] = []

    def on_answer(connection: Connection, status: bytes) -> None:
        statuses[status] += 1
        took_s.append(time.perf_counter() - connection.sent_s)
        free.append(connection)

    free = await _connect(port, count, on_answer)
    began_s = time.perf_counter()
    sent = 0
    while (passed_s := time.perf_counter() - began_s) < seconds:
        due = int(passed_s * rate)
        while sent < due and free:
            free.pop(0).send(next(requests))
            sent += 1
        sent = due  # what found no free connection is not sent: the queue stays bounded
        await asyncio.sleep(TICK_S)
    await asyncio.sleep(0.2)
    return _load(statuses, took_s, seconds)


def _load(statuses: Counter[bytes], took_s: list[float], seconds: float) -> Load:
    if not took_s:
        print("no request was answered", file=sys.stderr)
        return Load(0.0, statuses, float("nan"), float("nan"))
    p50, p99 = np.percentile(took_s, (50, 99))
    return Load(len(took_s) / seconds, statuses, 1000 * float(p50), 1000 * float(p99))
