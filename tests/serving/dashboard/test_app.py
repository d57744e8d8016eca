"""The dashboard: the responses of the server."""

from __future__ import annotations

import gzip
import re
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from serving.dashboard.app import STATIC
from state import keys
from state.store import Store
from tests.pages import Answer, Watched, fill, served, stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flows.process.embedded_redis import EmbeddedRedis

JAVASCRIPT_BYTES_MAX = 60 * 1024


@pytest.fixture(scope="module")
def shop_url(redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Redis that the real flow filled with a synthetic shop; tests only read it."""
    redis_server.send_command("FLUSHALL")
    fill(redis_server.url, tmp_path_factory.mktemp("letters"))
    return redis_server.url


@pytest.fixture(scope="module")
def page_url(shop_url: str) -> Iterator[str]:
    """A server of the page of that shop."""
    with served(shop_url) as url:
        yield url


def sizes(redis_url: str) -> dict[str, int]:
    client = Store(redis_url, timeout_ms=2000, patience_s=0).client
    registry = client.hkeys(keys.registry_key())
    return {sid.decode(): client.zcard(keys.members_key(sid.decode())) for sid in registry}


def test_all_javascript_is_at_most_60_kb_gzipped() -> None:
    scripts = sorted(STATIC.rglob("*.js"))
    assert sum(len(gzip.compress(one.read_bytes())) for one in scripts) <= JAVASCRIPT_BYTES_MAX


def test_the_page_loads_nothing_from_other_hosts() -> None:
    ours = [one for one in STATIC.rglob("*") if one.suffix in (".js", ".css", ".html")]
    named = {one.name: re.findall(r"https?://[\w./]+", one.read_text()) for one in ours}
    assert {name: found for name, found in named.items() if found} == {
        "preact-htm.module.js": ["http://www.w3.org/2000/svg"],  # a name
        "uPlot.iife.min.js": ["https://github.com/leeoniya/uPlot"],  # a comment
    }


def test_a_stream_sends_a_snapshot_and_then_changes(shop_url: str, page_url: str) -> None:
    with stream(page_url) as messages:
        (first,) = next(messages)
        assert first["whole"]
        received = {n[8:]: v["size"] for n, v in first["set"].items() if n.startswith("segment/")}
        assert received == sizes(shop_url) != {}
        assert first["set"]["now"]["events"] == 6000
        assert first["set"]["now"]["currency"] == "EUR"
        client = Store(shop_url, timeout_ms=2000, patience_s=0).client
        client.zadd(keys.members_key("cluster-0"), {"a new one": 7})
        changed = next(m[0]["set"] for m in messages if "segment/cluster-0" in m[0].get("set", {}))
        client.zrem(keys.members_key("cluster-0"), "a new one")
        assert changed["segment/cluster-0"]["size"] == received["cluster-0"] + 1


def test_a_minute_without_an_entry_counts_zero(shop_url: str, page_url: str) -> None:
    client = Store(shop_url, timeout_ms=2000, patience_s=0).client
    now_ms = int(client.hget(keys.shop_now_key(), "at"))
    minute, key = now_ms // 60_000, keys.history_key("calm-one")
    for ago, size, entered, left in ((95, 7, 7, 0), (90, 5, 0, 2), (30, 9, 4, 0), (20, 6, 1, 4)):
        said = {"size": size, "entered": entered, "left": left, "purchases": 0, "revenue": 0}
        client.xadd(key, said, f"{(minute - ago) * 60_000}-0")
    about = '{"kind":"rule","version":1,"status":"live","name":"Calm"}'
    client.hset(keys.registry_key(), "calm-one", about)
    rows = orjson.loads(Answer(page_url, "/api/history?segment=calm-one&span=hour").body)
    with stream(page_url) as messages:
        received: dict[str, Any] = {}
        while not received.get("spark/calm-one"):
            received |= next(messages)[0].get("set", {})
    client.hdel(keys.registry_key(), "calm-one")
    client.delete(key)
    assert [row[0] // 60_000 for row in rows] == [*range(minute - 60, minute)]
    assert (
        [row[1] for row in rows] == [5] * 30 + [9] * 10 + [6] * 20 == received["spark/calm-one"][1:]
    )
    assert (sum(row[2] for row in rows), sum(row[3] for row in rows)) == (5, 4)
    assert [row[0] // 60_000 for row in received["minutes"]] == [*range(minute - 60, minute)]


@pytest.mark.parametrize("path", ["/", "/static/app.js", "/api/nothing", "/login"])
def test_every_response_has_the_security_headers(page_url: str, path: str) -> None:
    headers = Answer(page_url, path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


def test_segments_have_their_exact_sizes(shop_url: str, page_url: str, opened: Watched) -> None:
    page = opened.page
    page.goto(f"{page_url}/#/segments")
    page.wait_for_selector("table.segments")
    shown = page.locator(".segments .c-size .n").all_inner_texts()
    registry = Store(shop_url, timeout_ms=2000, patience_s=0).client.hgetall(keys.registry_key())
    live = {sid.decode() for sid, about in registry.items() if b'"retired"' not in about}
    assert sorted(map(int, shown)) == sorted(n for sid, n in sizes(shop_url).items() if sid in live)
    page.goto(f"{page_url}/#/")
    active = page.get_by_text("Shoppers active now").locator("..").locator(".value")
    assert int(active.inner_text().replace(",", "")) > 0
