"""Access to the dashboard, and the limits of requests."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

import pytest
import uvicorn
from starlette.responses import PlainTextResponse

from serving.dashboard import access, attempts, guard
from serving.dashboard.app import EXPORTS_MAX
from serving.dashboard.server import Server
from serving.http.networks import network
from serving.http.protocols import limited_protocol
from state import keys
from state.errors import ConfigurationError
from state.store import Store
from tests.pages import Answer, in_loop, served, settings, stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Receive, Scope, Send

TOKEN = "correct-horse-battery-staple"
FORM = {"content-type": "application/x-www-form-urlencoded"}
EVERYWHERE = "0.0.0.0:0"


def log_in(url: str, token: str) -> Answer:
    return Answer(url, "/login", "POST", urlencode({"token": token}), **FORM)


@pytest.fixture
def guarded(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> ExitStack:
    monkeypatch.setenv(access.TOKEN_VARIABLE, TOKEN)
    return ExitStack()


def test_a_public_address_needs_a_token_or_a_proxy(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(access.TOKEN_VARIABLE, raising=False)
    with pytest.raises(ConfigurationError, match=r"open to others: set PENSTOCK_DASHBOARD_TOKEN"):
        Server(settings(listen=EVERYWHERE), redis_url)
    monkeypatch.setenv(access.TOKEN_VARIABLE, "short")
    with pytest.raises(ConfigurationError, match="too short"):
        Server(settings(listen=EVERYWHERE), redis_url)


@pytest.mark.parametrize("listen", ["", "8600", "host:port", "host:99999", ":8600"])
def test_an_invalid_listen_address_is_refused(redis_url: str, listen: str) -> None:
    with pytest.raises(ConfigurationError, match="expected host:port"):
        Server(settings(listen=listen), redis_url)


def test_a_port_in_use_is_one_error_line(redis_url: str) -> None:
    with served(redis_url) as url, pytest.raises(ConfigurationError, match="in use: name another"):
        Server(settings(listen=url.removeprefix("http://")), redis_url)


@pytest.mark.usefixtures("guarded")
def test_a_token_gives_access_as_a_header_or_by_the_login_form(redis_url: str) -> None:
    with served(redis_url) as url:
        assert Answer(url, "/api/hello").status == 401
        assert Answer(url, "/").headers["location"] == "login"
        for wrong in (f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer", ""):
            assert Answer(url, "/api/hello", authorization=wrong).status == 401
        assert Answer(url, "/api/hello", authorization=f"Bearer {TOKEN}").status == 200
        assert Answer(url, f"/api/hello?token={TOKEN}").status == 401
        let_in = log_in(url, TOKEN)
        assert (let_in.status, let_in.headers["location"]) == (303, "./")
        cookie = let_in.headers["set-cookie"]
        assert TOKEN not in cookie
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        name, _, value = cookie.partition(";")[0].partition("=")
        assert Answer(url, "/api/hello", cookie=f"{name}={value}").status == 200
        until, _, signature = value.partition(".")
        for forged in (f"{int(until) + 1}.{signature}", f"{until}.", "x.y", f"1.{signature}"):
            assert Answer(url, "/api/hello", cookie=f"{name}={forged}").status == 401


def bearer(url: str, token: str) -> int:
    return Answer(url, "/api/hello", authorization=f"Bearer {token}").status


def form(url: str, token: str) -> int:
    return log_in(url, token).status


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize(("ask", "wrong", "right"), [(bearer, 401, 200), (form, 403, 303)])
def test_guesses_are_delayed_and_the_right_token_still_works(
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    ask: Callable[[str, str], int],
    wrong: int,
    right: int,
) -> None:
    monkeypatch.setattr(attempts, "INTERVAL_S", 0.2)
    with served(redis_url) as url:
        assert {ask(url, f"guess {n}") for n in range(attempts.BURST_TRIES)} == {wrong}
        with ThreadPoolExecutor(40) as guessers:
            said = Counter(guessers.map(lambda n: ask(url, f"more {n}"), range(40)))
        assert set(said) == {wrong, 429}
        assert said[429] >= 40 - 2 * attempts.WAITING_MAX
        began_s = time.monotonic()
        assert ask(url, "one more") == wrong
        assert time.monotonic() - began_s > 0.02, "a wrong token had to wait for its turn"
        assert ask(url, TOKEN) == right


def test_wrong_tokens_of_one_address_do_not_delay_others() -> None:
    now_s = 0.0
    tries = attempts.TokenAttempts(lambda: now_s)

    async def turns() -> list[bool]:
        for _ in range(attempts.BURST_TRIES * 3):
            tries.record_failure("2001:db8::1")
        return [await tries.wait_for_turn("192.0.2.1"), await tries.wait_for_turn("2001:db8:1::1")]

    assert in_loop(asyncio.wait_for(turns(), 0.1)) == [True, True]
    assert tries._wait_s(network("2001:db8::ffff")) > attempts.BURST_TRIES
    for n in range(attempts.ADDRESSES_MAX + 10):
        tries.record_failure(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}")
    assert len(tries._due_s) == attempts.ADDRESSES_MAX


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize("until", ["9" * 5000, "9" * 13, "\u0663", "1e9", "-1", ""])
def test_a_malformed_cookie_is_refused(redis_url: str, until: str) -> None:
    with served(redis_url) as url:
        cookie = f"penstock={until}.{'0' * 64}".encode().decode("latin-1")
        assert Answer(url, "/api/hello", cookie=cookie).status == 401


@pytest.mark.usefixtures("guarded")
def test_a_huge_login_form_is_not_read(redis_url: str) -> None:
    with served(redis_url) as url:
        assert log_in(url, "x" * guard.FORM_BYTES_MAX).status == 413


def test_the_proxy_header_gives_access(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(access.TOKEN_VARIABLE, raising=False)
    with served(redis_url, listen=EVERYWHERE, proxy_header="X-Forwarded-User") as url:
        local = url.replace("0.0.0.0", "127.0.0.1")
        assert Answer(local, "/api/hello").status == 401
        assert Answer(local, "/api/hello", x_forwarded_user="ann").status == 200


def test_metrics_are_exposed_to_prometheus(redis_url: str) -> None:
    with served(redis_url) as url, stream(url) as messages:
        assert next(messages)
        assert Answer(url, "/nowhere").status == 404
        said = Answer(url, "/metrics").text.splitlines()
    assert "penstock_page_tabs 1.0" in said
    assert any(line.startswith('penstock_page_requests_total{status="404"} ') for line in said)


def test_another_site_cannot_make_a_browser_read_the_page(redis_url: str) -> None:
    with served(redis_url) as url:
        assert Answer(url, "/api/hello", host="evil.example").status == 421
        assert Answer(url, "/api/hello", host="localhost:1234").status == 200
        assert "access-control-allow-origin" not in Answer(url, "/api/hello").headers


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/history?span=hour", 200),
        ("/api/history?span=ever", 400),
        ("/api/members?segment=a&from=0", 200),
        ("/api/members?segment=a&from=-1", 400),
        ("/api/members?segment=a&from=9999999999", 400),
        ("/api/members?from=0", 400),
        ("/api/export", 400),
        ("/api/stream?segment=" + "x" * 300, 400),
        ("/static/../app.py", 404),
        ("/api/nothing", 404),
    ],
)
def test_query_parameters_are_limited(redis_url: str, path: str, status: int) -> None:
    with served(redis_url) as url:
        assert Answer(url, path).status == status
        assert Answer(url, path, "POST").status in (404, 405)


def test_no_more_tabs_than_configured_are_open(redis_url: str) -> None:
    with served(redis_url, tabs_max=2) as url, stream(url) as one, stream(url) as other:
        assert next(one)
        assert next(other)
        refused = Answer(url, "/api/stream")
        assert refused.status == 503
        assert "raise serving.tabs_max" in refused.text


def at_once(url: str, path: str, many: int) -> tuple[list[int], list[socket.socket]]:
    """Ask for the same many times at once and read only how each answer begins."""
    place = urlsplit(url)
    request = f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode()
    lines = [socket.create_connection((place.hostname, place.port)) for _ in range(many)]
    for line in lines:
        line.sendall(request)
    return [int(line.recv(1 << 12).split()[1]) for line in lines], lines


def test_no_more_tabs_than_configured_open_at_the_same_moment(redis_url: str) -> None:
    with served(redis_url, tabs_max=5) as url:
        said, lines = at_once(url, "/api/stream", 40)
        assert Counter(said) == {200: 5, 503: 35}
        for line in lines:
            line.close()
        again, lines = at_once(url, "/api/stream", 5)
        while again != [200] * 5:  # the server notices who has gone at its next message to them
            for line in lines:
                line.close()
            again, lines = at_once(url, "/api/stream", 5)
        for line in lines:
            line.close()


def test_only_some_exports_run_at_once(redis_url: str) -> None:
    store = Store(redis_url, timeout_ms=2000, patience_s=2).client
    store.hset(keys.registry_key(), "big", "{}")
    names = {f"shopper-{n:06d}-{'x' * 100}": 1_600_000_000_000 + n for n in range(60_000)}
    store.zadd(keys.members_key("big"), names)
    with served(redis_url) as url:
        said, lines = at_once(url, "/api/export?segment=big", 20)
        assert Counter(said) == {200: EXPORTS_MAX, 503: 20 - EXPORTS_MAX}
        for line in lines:
            line.close()


def test_incomplete_requests_do_not_block_others(redis_url: str) -> None:
    with served(redis_url, tabs_max=5) as url:
        place = urlsplit(url)
        half = [socket.create_connection((place.hostname, place.port)) for _ in range(600)]
        for n, line in enumerate(half):
            with suppress(ConnectionError):  # the oldest have given way
                body = b"POST /login HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n"
                line.sendall(body if n % 2 else b"GET / HTTP/1.1\r\nhost: loc")
        assert [Answer(url, "/healthz").status for _ in range(5)] == [200] * 5
        with stream(url) as messages:
            assert next(messages)
        for line in half:
            line.close()


def test_an_incomplete_request_is_dropped() -> None:
    async def ask() -> tuple[bytes, bytes]:
        async def ok(scope: Scope, receive: Receive, send: Send) -> None:
            await PlainTextResponse("ok")(scope, receive, send)

        config = uvicorn.Config(
            ok, http=limited_protocol(10, 0.2), lifespan="off", log_level="critical"
        )
        listening = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server._serve([listening]))
        port = listening.getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\n")
        never = await reader.read()
        reader, other = await asyncio.open_connection("127.0.0.1", port)
        other.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        answered = await reader.readuntil(b"ok")
        other.write(b"GET / HT")  # the next one on the same connection
        after = await reader.read()
        server.should_exit = True
        await serving
        return never + after, answered

    never, answered = in_loop(asyncio.wait_for(ask(), 30))
    assert never == b""
    assert answered.startswith(b"HTTP/1.1 200")


def test_an_unreachable_redis_is_one_error_line() -> None:
    with served("unix:///nowhere/redis.sock") as url:
        answer = Answer(url, "/api/history?span=hour")
        assert (answer.status, answer.text.count("\n")) == (503, 1)
        assert "does not answer: start it" in answer.text
        with stream(url) as messages:
            assert "does not answer: start it" in next(messages)[0]["trouble"]
