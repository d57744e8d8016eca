"""Segment's own libraries send to the collector when their host is changed, and their events count."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from serving.collector.redis_log import RedisEventLog
from serving.http.access import KEY_VARIABLE, SECRET_VARIABLE
from state import keys
from state.store import AsyncAppender, Store
from tests.pages import Watched
from tests.segment import libraries
from tests.serving.storefront.servers import Door, open_door

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow
KEY, SECRET = "pk-public", "a-secret-of-at-least-24-characters"
PATIENCE_S = 30
ORDER = {
    "order_id": "o-1",
    "total": 30.5,
    "revenue": 25.5,
    "currency": "EUR",
    "products": [{"product_id": "mug", "price": 8.5, "quantity": 3}],
}
DELIVERY = {"standard": {}, "batching": {"size": 4, "timeout": 60_000}}
PATHS = {"standard": ["/v1/i", "/v1/p", "/v1/t", "/v1/t"], "batching": ["/v1/b"]}
NODE = """
const { Analytics } = require("@segment/analytics-node");
const [host, writeKey, order] = process.argv.slice(1);
const sent = new Analytics({ writeKey, host });
sent.on("error", (error) => { console.error(error); process.exitCode = 1; });
const who = { anonymousId: "visitor-1" }, ORDER = JSON.parse(order);
sent.page({ ...who, name: "Home" });
sent.track({ ...who, event: "Product Viewed", properties: { product_id: "mug", price: 8.5 } });
sent.track({ ...who, event: "Order Completed", properties: ORDER });
sent.identify({ ...who, userId: "ann", traits: { plan: "gold" } });
sent.closeAndFlush();
"""
BROWSER = """<!doctype html><title>Shop</title>
<script src="/index.js"></script>
<script>
  const analytics = AnalyticsNext.AnalyticsBrowser.load(
    { writeKey: "%s", cdnSettings: { integrations: { "Segment.io": %s } } });
  analytics.page("Home");
  analytics.track("Product Viewed", { product_id: "mug", price: 8.5 });
  analytics.track("Order Completed", %s);
  analytics.identify("ann", { plan: "gold" });
</script>"""


@pytest.fixture
def shop_pages() -> Iterator[ThreadingHTTPServer]:
    """A shop's server with the browser's library; `html` is its page."""

    class Pages(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/":
                super().do_GET()
                return
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(server.html.encode())  # type: ignore[attr-defined]

        def log_message(self, *_: Any) -> None:
            pass

    folder = libraries() / "node_modules" / "@segment" / "analytics-next" / "dist" / "umd"
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Pages, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


@pytest.fixture
def origin(shop_pages: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{shop_pages.server_address[1]}"


@pytest.fixture
def door(redis_url: str, origin: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)
    log = RedisEventLog(AsyncAppender(redis_url, timeout_ms=5000), 1)
    with open_door(redis_url, log, origins=(origin,)) as door:
        yield door


def collected(redis_url: str) -> list[dict[str, Any]]:
    client = Store(redis_url, timeout_ms=5000, patience_s=0).client
    return [json.loads(fields[b"e"]) for _, fields in client.xrange(keys.events_key(0))]


def check(redis_url: str, anonymous_id: str | None) -> None:
    """Each call arrives once, as the event that it stands for."""
    deadline_s = time.monotonic() + PATIENCE_S
    while len(found := collected(redis_url)) < 4:
        assert time.monotonic() < deadline_s, found
        time.sleep(0.05)
    assert len({one["event_id"] for one in found}) == 4
    visitors = {one["anonymous_id"] for one in found}
    assert len(visitors) == 1
    assert anonymous_id is None or visitors == {anonymous_id}
    by_type = {one["type"]: one for one in found}
    assert by_type.keys() == {"page_view", "item_view", "purchase", "identify"}
    assert by_type["item_view"]["items"] == [{"item_id": "mug", "price": 8.5}]
    purchase = by_type["purchase"]
    assert (purchase["order_id"], purchase["value"], purchase["currency"]) == ("o-1", 25.5, "EUR")
    assert purchase["items"] == [{"item_id": "mug", "price": 8.5, "quantity": 3}]
    assert by_type["identify"]["user_id"] == "ann"
    assert all(abs(one["event_ts"] - one["received_ts"]) < 60_000 for one in found)


def test_the_library_for_servers_sends_batches(door: Door, redis_url: str, tmp_path: Path) -> None:
    command = ["node", "-e", NODE, door.url, KEY, json.dumps(ORDER)]
    done = subprocess.run(command, cwd=libraries(), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    check(redis_url, "visitor-1")


@pytest.mark.parametrize("strategy", ["standard", "batching"])
def test_analytics_js_sends_from_a_page_of_another_origin(
    door: Door,
    redis_url: str,
    shop_pages: ThreadingHTTPServer,
    origin: str,
    browser: Browser,
    strategy: str,
) -> None:
    host = {
        "apiKey": KEY,
        "apiHost": f"{door.host}/v1",
        "protocol": "http",
        "deliveryStrategy": {"strategy": strategy, "config": DELIVERY[strategy]},
    }
    shop_pages.html = BROWSER % (KEY, json.dumps(host), json.dumps(ORDER))  # type: ignore[attr-defined]
    watched = Watched(browser)
    asked: list[str] = []
    watched.page.on("request", lambda request: asked.append(request.url))
    try:
        watched.page.goto(origin)
        check(redis_url, None)
    finally:
        watched.close()
    paths = [url.removeprefix(door.url) for url in asked if url.startswith(door.url)]
    assert sorted(paths) == PATHS[strategy]
