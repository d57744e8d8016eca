"""The page snippet in a real Chromium, on a page of another origin than the door's."""

from __future__ import annotations

import gzip
import http.server
import json
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from flows.process.embedded_redis import EmbeddedRedis
from serving.collector.redis_log import RedisEventLog
from serving.http.access import KEY_VARIABLE, SECRET_VARIABLE
from serving.storefront.app import SNIPPET
from state import keys
from state.store import AsyncAppender, Store
from tests.pages import Watched
from tests.serving.storefront.servers import Door, open_door

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser

KEY, SECRET = "pk-public", "a-secret-of-at-least-24-characters"
PATIENCE_S = 30
OWN_LIST = '<a href="/own">The shop\'s own list</a>'


def page_of(door_url: str, consent: str, script: str) -> str:
    required = ' data-consent="required"' if consent == "required" else ""
    return f"""<!doctype html><html lang="en"><title>Shop</title><body><main><h1>Shop</h1>
    <script>window.penstock = {{ q: [] }};</script>
    <section id="list" style="height: 200px; overflow: hidden" aria-label="For you">{OWN_LIST}</section>
    <script src="{door_url}/v1/snippet.js" data-key="{KEY}"{required}></script>
    <script>{script}</script></main></body></html>"""


class ShopPages:
    """A shop's server, whose one page has what a test gives it."""

    def __init__(self) -> None:
        pages = self
        self.html = ""

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("content-type", "text/html")
                self.end_headers()
                self.wfile.write(pages.html.encode())

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def pages() -> Iterator[ShopPages]:
    pages = ShopPages()
    yield pages
    pages.server.shutdown()


@pytest.fixture
def door(
    redis_url: str, pages: ShopPages, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Door, Any]]:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)
    client = Store(redis_url, timeout_ms=5000, patience_s=0).client
    items = [["mug", 0.9, "popular"], ["cup", 0.8, "popular"]]
    stored = {"at": 7, "source": "popularity", "model": "1", "items": items}
    client.set(keys.popular_key(), json.dumps(stored))
    card = {"name": "<b>Mug</b>", "price": "3.50", "currency": "EUR", "url": "/mug"}
    client.hset(keys.card_key("mug"), mapping=card)
    log = RedisEventLog(AsyncAppender(redis_url, timeout_ms=5000), 1)
    with open_door(redis_url, log, origins=(pages.url,)) as door:
        yield door, client


@pytest.fixture
def opened(browser: Browser) -> Iterator[Watched]:
    opened = Watched(browser)
    yield opened
    opened.close()


def events(client: Any) -> list[dict[str, Any]]:
    return [json.loads(fields[b"e"]) for _, fields in client.xrange(keys.events_key(0))]


def wait_for(condition: Callable[[], Any]) -> Any:
    deadline_s = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    return found


DRAW = (
    "penstock.list('home', document.getElementById('list'), {n: 2})"
    ".then((found) => { window.found = found })"
)


def test_it_is_small() -> None:
    assert len(gzip.compress(SNIPPET.read_bytes())) <= 4096


def test_a_page_draws_a_list_and_tells_what_was_seen_and_clicked(
    door: tuple[Door, Any], pages: ShopPages, opened: Watched
) -> None:
    server, client = door
    pages.html = page_of(server.url, "", f"penstock.view({{item_id: 'mug'}}); {DRAW}")
    page = opened.page
    page.goto(pages.url)
    page.wait_for_function("window.found")
    assert page.locator("#list a").count() == 2
    assert page.locator("#list a span").first.inner_text() == "<b>Mug</b>"
    seen = wait_for(lambda: [one for one in events(client) if one["type"] == "reco_view"])
    assert {(one["items"][0]["item_id"], one["reco"]["position"]) for one in seen} == {
        ("mug", 1),
        ("cup", 2),
    }
    assert seen[0]["reco"]["list"] == page.evaluate("found.list")
    page.locator("#list a").first.click()
    (clicked,) = wait_for(lambda: [one for one in events(client) if one["type"] == "reco_click"])
    assert clicked["items"] == [{"item_id": "mug"}]
    assert [one["type"] for one in events(client)].count("item_view") >= 1
    assert len({one["anonymous_id"] for one in events(client)}) == 1
    assert opened.complaints == []


def test_a_fresh_list_is_asked_past_the_cache_of_the_browser(
    door: tuple[Door, Any], pages: ShopPages, opened: Watched
) -> None:
    server, client = door
    pages.html = page_of(server.url, "", DRAW)
    page = opened.page
    page.goto(pages.url)
    page.wait_for_function("window.found")
    stored = {"at": 9, "source": "popularity", "model": "1", "items": [["cup", 0.8, "popular"]]}
    client.set(keys.popular_key(), json.dumps(stored))
    ask = "(fresh) => penstock.list('home', document.getElementById('list'), {n: 2, fresh})"
    assert len(page.evaluate(ask, False)["items"]) == 2
    page.wait_for_function(f"() => ({ask})(true).then((found) => found && found.items.length == 1)")


def test_nothing_leaves_the_page_before_consent(
    door: tuple[Door, Any], pages: ShopPages, opened: Watched
) -> None:
    server, client = door
    pages.html = page_of(server.url, "required", "penstock.view({item_id: 'mug'})")
    page = opened.page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(pages.url)
    page.wait_for_timeout(1500)
    assert [url for url in asked if "/v1/events" in url] == []
    page.evaluate("penstock.consent({analytics: true, personalization: true, ads: false})")
    found = wait_for(lambda: len(events(client)) == 2 and events(client))
    assert {one["type"] for one in found} == {"item_view", "consent"}
    assert all(one["consent"]["ads"] is False for one in found)


