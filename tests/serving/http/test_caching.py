"""What a CDN may keep: docs/cdn.md says it, and each row of its table is held against the server."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from serving.collector.redis_log import RedisEventLog
from state.store import AsyncAppender
from tests.serving.storefront.servers import Answer, Door, open_door

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PAGE = Path("docs/cdn.md").read_text()
ASKED: dict[str, Callable[[Door], list[Answer]]] = {
    "GET /v1/lists/{slot}?audience=all": lambda door: [
        door.get("/v1/lists/home?audience=all"),
        door.get("/v1/lists/home?audience=all&visitor=ann"),
    ],
    "GET /v1/snippet.js": lambda door: [door.get("/v1/snippet.js")],
    "GET /openapi.json": lambda door: [door.get("/openapi.json")],
    "GET /v1/lists/{slot}": lambda door: [
        door.get("/v1/lists/home"),
        door.get("/v1/lists/product?visitor=ann&item=mug"),
    ],
    "GET /v1/shopper": lambda door: [door.get("/v1/shopper?visitor=ann")],
    "GET /v1/content/{slot}": lambda door: [door.get("/v1/content/hero")],
    "POST /v1/lists": lambda door: [door.post("/v1/lists", {"slots": [{"slot": "home"}]})],
    "POST /v1/events": lambda door: [door.post("/v1/events", event())],
    "POST /v1/batch": lambda door: [door.post("/v1/batch", {"batch": [call()]})],
    "any from status 400 on": lambda door: [
        door.get("/v1/lists/nothing?audience=all"),
        door.get("/v1/none"),
        door.post("/v1/events", b"["),
    ],
    "/healthz": lambda door: [door.get("/healthz")],
    "/readyz": lambda door: [door.get("/readyz")],
    "/metrics": lambda door: [door.get("/metrics")],
}


def event() -> dict[str, object]:
    return {"event_id": "1", "type": "page_view", "event_ts": 1, "anonymous_id": "ann"}


def call() -> dict[str, str]:
    return {"type": "page", "messageId": "m", "anonymousId": "ann"}


def rows() -> Iterator[tuple[str, str, str]]:
    """What is asked, its Cache-Control and its Vary ("" for none), of each row of the page."""
    table = PAGE.partition("|---")[2].partition("\n\n")[0]
    for line in table.splitlines()[1:]:
        routes, cache, vary = (cell.strip() for cell in line.strip("|").split("|")[:3])
        for route in re.findall(r"`((?:GET|POST|/)[^`]*)`|(any from status 400 on)", routes):
            yield "".join(route), cache.strip("`") if cache != "none" else "", vary.strip("`")


@pytest.fixture(scope="module")
def door(redis_server: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    url: str = redis_server.url  # type: ignore[attr-defined]
    content = tmp_path_factory.mktemp("content") / "content.yaml"
    content.write_text("hero:\n- {id: summer, payload: 1}\n")
    log = RedisEventLog(AsyncAppender(url, timeout_ms=5000), 1)
    with open_door(url, log, content_file=str(content), origins=("https://shop.example",)) as door:
        yield door


@pytest.mark.parametrize(("asked", "cache", "vary"), rows())
def test_the_page_says_what_may_be_kept(door: Door, asked: str, cache: str, vary: str) -> None:
    for answer in ASKED[asked](door):
        assert answer.headers.get("cache-control", "") == cache
        assert answer.headers.get("vary", "").lower() == vary.lower()
        assert "set-cookie" not in answer.headers


def test_every_row_is_asked_for() -> None:
    assert {asked for asked, *_ in rows()} == set(ASKED)
