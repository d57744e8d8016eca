"""A real server of a storefront, in a thread, and requests to it."""

from __future__ import annotations

import http.client
import json
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from flows.runtime.replay import replay_recordings
from operators.synthetic.traffic import generate_events
from serving.storefront.server import StorefrontServer
from state.config import Settings, Source
from state.config_deployment import Collector, Storefront

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from flows.process.embedded_redis import EmbeddedRedis
    from flows.sources.recorded import Records
    from serving.collector.event_log import CollectorLog
    from serving.http.access import StorefrontAccess
    from serving.storefront.app import PageRoute


class Answer(NamedTuple):
    """An answer of the server."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Door:
    """Sends requests to a server, each on a connection of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.host = urlsplit(url).netloc

    def get(self, path: str, **headers: str) -> Answer:
        return self.send("GET", path, None, headers)

    def post(self, path: str, body: object, **headers: str) -> Answer:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.send("POST", path, data, headers)

    def send(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        connection = http.client.HTTPConnection(self.host, timeout=10)
        try:
            connection.request(method, path, body, headers)
            got = connection.getresponse()
            named = {name.lower(): value for name, value in got.getheaders()}
            return Answer(got.status, named, got.read())
        finally:
            connection.close()


@contextmanager
def open_door(
    redis_url: str,
    event_log: CollectorLog | None = None,
    spool: Path | None = None,
    environment: Mapping[str, str] = os.environ,
    pages: Callable[[StorefrontAccess], Sequence[PageRoute]] = lambda access: (),
    **storefront: Any,
) -> Iterator[Door]:
    """A server with this configuration, until the end of the block. It waits for a slow machine."""
    section = Storefront(**{"listen": "127.0.0.1:0", "read_timeout_ms": 5000, **storefront})
    collector = Collector(spool_folder=str(spool), spool_mb=1) if spool else Collector(spool_mb=0)
    settings = Settings(storefront=section, collector=collector)
    server = StorefrontServer(settings, redis_url, event_log, environment=environment, pages=pages)
    stop = threading.Event()
    thread = threading.Thread(target=server.serve, args=(stop,))
    thread.start()
    try:
        yield Door(server.url)
    finally:
        stop.set()
        thread.join(10)
        assert not thread.is_alive()


def filled_redis(redis: EmbeddedRedis, folder: Path) -> None:
    """Fill a Redis with a small synthetic shop, through the flow."""
    redis.send_command("FLUSHALL")
    visits: dict[str, Records] = {
        "shop": lambda: generate_events(events=9000, shoppers=400, items=60)
    }
    settings = Settings(source=Source(batch_events=512))
    replay_recordings(visits, settings, redis_url=redis.url, dead_letters=folder / "letters.jsonl")
