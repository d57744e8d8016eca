"""What tests of the page share: a server of it, a shop in Redis, and a real browser."""

from __future__ import annotations

import asyncio
import http.client
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import msgspec
import orjson
import pytest

from flows.runtime.replay import replay_recordings
from operators.synthetic.traffic import generate_events
from serving.dashboard.server import Server
from state import config, config_deployment, config_loader

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from state.events import Event

PATIENCE_S = 60
T = TypeVar("T")
ANY_PORT = "127.0.0.1:0"


def settings(**serving: Any) -> config.Settings:
    """Defaults, at any port."""
    return config.Settings(serving=config_deployment.Serving(**{"listen": ANY_PORT} | serving))


@contextmanager
def served(redis_url: str, **serving: Any) -> Iterator[str]:
    """The address of a server that runs while inside."""
    server = Server(settings(**serving), redis_url)
    stop = threading.Event()
    thread = threading.Thread(target=server.serve, args=(stop,))
    thread.start()
    try:
        yield server.url
    finally:
        stop.set()
        thread.join()


def fill(redis_url: str, folder: Path, events: int = 6000) -> None:
    """Some hours of a synthetic shop, through the real flow, with all kinds of segments."""

    def visits() -> Iterator[Event]:
        return generate_events(events=events, shoppers=400, items=60, events_per_s=0.5)

    chosen = msgspec.structs.replace(
        config_loader.load(environment={}), source=config.Source(batch_events=512)
    )
    replay_recordings(
        {"shop": visits}, chosen, redis_url=redis_url, dead_letters=folder / "letters.jsonl"
    )


def in_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run in an event loop of a thread of its own: this one has that of the browser."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


class Answer:
    """What the server said."""

    def __init__(self, url: str, path: str, method: str = "GET", body: str = "", **headers: str):
        place = urlsplit(url)
        line = http.client.HTTPConnection(place.hostname or "", place.port, timeout=PATIENCE_S)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        line.request(method, path, body or None, named)
        answer = line.getresponse()
        self.status = answer.status
        self.headers = {name.lower(): value for name, value in answer.getheaders()}
        self.body = answer.read()
        self.text = self.body.decode()
        line.close()


@contextmanager
def stream(url: str, path: str = "/api/stream") -> Iterator[Iterator[list[dict[str, Any]]]]:
    """The messages of an event stream, each a list of frames."""
    place = urlsplit(url)
    line = http.client.HTTPConnection(place.hostname or "", place.port, timeout=PATIENCE_S)
    line.request("GET", path)
    answer = line.getresponse()
    assert answer.status == 200, answer.read()

    def messages() -> Iterator[list[dict[str, Any]]]:
        while said := answer.readline():
            if said.startswith(b"data: "):
                yield orjson.loads(said[6:])

    try:
        yield messages()
    finally:
        if line.sock is not None:
            line.sock.close()
        line.close()


def chromium() -> str:
    """Where the browser is; the test is skipped where there is none."""
    found = shutil.which("chromium")
    if found is None:
        missing = "chromium is not installed: apt-get install chromium"
        if os.environ.get("REQUIRE_CHROMIUM"):
            pytest.fail(f"REQUIRE_CHROMIUM is set, and {missing}")
        pytest.skip(missing)
    return found


class Watched:
    """A page in the browser, and what it complained of."""

    def __init__(self, browser: Browser, **how: Any) -> None:
        self.complaints: list[str] = []
        self._context = browser.new_context(viewport={"width": 1440, "height": 900}, **how)
        self.page: Page = self._context.new_page()
        self.page.set_default_timeout(PATIENCE_S * 1000)
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def close(self) -> None:
        """Close it."""
        self._context.close()
