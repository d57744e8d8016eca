"""Helpers of webhook tests: an endpoint that misbehaves on request, changes, and `penstock hooks`."""

from __future__ import annotations

import base64
import socket
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import orjson

from flows.webhooks.process import run_webhooks
from operators.segments.changes import ChangeLog, changes_in
from state.changes import Change
from state.config import Settings
from state.config_deployment import Endpoint, Hooks, Run
from state.store import Store
from tests.live_runs import Process
from tests.streams import arguments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PATIENCE_S = 120
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
HANG, HANG_UP, DRIP = "hang", "hang up", "drip"


class Request(NamedTuple):
    """A request, whole."""

    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads(self.body)
        return found

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


class EndpointServer:
    """A real HTTP server; `answer` chooses the status of a response, or how the request fails."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.accepted: list[Request] = []
        self.answer: Callable[[Request], int | str] = lambda _: 204
        self.headers: dict[str, str] = {}
        self.over = threading.Event()
        self.lines: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None
        self.port = 0

    def start(self) -> None:
        here = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                here.lines.add(self.connection)

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                body = self.rfile.read(length)
                if len(body) < length:  # the sender died: no request arrived
                    self.close_connection = True
                    return
                headers = {name.lower(): value for name, value in self.headers.items()}
                here.handle(self, Request(headers, body))

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

        self._server = Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def handle(self, handler: BaseHTTPRequestHandler, request: Request) -> None:
        with self._lock:
            self.requests.append(request)
            answer = self.answer(request)
            if isinstance(answer, int) and answer < 300:
                self.accepted.append(request)
        if answer == HANG:
            self.over.wait(PATIENCE_S)
        if isinstance(answer, str):
            handler.close_connection = True
            while answer == DRIP and not self.over.wait(0.05):
                with suppress(OSError):
                    handler.wfile.write(b"H")
            return
        handler.send_response(answer)
        for name, value in self.headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    def stop(self) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()
        for line in self.lines:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/in?from=shop"

    def wait_until_accepted(self, ids: Sequence[str]) -> None:
        until(lambda: {one.id for one in self.accepted} >= set(ids))


@contextmanager
def endpoint() -> Iterator[EndpointServer]:
    one = EndpointServer()
    one.start()
    try:
        yield one
    finally:
        one.over.set()
        one.stop()


def until(condition: Callable[[], bool]) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until_s
        time.sleep(0.01)


class Shop:
    """Writes changes as a flow does."""

    def __init__(self, redis_url: str) -> None:
        self.store = Store(redis_url, timeout_ms=2000, patience_s=10)
        self._log = ChangeLog(1_000_000)
        self.at_ms = 1_767_225_600_000

    def write_changes(self, *changes: Change) -> list[str]:
        """Write changes; return the message id of each."""
        writes = self._log.writes(changes)
        self.store.send(writes)
        self.store.flush()
        return [
            f"ps-{str(arguments(write)[1])[-2]}-{change['id']}"
            for write, change in zip(writes, changes_in(writes), strict=True)
        ]

    def write_moves(self, count: int, shoppers: int = 20) -> list[str]:
        """Shoppers enter a segment and leave it, in turn; return the message ids of these changes."""
        changes = []
        for n in range(count):
            self.at_ms += 1
            kind = "leave" if n // shoppers % 2 else "enter"
            changes.append(Change(kind, f"shopper-{n % shoppers}", "vip", self.at_ms, known=True))
        return self.write_changes(*changes)


def settings(*endpoints: EndpointServer, **hooks: Any) -> Settings:
    """Settings with endpoints named `a`, `b`, ..., and quick retries."""
    named = {chr(97 + n): Endpoint(url=one.url, purpose="ads") for n, one in enumerate(endpoints)}
    quick: dict[str, Any] = {
        "start": "first",
        "timeout_ms": 500,
        "backoff_first_ms": 20,
        "backoff_most_s": 1,
        "listen": "",
    }
    return Settings(hooks=Hooks(**({"endpoints": named} | quick | hooks)), run=Run(lease_s=1.0))


@contextmanager
def running_webhooks(chosen: Settings, redis_url: str) -> Iterator[None]:
    """Run `penstock hooks` in a thread until the block ends."""
    stop = threading.Event()
    raised: list[BaseException] = []

    def run() -> None:
        try:
            run_webhooks(chosen, redis_url, stop)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
        assert raised == []


def process(chosen: Settings, redis_url: str, *more: str) -> Process:
    """Start `penstock hooks` as a process."""
    fields = msgspec.to_builtins(chosen.hooks)
    endpoints = fields.pop("endpoints")
    words = [f"hooks.endpoints={orjson.dumps(endpoints).decode()}", "run.lease_s=1.0"]
    words += [f"hooks.{name}={value!r}" for name, value in fields.items()]
    return Process(
        ["hooks", "--redis", redis_url, *more, *(w for one in words for w in ("--set", one))]
    )


def openssl_signature(request: Request, secret: str = SECRET) -> str:
    """The signature of a request by OpenSSL, as the spec of Standard Webhooks has it."""
    key = base64.b64decode(secret.removeprefix("whsec_")).hex()
    signed = f"{request.id}.{request.headers['webhook-timestamp']}.".encode() + request.body
    words = ["openssl", "dgst", "-sha256", "-mac", "HMAC", "-macopt", f"hexkey:{key}", "-binary"]
    found = subprocess.run(words, input=signed, capture_output=True, check=True).stdout
    return "v1," + base64.b64encode(found).decode()
