"""The demo's shop in a real Chromium, on lists that a flow has written: what it shows, what it sends."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from axe_playwright_python.sync_playwright import Axe

from flows.commands.demo_traffic import shop_events
from flows.runtime.replay import replay_recordings
from serving.collector.redis_log import RedisEventLog
from serving.http.access import KEY_VARIABLE, SECRET_VARIABLE
from serving.shop.catalogue import DEPARTMENTS, ShopCatalogue
from serving.shop.routes import ShopRoutes
from state import keys
from state.config import Settings, Source
from state.store import AsyncAppender, Store
from tests.pages import Watched
from tests.serving.storefront.servers import Door, open_door

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

    from flows.process.embedded_redis import EmbeddedRedis
    from flows.sources.recorded import Records

KEY, SECRET = "pk-public", "a-secret-of-at-least-24-characters"
EVENTS, NOW_MS = 6000, 1_795_262_400_000
MARKETERS = "http://127.0.0.1:1"
PATIENCE_S = 30
PATHS = ("/", "/category/kitchen", "/product/mug-0001", "/cart", "/checkout", "/thanks", "/me")
IN_CART = {"name": "shop_cart", "value": "mug-0002:1"}
REFUSED = {"name": "shop_consent", "value": "no"}


class Shop(Door):
    """The shop, and the events that its collector has taken."""

    def __init__(self, url: str, client: Any) -> None:
        super().__init__(url)
        self._client = client

    def events(self, *types: str) -> list[dict[str, Any]]:
        entries = self._client.xrange(keys.events_key(0))
        found = [json.loads(fields[b"e"]) for _, fields in entries]
        return [event for event in found if not types or event["type"] in types]

    def wait_for(self, *types: str) -> list[dict[str, Any]]:
        """The events of these types, as soon as there is one of each."""
        deadline_s = time.monotonic() + PATIENCE_S
        while {event["type"] for event in self.events(*types)} != set(types):
            assert time.monotonic() < deadline_s, self.events()
            time.sleep(0.05)
        return self.events(*types)

    def forget(self) -> None:
        self._client.delete(keys.events_key(0))


@pytest.fixture(scope="module")
def shop(redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder: Path = tmp_path_factory.mktemp("shop")
    redis_server.send_command("FLUSHALL")
    visits: dict[str, Records] = {"shop": lambda: islice(shop_events(EVENTS, NOW_MS), EVENTS)}
    settings = Settings(source=Source(batch_events=1024))
    letters = folder / "letters.jsonl"
    replay_recordings(visits, settings, redis_url=redis_server.url, dead_letters=letters)
    client = Store(redis_server.url, timeout_ms=5000, patience_s=0).client
    log = RedisEventLog(AsyncAppender(redis_server.url, timeout_ms=5000), 1)
    with open_door(
        redis_server.url,
        log,
        environment={KEY_VARIABLE: KEY, SECRET_VARIABLE: SECRET},
        pages=lambda access: ShopRoutes(access, KEY, MARKETERS).handlers(),
    ) as door:
        yield Shop(door.url, client)


@contextmanager
def person(browser: Browser, shop: Shop, *cookies: dict[str, str], **how: Any) -> Iterator[Any]:
    """A person's browser, which must not complain of anything."""
    shop.forget()
    watched = Watched(browser, **how)
    watched.page.context.add_cookies([{**cookie, "url": shop.url} for cookie in cookies])  # type: ignore[typeddict-item]
    yield watched.page
    watched.close()
    assert watched.complaints == []


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_and_no_page_is_wider_than_a_phone(
    browser: Browser, shop: Shop, theme: str
) -> None:
    found: dict[tuple[str, str], str] = {}
    wide: dict[str, int] = {}
    with person(browser, shop, IN_CART, color_scheme=theme, reduced_motion="reduce") as page:
        page.set_viewport_size({"width": 375, "height": 800})
        for path in (*PATHS, "/cart"):
            if path == "/me":
                page.context.clear_cookies()
            page.goto(f"{shop.url}{path}")
            page.wait_for_load_state("networkidle")
            violations = Axe().run(page).response["violations"]
            found |= {(path, one["id"]): one["nodes"][0]["html"][:150] for one in violations}
            width = page.evaluate("document.documentElement.scrollWidth")
            wide |= {path: width} if width > 375 else {}
    assert found == {}
    assert wide == {}


