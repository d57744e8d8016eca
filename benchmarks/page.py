"""The page under load: many open tabs, a million members in one segment. `make page` prints the figures.

Tabs are event streams without a browser behind them; what a browser makes of them tests say.
"""

from __future__ import annotations

import argparse
import http.client
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from flows.process.embedded_redis import EmbeddedRedis
from state import keys
from state.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

TABS = 50
SECONDS = 300
MEMBERS = 1_000_000
SMALL = 1_000
SLICE = 20_000
WARM_UP = 0.2
"""The part of the time after which the first figures are taken."""


class Used(NamedTuple):
    """What a server of the page has in use."""

    rss_mb: float
    files: int
    redis_connections: int


class Opened(NamedTuple):
    """Tabs that were open for a time: what was used, how many messages each got, and in how long."""

    before: Used
    early: Used
    late: Used
    after: Used
    messages: list[int]
    passed_s: float
    cpu: float


class Asked(NamedTuple):
    """How long answers about a segment took, in ms."""

    first_row: float
    rows_per_s: float
    newest_page: float
    far_page: float
    stream: float


@contextmanager
def page(redis_url: str) -> Iterator[tuple[str, int]]:
    """A server of the page in a process of its own: its address and its process id."""
    words = ["dashboard", "--redis", redis_url, "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "flows", *words], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    try:
        found = re.search(r"http://\S+\d", process.stdout.readline())
        assert found
        yield found[0], process.pid
    finally:
        process.terminate()
        process.communicate()


def used(pid: int, redis: EmbeddedRedis) -> Used:
    """What a process has in use now."""
    status = Path(f"/proc/{pid}/status").read_text()
    resident = re.search(r"VmRSS:\s+(\d+)", status)
    connections = re.search(r"connected_clients:(\d+)", _info(redis))
    assert resident
    assert connections
    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return Used(int(resident[1]) / 1024, files, int(connections[1]) - 1)


def keep_open(redis: EmbeddedRedis, tabs: int, seconds: float) -> Opened:
    """Keep tabs open for a time, with a membership that changes ten times a second."""
    with page(redis.url) as (url, pid):
        line = _get(url, "/api/hello")
        line.close()
        before = used(pid, redis)
        over = threading.Event()
        counts = [0] * tabs
        threads = [
            threading.Thread(target=_listen, args=(url, over, counts, n)) for n in range(tabs)
        ]
        threads.append(threading.Thread(target=_stir, args=(redis.url, over)))
        began_s = time.perf_counter()
        for thread in threads:
            thread.start()
        time.sleep(seconds * WARM_UP)
        early, cpu_s = used(pid, redis), _cpu_s(pid)
        time.sleep(seconds * (1 - WARM_UP))
        late, cpu_s = used(pid, redis), _cpu_s(pid) - cpu_s
        over.set()
        for thread in threads:
            thread.join()
        passed_s = time.perf_counter() - began_s
        time.sleep(1.5)
        cpu = cpu_s / seconds / (1 - WARM_UP)
        return Opened(before, early, late, used(pid, redis), counts, passed_s, cpu)


def ask(redis: EmbeddedRedis, members: int) -> Asked:
    """Fill a segment and ask for it."""
    sid = f"of-{members}"
    client = Store(redis.url, timeout_ms=60_000, patience_s=0).client
    for first in range(0, members, SLICE):
        some = range(first, min(members, first + SLICE))
        client.zadd(keys.members_key(sid), {f"shopper-{n:07}": n for n in some})
    client.hset(keys.registry_key(), sid, '{"kind":"rule","version":1,"status":"live","name":"x"}')
    with page(redis.url) as (url, _):
        _get(url, "/api/hello").close()
        began_s = time.perf_counter()
        line = _get(url, f"/api/export?segment={sid}")
        answer = line.getresponse()
        answer.readline()
        answer.readline()
        first_row_s = time.perf_counter() - began_s
        rows = 1 + sum(chunk.count(b"\n") for chunk in iter(lambda: answer.read(1 << 16), b""))
        passed_s = time.perf_counter() - began_s
        assert rows == members, rows
        line.close()
        return Asked(
            first_row_s * 1000,
            rows / passed_s,
            _ms(url, f"/api/members?segment={sid}&from=0"),
            _ms(url, f"/api/members?segment={sid}&from={members * 3 // 4}"),
            _first_message_ms(url, sid),
        )


def _listen(url: str, over: threading.Event, counts: list[int], n: int) -> None:
    # Half of the tabs look at a segment too.
    line = _get(url, "/api/stream" + ("?segment=moving" if n % 2 else ""))
    answer = line.getresponse()
    while not over.is_set():
        counts[n] += answer.readline().startswith(b"data")
    line.sock.close()
    line.close()


def _stir(redis_url: str, over: threading.Event) -> None:
    client = Store(redis_url, timeout_ms=2000, patience_s=0).client
    about = '{"kind":"rule","version":1,"status":"live","name":"moving"}'
    client.hset(keys.registry_key(), "moving", about)
    n = 0
    while not over.wait(0.1):
        client.zadd(keys.members_key("moving"), {f"shopper-{n % 500}": n})
        client.zrem(keys.members_key("moving"), f"shopper-{(n + 250) % 500}")
        fields = {"kind": "enter", "shopper": f"shopper-{n}", "segment": "moving", "event_ts": n}
        client.xadd(keys.change_stream_key(n % 8), fields, maxlen=1000)
        client.hset(keys.meta_key(), mapping={"events": n, "watermark_ms": n})
        n += 1
    client.close()


def _get(url: str, path: str) -> http.client.HTTPConnection:
    place = urlsplit(url)
    line = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
    line.request("GET", path)
    return line


def _ms(url: str, path: str) -> float:
    began_s = time.perf_counter()
    line = _get(url, path)
    assert line.getresponse().read()
    line.close()
    return (time.perf_counter() - began_s) * 1000


def _first_message_ms(url: str, sid: str) -> float:
    began_s = time.perf_counter()
    line = _get(url, f"/api/stream?segment={sid}")
    answer = line.getresponse()
    while not answer.readline().startswith(b"data"):
        pass
    passed_s = time.perf_counter() - began_s
    line.sock.close()
    line.close()
    return passed_s * 1000


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _info(redis: EmbeddedRedis) -> str:
    client = Store(redis.url, timeout_ms=2000, patience_s=0).client
    try:
        return f"connected_clients:{client.info('clients')['connected_clients']}"
    finally:
        client.close()


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tabs", type=int, default=TABS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--members", type=int, default=MEMBERS)
    asked = parser.parse_args()
    with EmbeddedRedis() as redis:
        for members in (SMALL, asked.members):
            took = ask(redis, members)
            print(
                f"members={members} first_row_ms={took.first_row:.0f} rows_per_s={took.rows_per_s:.0f} "
                f"newest_page_ms={took.newest_page:.0f} far_page_ms={took.far_page:.0f} "
                f"stream_ms={took.stream:.0f}",
                flush=True,
            )
    with EmbeddedRedis() as redis:
        opened = keep_open(redis, asked.tabs, asked.seconds)
        a_second = [most / opened.passed_s for most in (min(opened.messages), max(opened.messages))]
        print(
            f"tabs={asked.tabs} seconds={asked.seconds:.0f} "
            f"messages_per_s={a_second[0]:.2f}..{a_second[1]:.2f} cpu={opened.cpu:.3f}"
        )
        for when in ("before", "early", "late", "after"):
            one: Used = getattr(opened, when)
            print(
                f"{when:<6} rss_mb={one.rss_mb:.1f} files={one.files} "
                f"redis_connections={one.redis_connections}"
            )


if __name__ == "__main__":
    main()
