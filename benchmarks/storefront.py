"""How much of what an HTTP server can do is left when it answers with lists, and takes events?

A real `penstock serve` before a real Redis with a small shop (`prepare`), and one client beside it:

- `lists`: `GET /v1/lists/home?n=12` as pages ask it, with key and signed cookie, every time another
  shopper, cards in the process; beside it `GET /healthz` of the same server. `p99` is at half of the
  highest rate of each.
- `collector`: `POST /v1/events` with what a page sends at once (`EVENTS_A_BODY`), each event decoded,
  checked and acknowledged by Redis Streams or by Kafka (one node); beside it the same server with
  another handler of that route, which answers 202 and leaves the same body unread.

`python -m benchmarks.storefront` prints rates in turn, processor time of the server a request, and the
ratios of `benchmarks.table`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from msgspec.structs import replace

from benchmarks import http_load
from benchmarks.cores import cpu_s
from flows.process.embedded_redis import EmbeddedRedis
from flows.runtime.replay import replay_recordings
from operators.synthetic.traffic import generate_events
from serving.http.access import COOKIE, KEY_VARIABLE, SECRET_VARIABLE, StorefrontAccess
from serving.http.messages import BytesResponse
from serving.storefront.server import StorefrontServer
from state import keys
from state.config import Settings, Source
from state.config_deployment import Storefront
from state.store import Store
from tests.installed import environment
from tests.kafka_broker import KafkaBroker, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from benchmarks.http_load import Load
    from flows.sources.recorded import Records
    from serving.collector.routes import CollectorRoutes

MODULE = "benchmarks.storefront"
KEY, SECRET = "pk-benchmark", "the-secret-of-the-benchmark"
EVENTS, SHOPPERS, ITEMS = 30_000, 1500, 300
CONNECTIONS = 64
EVENTS_A_BODY = 1
PARTITIONS = 4
START_S = 60.0
WARM_S = 1.0


class Asked(NamedTuple):
    """How long: seconds of each load, and how often all of them in turn."""

    seconds: float = 4.0
    rounds: int = 5


class Reached(NamedTuple):
    """Answers a second, and what one costs the server (us of processor time, librdkafka's included)."""

    rate: float
    cpu_us: float


def ratios(name: str, plain: Sequence[Reached], asked: Sequence[Reached]) -> dict[str, float]:
    """By rates, and by processor time, which other programs on the machine disturb less."""
    pairs = [*zip(plain, asked, strict=True)]
    return {
        name: median(one.rate / base.rate for base, one in pairs),
        f"{name}_cpu": median(base.cpu_us / one.cpu_us for base, one in pairs),
    }


class Door:
    """A server in a process of its own."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.port = port
        self._process = process

    def saturated(self, requests: Sequence[bytes], asked: Asked, status: bytes) -> Reached:
        """The highest rate, and the processor time a request."""
        before_s = cpu_s(self._process.pid)
        load = http_load.saturate(
            self.port, requests, connections=CONNECTIONS, seconds=asked.seconds
        )
        self._check(load, status)
        cpu_us = 1e6 * (cpu_s(self._process.pid) - before_s) / sum(load.statuses.values())
        print(f"#   {load.rate:,.0f}/s, {cpu_us:.0f} us of the server each", flush=True)
        return Reached(load.rate, cpu_us)

    def at_half(self, requests: Sequence[bytes], rate: float, asked: Asked, status: bytes) -> Load:
        """Half of a rate."""
        load = http_load.pace(
            self.port, requests, rate=rate / 2, connections=CONNECTIONS, seconds=asked.seconds
        )
        self._check(load, status)
        print(f"#   {load.rate:,.0f}/s: p50 {load.p50_ms:.2f} ms, p99 {load.p99_ms:.2f} ms")
        return load

    def _check(self, load: Load, status: bytes) -> None:
        if set(load.statuses) != {status}:
            raise SystemExit(f"answers were {dict(load.statuses)}, not only {status!r}")


@contextmanager
def running(command: Sequence[str], port: int) -> Iterator[Door]:
    """A server program, until the end of the block."""
    keys_of_door = {KEY_VARIABLE: KEY, SECRET_VARIABLE: SECRET}
    process = subprocess.Popen(
        [sys.executable, *command], env=environment() | keys_of_door, stdout=subprocess.DEVNULL
    )
    try:
        deadline_s = time.monotonic() + START_S
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=START_S).close()
                break
            except OSError:
                if time.monotonic() > deadline_s or process.poll() is not None:
                    raise SystemExit("the server does not start") from None
                time.sleep(0.1)
        yield Door(port, process)
    finally:
        process.terminate()
        process.wait()


@contextmanager
def penstock_serve(redis_url: str, folder: Path, **settings: str) -> Iterator[Door]:
    """`penstock serve`, for one client that asks for everything."""
    port = free_port()
    command = ["-m", "flows", "serve", "--redis", redis_url, "--listen", f"127.0.0.1:{port}"]
    fixed = {
        "storefront.rate_max": "1000000",
        "storefront.read_timeout_ms": "2000",  # no answer without Redis may count
        "collector.spool_folder": str(folder),
    }
    for name, value in (fixed | settings).items():
        command += ["--set", f"{name}={value}"]
    with running(command, port) as door:
        yield door


def get(path: str, **headers: str) -> bytes:
    """A request without a body."""
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def post(path: str, body: bytes) -> bytes:
    """A request with a body."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def prepare(redis_url: str, folder: Path) -> list[bytes]:
    """Fill Redis through the flow; requests for the lists of its shoppers."""
    visits: dict[str, Records] = {
        "shop": lambda: generate_events(events=EVENTS, shoppers=SHOPPERS, items=ITEMS)
    }
    settings = Settings(source=Source(batch_events=4096))
    replay_recordings(visits, settings, redis_url=redis_url, dead_letters=folder / "dead.jsonl")
    client = Store(redis_url, timeout_ms=5000, patience_s=0).client
    prefix, end = len("ps:1:shopper:{"), len("}:top:home")
    names = [key.decode()[prefix:-end] for key in client.scan_iter(keys.top_key("*", "home"))]
    access = StorefrontAccess(
        "127.0.0.1",
        (),
        visitor_days=1,
        clock_s=time.time,
        environment={KEY_VARIABLE: KEY, SECRET_VARIABLE: SECRET},
    )
    path = f"/v1/lists/home?n=12&key={KEY}"
    return [get(path, Cookie=f"{COOKIE}={access.cookie_of(name)}") for name in sorted(names)]


def bodies(count: int = 2000) -> list[bytes]:
    """What pages send: views, carts, and what was seen of a list, with the ids of visitors."""
    found = []
    now_ms = time.time_ns() // 1_000_000
    for n in range(count):
        page = {"url": f"https://shop.example/item/{n % ITEMS}", "title": "A mug of the shop"}
        same = {"event_ts": now_ms, "anonymous_id": f"v-{n % 500}", "page": page}
        kinds: list[dict[str, Any]] = [
            {"type": "item_view", "items": [{"item_id": f"i-{n % ITEMS}", "price": 9.5}]},
            {"type": "reco_view", "items": [{"item_id": "i-1"}], "reco": {"slot": "product"}},
            {"type": "cart_add", "items": [{"item_id": f"i-{n % ITEMS}", "quantity": 1}]},
        ]
        chosen = kinds[:EVENTS_A_BODY]
        events = [{"event_id": f"{n}-{k}", **same, **kind} for k, kind in enumerate(chosen)]
        found.append(json.dumps(events).encode())
    return found


def lists(door: Door, requests: Sequence[bytes], asked: Asked) -> dict[str, float]:
    """Lists beside plain answers, in turn."""
    plain = [get("/healthz")]
    for load in (plain, requests):
        http_load.saturate(door.port, load, connections=CONNECTIONS, seconds=WARM_S)
    plains, found, reads, p99s = [], [], [], []
    for _ in range(asked.rounds):
        print(
            "# plain GET, one read of Redis (/readyz), lists; then the first and the last at half"
        )
        plains.append(door.saturated(plain, asked, b"200"))
        reads.append(door.saturated([get("/readyz")], asked, b"200"))
        found.append(door.saturated(requests, asked, b"200"))
        half = [
            door.at_half(load, most[-1].rate, asked, b"200")
            for load, most in ((plain, plains), (requests, found))
        ]
        p99s.append(half[1].p99_ms / half[0].p99_ms)
    print(f"# lists over one read: {ratios('rate', reads, found)}")
    return {**ratios("door_list", plains, found), "door_p99": median(p99s)}


def collector(name: str, door: Door, unread: Door, asked: Asked) -> dict[str, float]:
    """Collected events beside bodies that nobody reads, in turn."""
    taken = [post(f"/v1/events?key={KEY}", body) for body in bodies()]
    for one in (door, unread):
        http_load.saturate(one.port, taken, connections=CONNECTIONS, seconds=WARM_S)
    plains, found = [], []
    for _ in range(asked.rounds):
        print("# unread bodies, then collected", flush=True)
        plains.append(unread.saturated(taken, asked, b"202"))
        found.append(door.saturated(taken, asked, b"202"))
    return ratios(name, plains, found)


def measure(asked: Asked, parts: Sequence[str] = ("lists", "redis", "kafka")) -> dict[str, float]:
    """The rows of the table."""
    found: dict[str, float] = {}
    with EmbeddedRedis() as redis, tempfile.TemporaryDirectory() as name:
        folder, plain_port = Path(name), free_port()
        if "lists" in parts:
            requests = prepare(redis.url, folder)
            with penstock_serve(redis.url, folder) as door:
                found |= lists(door, requests, asked)
        plain = ["-m", MODULE, "--plain", str(plain_port), "--redis", redis.url]
        with running(plain, plain_port) as unread:
            if "redis" in parts:
                with penstock_serve(redis.url, folder) as door:
                    found |= collector("door_streams", door, unread, asked)
            if "kafka" in parts:
                with KafkaBroker() as broker:
                    settings = {
                        "collector.log": "kafka",
                        "kafka.topic": broker.create_topic("collected", PARTITIONS),
                        "kafka.bootstrap_servers": broker.address,
                    }
                    with penstock_serve(redis.url, folder, **settings) as door:
                        found |= collector("door_kafka", door, unread, asked)
    return found


class UnreadRoutes:
    """In place of the collector's routes: an answer to a body that nobody reads."""

    async def events(self, request: Request) -> Response:
        """Answer 202."""
        return BytesResponse(b"{}", 202, ())

    segment = events


def serve_plain(port: int, redis_url: str) -> None:
    """Serve as `penstock serve` does, but leave the bodies of events unread, until it is stopped."""
    settings = replace(
        Settings(), storefront=Storefront(listen=f"127.0.0.1:{port}", rate_max=10**6)
    )
    server = StorefrontServer(
        settings, redis_url, collector=cast("CollectorRoutes", UnreadRoutes())
    )
    server.serve(threading.Event())


def main() -> None:
    """Measure and print, or serve for a measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    add, default = parser.add_argument, Asked()
    add("--part", choices=("lists", "redis", "kafka"), action="append")
    add("--seconds", type=float, default=default.seconds, help="of each load")
    add("--rounds", type=int, default=default.rounds)
    add("--plain", type=int, help=argparse.SUPPRESS)
    add("--redis", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plain:
        serve_plain(options.plain, options.redis)
        return
    parts = options.part or ("lists", "redis", "kafka")
    for name, value in measure(Asked(options.seconds, options.rounds), parts).items():
        print(f"{name}={value:.3g}", flush=True)


if __name__ == "__main__":
    main()