def test_a_page_shows_lists_of_the_flow_no_item_twice_and_does_not_move(
    browser: Browser, shop: Shop
) -> None:
    with person(browser, shop) as page:
        page.add_init_script(
            "window.moved = 0; new PerformanceObserver((all) => all.getEntries().forEach((one) => "
            "{ window.moved += one.value })).observe({ type: 'layout-shift', buffered: true })"
        )
        page.goto(f"{shop.url}/product/mug-0001")
        page.get_by_role("heading", name="Similar to this").wait_for()
        shown = page.locator(".list .card").evaluate_all("all => all.map((one) => one.pathname)")
        assert len(shown) == len(set(shown)) == 12
        assert "/product/mug-0001" not in shown
        assert page.locator(".list .why").first.inner_text() != ""
        assert page.evaluate("window.moved") < 0.01


def test_what_a_person_does_is_sent(browser: Browser, shop: Shop) -> None:
    with person(browser, shop) as page:
        page.goto(f"{shop.url}/category/kitchen")
        page.locator("section:not(.list) .card", has_text="Red mug").click()
        (view,) = shop.wait_for("item_view")
        page.get_by_role("button", name="Put into cart").click()
        (added,) = shop.wait_for("cart_add")
        page.get_by_role("link", name="Checkout").click()
        (started,) = shop.wait_for("checkout_start")
        page.get_by_role("button", name="Buy").click()
        page.get_by_role("heading", name="Thank you").wait_for()
        (bought,) = shop.wait_for("purchase")
        price = ShopCatalogue().by_id["mug-0001"].price
        assert view["items"] == added["items"] == started["items"] == bought["items"]
        assert (view["items"][0]["item_id"], view["items"][0]["price"]) == ("mug-0001", price)
        assert (bought["value"], bought["currency"]) == (price, "EUR")
        assert bought["order_id"].startswith("demo-")
        assert len({event["anonymous_id"] for event in shop.events()}) == 1
        assert page.get_by_role("link", name="Cart").inner_text() == "Cart"
        response = page.request.get(f"{shop.url}/me", max_redirects=0)
        assert response.headers["location"] == f"{MARKETERS}/#/shopper/{view['anonymous_id']}"


def test_what_leaves_the_cart_is_sent(browser: Browser, shop: Shop) -> None:
    with person(browser, shop, IN_CART) as page:
        page.goto(f"{shop.url}/cart")
        page.get_by_role("button", name="Remove").click()
        page.get_by_text("Nothing is in it yet").wait_for()
        (removed,) = shop.wait_for("cart_remove")
        assert removed["items"][0]["item_id"] == "mug-0002"


def test_with_consent_off_nothing_is_sent_and_lists_are_those_of_everybody(
    browser: Browser, shop: Shop
) -> None:
    with person(browser, shop) as page:
        page.goto(f"{shop.url}/product/mug-0001")
        shop.wait_for("item_view")
        page.get_by_role("switch", name="Personal lists").click()
        page.get_by_text("Nothing is sent of what you do").wait_for()
        (refusal,) = shop.wait_for("consent")
        assert refusal["consent"] == {"analytics": False, "personalization": False, "ads": False}
        page.wait_for_load_state("networkidle")
        shop.forget()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        for path in PATHS[:-1]:
            page.goto(f"{shop.url}{path}")
            page.wait_for_load_state("networkidle")
        lists = [url for url in asked if "/v1/lists/" in url]
        assert lists
        assert [url for url in lists if "audience=all" not in url] == []
        assert [url for url in asked if "/v1/events" in url] == []
        assert shop.events() == []
        page.goto(f"{shop.url}/")
        page.get_by_role("switch", name="Personal lists").click()
        page.get_by_text("Lists follow your clicks").wait_for()
        assert shop.wait_for("consent")[0]["consent"]["analytics"] is True


