"""Both protocols: who sends half requests, long heads or endless framing takes nothing from others."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn
from starlette.responses import PlainTextResponse

from serving.dashboard.server import listen_at
from serving.http.protocols import HEAD_BYTES_MAX, fast_protocol, limited_protocol
from tests.pages import in_loop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import Receive, Scope, Send

    Client = Callable[[int], Awaitable[Any]]

PROTOCOLS = {"plain": limited_protocol, "fast": fast_protocol}
CONNECTIONS_MAX = 10
REQUEST_S_MAX = 0.3
PATIENCE_S = 20
GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"


async def length_of_body(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the number of bytes of a body; refuses more than 100 KB before it is whole."""
    size, more = 0, True
    while more and size <= 100_000:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    await PlainTextResponse(f"<{size}>", 200 if not more else 413)(scope, receive, send)


@pytest.fixture(params=PROTOCOLS)
def with_server(request: pytest.FixtureRequest) -> Callable[[Client], Any]:
    """Runs a client, which gets the port, beside a server with the protocol."""
    protocol = PROTOCOLS[request.param](CONNECTIONS_MAX, REQUEST_S_MAX)

    async def run(client: Client) -> Any:
        config = uvicorn.Config(
            length_of_body,
            http=protocol,
            h11_max_incomplete_event_size=HEAD_BYTES_MAX,
            lifespan="off",
            log_level="critical",
        )
        listening = listen_at("127.0.0.1", 0, "test")
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server._serve([listening]))
        try:
            return await asyncio.wait_for(client(listening.getsockname()[1]), PATIENCE_S)
        finally:
            server.should_exit = True
            await serving

    return lambda client: in_loop(run(client))


async def said(port: int, *parts: bytes) -> bytes:
    """All that the server says until it closes the connection, or "kept" where it does not."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize(
    "half",
    [
        b"",
        b"\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nx-a: b",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n12345678",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\n12",
    ],
    ids=["nothing", "blank line", "head", "body", "chunk"],
)
def test_a_request_that_does_not_arrive_is_dropped(with_server: Any, half: bytes) -> None:
    answer = with_server(lambda port: said(port, half))
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400")


def test_the_next_request_of_a_connection_must_arrive_too(with_server: Any) -> None:
    async def client(port: int) -> tuple[bytes, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET)
        first = await reader.readuntil(b"<0>")
        writer.write(b"GET / HT")
        rest = await reader.read()
        writer.close()
        return first, rest

    first, rest = with_server(client)
    assert (first.split(b"\r\n")[0], rest) == (b"HTTP/1.1 200 OK", b"")


def test_slow_senders_give_way_to_others(with_server: Any) -> None:
    async def client(port: int) -> list[bytes]:
        slow = []
        for _ in range(3 * CONNECTIONS_MAX):
            slow.append(await asyncio.open_connection("127.0.0.1", port))
            slow[-1][1].write(b"GET / HTTP/1.1\r\nx")
        answers = [await said(port, GET.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))]
        for _, writer in slow:
            writer.close()
        return answers

    (answer,) = with_server(client)
    assert answer.startswith(b"HTTP/1.1 200")


LONG = b"x" * 1000
HEAD = b"POST / HTTP/1.1\r\nhost: a\r\n"


@pytest.mark.parametrize(
    "parts",
    [
        [b"GET /" + LONG, *[LONG] * 400],
        [HEAD + b"x-long: ", *[LONG] * 400],
        [HEAD, *(b"x-%d: " % n + LONG + b"\r\n" for n in range(400))],
        [HEAD, *[b"x:y\r\n" * 200] * 400],
    ],
    ids=["path", "value", "headers", "many short"],
)
def test_a_head_without_end_is_refused(with_server: Any, parts: list[bytes]) -> None:
    answer = with_server(lambda port: said(port, *parts))
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    "parts",
    [
        [b"1;" + LONG, *[LONG] * 400],
        [b"0\r\n", *(b"x-%d: " % n + LONG + b"\r\n" for n in range(400))],
    ],
    ids=["chunk extension", "trailers"],
)
def test_framing_without_end_is_refused(with_server: Any, parts: list[bytes]) -> None:
    head = HEAD + b"transfer-encoding: chunked\r\n\r\n"
    answer = with_server(lambda port: said(port, head, *parts))
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("size", [1, 100, 5000])
def test_a_body_may_come_in_chunks(with_server: Any, size: int) -> None:
    chunk = b"%x\r\n%s\r\n" % (size, b"x" * size)
    count = 50_000 // size if size > 1 else 500
    head = HEAD + b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    answer = with_server(lambda port: said(port, head, *[chunk] * count, b"0\r\n\r\n"))
    assert answer.endswith(b"<%d>" % (size * count))


def test_what_is_too_much_is_refused_before_it_is_whole(with_server: Any) -> None:
    async def client(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD + b"content-length: 100000000\r\n\r\n" + b"x" * 200_000)
        answer = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        return answer

    assert with_server(client).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("junk", [b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"\xff" * 50])
def test_what_is_no_http_is_refused(with_server: Any, junk: bytes) -> None:
    answer = with_server(lambda port: said(port, junk))
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400")


def test_a_burst_of_connections_is_cut_to_the_limit(with_server: Any) -> None:
    """All come before the loop hears that one is gone."""

    async def client(port: int) -> int:
        count = 8 * CONNECTIONS_MAX
        open_ones = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
        await asyncio.sleep(REQUEST_S_MAX / 3)
        kept = 0
        for one in open_ones:
            one.setblocking(False)
            try:
                one.recv(1)
            except BlockingIOError:
                kept += 1
            except ConnectionError:
                pass
            one.close()
        return kept

    assert with_server(client) <= CONNECTIONS_MAX