def test_a_refusal_sends_no_view_and_sets_no_cookie(
    door: tuple[Door, Any], pages: ShopPages, opened: Watched
) -> None:
    server, client = door
    pages.html = page_of(server.url, "required", "penstock.view({item_id: 'mug'})")
    page = opened.page
    page.goto(pages.url)
    with page.expect_response(lambda answer: "/v1/events" in answer.url) as answered:
        page.evaluate("penstock.consent({analytics: false, personalization: false, ads: false})")
    assert answered.value.status == 202
    assert events(client) == []
    assert page.context.cookies() == []


def test_a_dead_or_slow_server_leaves_the_shops_own_list(
    pages: ShopPages, opened: Watched, door: tuple[Door, Any]
) -> None:
    server, _ = door
    pages.html = page_of(server.url, "", DRAW)
    page = opened.page
    page.route("**/v1/lists/**", lambda route: None)  # never answered
    page.goto(pages.url)
    page.wait_for_function("window.found === null")
    assert page.locator("#list").inner_html() == OWN_LIST
    page.unroute("**/v1/lists/**")
    page.route("**/v1/lists/**", lambda route: route.abort())
    page.goto(pages.url)
    page.wait_for_function("window.found === null")
    assert page.locator("#list").inner_html() == OWN_LIST


def test_the_page_does_not_move_and_axe_finds_nothing(
    door: tuple[Door, Any], pages: ShopPages, opened: Watched
) -> None:
    server, _ = door
    watch = (
        "window.shift = 0; new PerformanceObserver((list) => {"
        "for (const one of list.getEntries()) window.shift += one.value;"
        "}).observe({type: 'layout-shift', buffered: true});"
    )
    pages.html = page_of(server.url, "", f"{watch} {DRAW}")
    page = opened.page
    page.goto(pages.url)
    page.wait_for_function("window.found")
    page.wait_for_timeout(300)
    assert page.evaluate("window.shift") == 0
    assert Axe().run(page).response["violations"] == []


def test_what_waits_is_sent_when_the_page_is_left(
    door: tuple[Door, Any], pages: ShopPages, opened: Watched
) -> None:
    server, client = door
    pages.html = page_of(server.url, "", "penstock.view({item_id: 'mug'})")
    opened.page.goto(pages.url)
    opened.page.goto("about:blank")
    wait_for(lambda: [one["type"] for one in events(client)] == ["item_view"])


def test_two_tabs_are_one_visitor(
    door: tuple[Door, Any], pages: ShopPages, opened: Watched
) -> None:
    server, client = door
    pages.html = page_of(server.url, "", "")
    first = opened.page
    second = first.context.new_page()
    try:
        for number, tab in enumerate((first, second, first)):
            tab.goto(pages.url)
            with tab.expect_response(lambda answer: "/v1/events" in answer.url):
                tab.evaluate(f"penstock.view({{item_id: 'item-{number}'}}); penstock.flush()")
    finally:
        second.close()
    found = wait_for(lambda: len(events(client)) == 3 and events(client))
    assert {one["items"][0]["item_id"] for one in found} == {"item-0", "item-1", "item-2"}
    assert len({one["event_id"] for one in found}) == 3
    assert len({one["anonymous_id"] for one in found}) == 1


def test_with_blocked_cookies_lists_and_events_work_without_recognition(
    door: tuple[Door, Any], pages: ShopPages, opened: Watched
) -> None:
    server, client = door
    pages.html = page_of(server.url, "", DRAW)
    page = opened.page
    for _ in range(2):
        page.goto(pages.url)
        page.wait_for_function("window.found")
        assert page.locator("#list a").count() == 2
        with page.expect_response(lambda answer: "/v1/events" in answer.url):
            page.evaluate("penstock.view({item_id: 'mug'}); penstock.flush()")
        page.context.clear_cookies()  # none is kept, and none is sent
    views = wait_for(
        lambda: [one for one in events(client) if one["type"] == "item_view"][1:] and events(client)
    )
    visitors = {one["anonymous_id"] for one in views if one["type"] == "item_view"}
    assert len(visitors) == 2
    assert opened.complaints == []


def test_without_javascript_the_page_is_the_shops_own(
    door: tuple[Door, Any], pages: ShopPages, browser: Browser
) -> None:
    server, _ = door
    pages.html = page_of(server.url, "", DRAW)
    watched = Watched(browser, java_script_enabled=False)
    watched.page.goto(pages.url)
    assert watched.page.locator("#list").inner_html() == OWN_LIST
    watched.close()
    assert watched.complaints == []


def test_a_restarted_log_loses_nothing_of_a_page(
    pages: ShopPages, opened: Watched, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)
    with EmbeddedRedis() as redis:
        log = RedisEventLog(AsyncAppender(redis.url, timeout_ms=5000), 1)
        with open_door(redis.url, log, tmp_path, origins=(pages.url,)) as door:
            pages.html = page_of(door.url, "", "")
            opened.page.goto(pages.url)
            redis.stop()
            opened.page.evaluate("penstock.view({item_id: 'mug'}); penstock.flush()")
            wait_for(lambda: list(tmp_path.glob("*.spool")))
            redis.start()
            client = Store(redis.url, timeout_ms=5000, patience_s=0).client
            wait_for(lambda: [one["type"] for one in events(client)] == ["item_view"])