def test_without_javascript_a_person_can_buy_and_nothing_is_sent(
    browser: Browser, shop: Shop
) -> None:
    with person(browser, shop, java_script_enabled=False) as page:
        page.goto(shop.url)
        page.get_by_role("heading", name="Popular in the shop").wait_for()
        page.locator(".list .card").first.click()
        page.get_by_role("button", name="Put into cart").click()
        page.get_by_role("link", name="Checkout").click()
        page.get_by_role("button", name="Buy").click()
        page.get_by_role("heading", name="Thank you").wait_for()
        assert shop.events() == []


def test_every_department_has_pages_to_its_end(shop: Shop) -> None:
    for department in DEPARTMENTS:
        first = shop.get(f"/category/{department}?from=0").body
        last = shop.get(f"/category/{department}?from=96").body
        assert (b"?from=24" in first, b"?from=" in last) == (True, False)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/product/none", b"", 404),
        ("GET", "/category/none", b"", 404),
        ("GET", "/category/kitchen?from=99999", b"", 200),
        ("GET", "/category/kitchen?from=-1", b"", 200),
        ("GET", "/category/kitchen?from=9999", b"", 404),
        ("GET", "/pictures/none.svg", b"", 404),
        ("GET", "/shop/none", b"", 404),
        ("GET", "/checkout", b"", 303),
        ("POST", "/cart", b"item=none", 400),
        ("POST", "/cart", b"\xff" * 10, 400),
        ("POST", "/cart", b"x" * 5000, 413),
    ],
)
def test_wrong_requests_are_refused(
    shop: Shop, method: str, path: str, body: bytes, status: int
) -> None:
    answer = shop.send(method, path, body or None, {})
    assert answer.status == status


@pytest.mark.parametrize("back", ["//evil.example", "https://evil.example", "/\\evil.example", ""])
def test_a_form_leads_back_to_the_shop_only(shop: Shop, back: str) -> None:
    answer = shop.post("/consent", f"agree=true&back={back}".encode())
    assert (answer.status, answer.headers["location"]) == (303, "/")


@pytest.mark.parametrize(
    "cookie", ["x", "mug-0001:0", "mug-0001:99", "<b>:1", ",,:,", '"', "~" * 3000]
)
def test_a_cart_that_nobody_can_have_is_empty(shop: Shop, cookie: str) -> None:
    answer = shop.get("/cart", cookie=f"shop_cart={cookie}")
    assert b"Nothing is in it yet" in answer.body


def test_a_cart_is_bounded(shop: Shop) -> None:
    items = list(ShopCatalogue().by_id)
    lines = ",".join(f"{item}:9" for item in items[:60])
    full = shop.get("/cart", cookie=f"shop_cart={lines}")
    assert full.body.count(b"Remove<") == 20
    again = shop.post("/cart", f"item={items[0]}".encode(), cookie=f"shop_cart={items[0]}:9")
    assert again.headers["set-cookie"].startswith(f'shop_cart="{items[0]}:9"') or (
        again.headers["set-cookie"].startswith(f"shop_cart={items[0]}:9;")
    )


@pytest.mark.parametrize(
    ("back", "expected"),
    [
        ("/category/kitchen", "/category/kitchen"),
        ("/", "/"),
        ("//evil", "/"),
        ("//evil/category", "/"),
        ("//evil.example", "/"),
        ("///evil.example", "/"),
        ("/\\evil.example", "/"),
        ("\\\\evil.example", "/"),
        ("/\t/evil.example", "/"),
        ("https://evil.example", "/"),
        ("javascript:alert(1)", "/"),
    ],
)
def test_the_consent_switch_leads_back_to_this_shop_only(
    shop: Shop, back: str, expected: str
) -> None:
    form = urlencode({"back": back, "agree": "true"}).encode()
    answer = shop.post("/consent", form)
    assert (answer.status, answer.headers["location"]) == (303, expected)
