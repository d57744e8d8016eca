"""What uvicorn speaks HTTP with: limits on connections, on the time and on the head of a request.

Independent of what is requested. `/healthz` is always answered: a client that opens connections without
sending a request takes no slot from others. `fast_protocol` needs httptools, which the extra `serve`
installs; `limited_protocol` is in plain Python. Both keep the same limits.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

REQUEST_S_MAX = 10.0
"""A request that is not complete after so long is dropped: nobody types one by hand."""
HEAD_BYTES_MAX = 16_384
"""The head of a request; the framing of a body may be as long as what it frames beyond that."""
_ARRIVED = (h11.DONE, h11.MUST_CLOSE, h11.CLOSED, h11.ERROR)


class _Arrivals:
    """The connections of one server whose request has not arrived, and their timers, oldest first.

    Above `connections_max` the oldest of them is closed; if all have sent one, the new connection is.
    """

    def __init__(self, connections_max: int, request_s_max: float) -> None:
        self._connections_max = connections_max
        self._request_s_max = request_s_max
        self._timers: dict[Any, asyncio.TimerHandle] = {}

    def begin(self, connection: Any) -> None:
        """A connection was made."""
        self.wait_for(connection)
        if len(connection.connections) > self._connections_max:
            oldest = next(iter(self._timers))
            # At once: the loop says only later that it is gone, and many may come until then.
            self.end(oldest)
            oldest.transport.abort()

    def wait_for(self, connection: Any) -> None:
        """Close a connection unless its request arrives in time."""
        if connection not in self._timers:
            close = connection.transport.close
            self._timers[connection] = connection.loop.call_later(self._request_s_max, close)

    def end(self, connection: Any) -> None:
        """The request of a connection has arrived, or it is gone."""
        if (timer := self._timers.pop(connection, None)) is not None:
            timer.cancel()


def limited_protocol(
    connections_max: int, request_s_max: float = REQUEST_S_MAX
) -> type[asyncio.Protocol]:
    """Return a protocol for uvicorn in plain Python."""
    arrivals = _Arrivals(connections_max, request_s_max)

    class LimitedProtocol(H11Protocol):
        """One connection."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            arrivals.begin(self)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.conn.their_state in _ARRIVED:
                arrivals.end(self)
            else:
                arrivals.wait_for(self)

        def connection_lost(self, exc: Exception | None) -> None:
            arrivals.end(self)
            super().connection_lost(exc)

    return LimitedProtocol


def fast_protocol(
    connections_max: int, request_s_max: float = REQUEST_S_MAX
) -> type[asyncio.Protocol]:
    """Return a protocol for uvicorn that parses with httptools."""
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    arrivals = _Arrivals(connections_max, request_s_max)

    class FastProtocol(HttpToolsProtocol):
        """One connection. httptools keeps what it has not parsed, so its amount is limited here."""

        _has_arrived = False
        _framing_bytes = 0
        _body_bytes = 0

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            arrivals.begin(self)

        def data_received(self, data: bytes) -> None:
            if self.cycle is None or self.cycle.response_complete:
                self._has_arrived = False
            self._framing_bytes += len(data)
            super().data_received(data)
            if self._has_arrived:
                arrivals.end(self)
            elif self._framing_bytes > HEAD_BYTES_MAX + self._body_bytes:
                self.send_400_response("The head of the request is too long.")
            else:
                arrivals.wait_for(self)

        def on_message_begin(self) -> None:
            self._has_arrived = False
            super().on_message_begin()

        def on_body(self, body: bytes) -> None:
            self._framing_bytes -= len(body)
            self._body_bytes += len(body)
            super().on_body(body)

        def on_message_complete(self) -> None:
            self._has_arrived = True
            self._framing_bytes = self._body_bytes = 0
            super().on_message_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            arrivals.end(self)
            super().connection_lost(exc)

    return FastProtocol


def best_protocol() -> Callable[[int], type[asyncio.Protocol]]:
    """The faster of the two that can be had here."""
    return fast_protocol if importlib.util.find_spec("httptools") else limited_protocol
