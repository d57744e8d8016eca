"""The dashboard in a real Chromium: correct values, recovery after restarts, accessibility."""

from __future__ import annotations

import json
import re
import threading
import time
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe

from operators.segments.changes import ChangeLog
from serving.dashboard.server import Server
from state import keys
from state.changes import Change
from state.store import Store
from tests.live_runs import Live
from tests.pages import Answer, Watched, fill, served, settings
from tests.streams import arguments

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from flows.process.embedded_redis import EmbeddedRedis
    from tests.kafka_broker import AnyBroker

VIEWS = ("", "segments", "segment/{segment}", "shoppers", "shopper/{shopper}", "quality")
WIDTHS = (375, 1440)


class Shop:
    """A Redis that holds a shop, a server of its page, and somebody in it."""

    def __init__(self, redis_url: str, url: str) -> None:
        self.url = url
        self.client = Store(redis_url, timeout_ms=2000, patience_s=0).client
        sids = [sid.decode() for sid in self.client.hkeys(keys.registry_key())]
        self.segment = max(sids, key=lambda sid: int(self.client.zcard(keys.members_key(sid))))
        self.members = keys.members_key(self.segment)
        self.shopper = self.client.zrevrange(self.members, 0, 0)[0].decode()

    def view(self, view: str) -> str:
        """The address of a view."""
        return f"{self.url}/#/{view.format(shopper=self.shopper, segment=self.segment)}"


@pytest.fixture(scope="module")
def shop(redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    redis_server.send_command("FLUSHALL")
    fill(redis_server.url, tmp_path_factory.mktemp("letters"))
    with served(redis_server.url) as url:
        yield Shop(redis_server.url, url)


def heading(page: Page) -> str:
    return page.locator("h1").inner_text()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_serious_problem_on_any_view(shop: Shop, opened: Watched, theme: str) -> None:
    page = opened.page
    page.emulate_media(color_scheme="dark" if theme == "dark" else "light", reduced_motion="reduce")
    faults = {}
    for view in VIEWS:
        page.goto(shop.view(view))
        page.wait_for_selector("main h1")
        page.wait_for_selector("main .card")
        found = Axe().run(page).response["violations"]
        serious = [one for one in found if one["impact"] in ("serious", "critical")]
        if serious:
            faults[view] = [(one["id"], one["nodes"][0]["html"][:120]) for one in serious]
    assert faults == {}


@pytest.mark.parametrize("width", WIDTHS)
def test_no_view_is_wider_than_the_window(shop: Shop, opened: Watched, width: int) -> None:
    page = opened.page
    page.set_viewport_size({"width": width, "height": 800})
    wide = {}
    for view in VIEWS:
        page.goto(shop.view(view))
        page.wait_for_selector("main .card")
        wide[view] = page.evaluate("document.documentElement.scrollWidth")
    assert {view: px for view, px in wide.items() if px > width} == {}


def test_a_size_is_counted_in_redis_and_follows_it(shop: Shop, opened: Watched) -> None:
    page, key = opened.page, shop.members
    page.goto(shop.view("segment/{segment}"))
    size = page.locator(".tile .value").first
    size.wait_for()
    assert int(size.inner_text().replace(",", "")) == shop.client.zcard(key)
    shop.client.zadd(key, {f"guest {n}": 9e12 for n in range(25)})
    count = shop.client.zcard(key)
    page.wait_for_function(
        "n => document.querySelector('.tile .value').innerText.replace(',', '') == n", arg=count
    )
    page.wait_for_selector(".members tbody tr:first-child >> text=guest")
    shop.client.zrem(key, *(f"guest {n}" for n in range(25)))


def test_member_pages_link_to_a_shopper_and_back(shop: Shop, opened: Watched) -> None:
    page = opened.page
    page.goto(shop.view("segment/{segment}"))
    members = shop.client.zrevrange(shop.members, 0, 39)
    page.get_by_role("button", name="Older").click()
    page.wait_for_function("() => document.querySelector('.pager').innerText.includes('21')")
    link = page.get_by_role("link", name=members[20].decode(), exact=True)
    link.click()
    page.wait_for_selector("text=Would be shown now")
    assert heading(page) == members[20].decode()
    within = shop.client.hlen(keys.segments_key(members[20].decode()))
    assert page.locator(".belongs li").count() == within > 0
    page.go_back()
    page.wait_for_selector("text=Size over time")


def test_segments_are_sorted_filtered_and_searched(shop: Shop, opened: Watched) -> None:
    page = opened.page
    page.goto(shop.view("segments"))
    rows = page.locator(".segments tbody tr")
    rows.first.wait_for()
    sizes = [int(text) for text in page.locator(".c-size .n").all_inner_texts()]
    assert sizes == sorted(sizes, reverse=True)
    worth = dict(
        zip(sizes, page.locator(".segments td.c-conversion_1d").all_inner_texts(), strict=True)
    )
    assert "%" not in worth[0]  # of nobody there is no share
    assert worth[sizes[0]].endswith(" %")
    page.get_by_role("button", name="Segment", exact=True).click()
    names = page.locator(".row-link").all_inner_texts()
    assert names == sorted(names, key=str.lower)
    assert page.locator("th[aria-sort=ascending]").inner_text().startswith("Segment")
    page.get_by_label("Search segments").fill(names[0].lower())
    page.wait_for_function("() => document.querySelectorAll('.segments tbody tr').length == 1")
    page.get_by_label("Search segments").fill("nothing is called that")
    page.get_by_role("button", name="show all").click()
    page.wait_for_function(
        f"document.querySelectorAll('.segments tbody tr').length == {len(names)}"
    )


def test_a_segment_without_differences_says_so(shop: Shop, opened: Watched) -> None:
    page = opened.page
    key = keys.lifts_key(shop.segment)
    shop.client.set(key, '{"at":1,"categories":[],"items":[]}')
    page.goto(shop.view(f"segment/{shop.segment}"))
    page.get_by_text("Nothing stands out").wait_for()
    shop.client.delete(key)
    page.get_by_text("Not known yet").wait_for()


def test_a_chart_ends_at_the_current_value(shop: Shop, opened: Watched) -> None:
    page = opened.page
    page.goto(shop.view("segment/cluster-0"))
    size = page.locator(".tile .value").first.inner_text()
    page.get_by_label(f"Shoppers in the segment over hour, now {size}").wait_for()
    page.get_by_text(re.compile("across: (more|less) .* up: (more|less) ")).wait_for()


def test_two_segments_with_one_name_are_distinguished(shop: Shop, opened: Watched) -> None:
    page = opened.page
    page.goto(shop.view("segment/rfm-new"))
    page.locator("h1", has_text=re.compile("^New$")).wait_for()
    member = shop.client.zrevrange(keys.members_key("lifecycle-new"), 0, 0)[0].decode()
    page.goto(shop.view(f"shopper/{member}"))
    page.get_by_text("entered New (Lifecycle)").first.wait_for()


def test_changes_of_every_kind_have_a_text(shop: Shop, opened: Watched) -> None:
    page = opened.page
    page.goto(shop.view(""))
    page.get_by_text("Last changes").wait_for()
    newest = int(shop.client.hget(keys.meta_key(), "watermark_ms")) + 10**9
    log = ChangeLog(1000)
    for n, (change, said) in enumerate(
        (
            (Change("enter", "zoe", shop.segment, 0), "zoe entered"),
            (Change("leave", "zoe", shop.segment, 0), "zoe left"),
            (Change("stage", "zoe", "lifecycle-dormant", 0), "zoe went on to Dormant"),
            (Change("trigger", "zoe", "back-in-stock", 0, item="mug-1"), "mug-1 is back in stock"),
            (Change("trigger", "zoe", "price-drop", 0, item="mug-2"), "mug-2 costs less"),
            (Change("merge", "zoe", "ann", 0), "zoe became ann"),
            (Change("erase", "zoe", "", 0), "zoe was erased"),
        )
    ):
        for write in log.writes([change._replace(at_ms=newest + n)]):
            shop.client.execute_command(*arguments(write))
        page.wait_for_function(
            "said => document.querySelector('main').innerText.replace(/\\s+/g, ' ').includes(said)",
            arg=said,
        )


def test_the_freshness_is_that_of_the_slowest_process_that_makes_lists(
    shop: Shop, opened: Watched
) -> None:
    page, at_ms = opened.page, time.time_ns() // 1_000_000
    for worker, fields in enumerate(
        (
            {"freshness_p50_ms": 20, "freshness_p99_ms": 90},
            {},
            {"freshness_p50_ms": 30, "freshness_p99_ms": 2000},
        )
    ):
        beat = {"at": at_ms, "host": "h", **fields}
        shop.client.set(keys.worker_key(worker), json.dumps(beat), ex=60)
    page.goto(shop.view(""))
    page.get_by_text("30 ms · 99 % in 2 s", exact=True).wait_for()
    for worker in range(3):
        shop.client.delete(keys.worker_key(worker))
    page.get_by_text("30 ms · 99 % in 2 s", exact=True).wait_for(state="detached")


def test_a_retired_segment_is_found_by_search(shop: Shop, opened: Watched) -> None:
    page = opened.page
    gone = '{"kind":"rule","version":1,"status":"retired","name":"Old campaign"}'
    shop.client.hset(keys.registry_key(), "old-campaign", gone)
    page.goto(shop.view("segments"))
    page.wait_for_selector("table.segments")
    assert page.get_by_text("Old campaign").count() == 0
    page.get_by_label("Search segments").fill("retired")
    page.get_by_text("Old campaign").wait_for()
    shop.client.hdel(keys.registry_key(), "old-campaign")


def test_the_page_works_with_the_keyboard_alone(shop: Shop, opened: Watched) -> None:
    page = opened.page
    page.goto(shop.view(""))
    page.wait_for_selector("main .card")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the figures"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.get_by_role("link", name="Segments", exact=True).focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("table.segments")
    page.locator(".row-link").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Size over time")
    assert page.evaluate("document.activeElement.id") == "main"


def test_pause_stops_updates_and_shows_since_when(shop: Shop, opened: Watched) -> None:
    page, key = opened.page, shop.members
    page.goto(shop.view("segment/{segment}"))
    size = page.locator(".tile .value").first
    before = size.inner_text()
    page.get_by_role("button", name="Pause updates").click()
    page.wait_for_selector("text=Paused at")
    shop.client.zadd(key, {"late guest": 9e12})
    page.wait_for_timeout(800)
    assert size.inner_text() == before
    page.get_by_role("button", name="Pause updates").click()
    page.wait_for_function(f"() => document.querySelector('.tile .value').innerText != '{before}'")
    shop.client.zrem(key, "late guest")


def test_an_unknown_shopper_is_shown_as_unknown(shop: Shop, opened: Watched) -> None:
    page = opened.page
    page.goto(shop.view("shoppers"))
    page.get_by_label("User id or anonymous id").fill("né {w}:50% 🛒/..")
    page.get_by_role("button", name="Open").click()
    page.wait_for_selector("text=Nobody is called that")
    assert heading(page) == "né {w}:50% 🛒/.."


def test_ids_and_names_are_shown_as_text_and_never_as_markup(shop: Shop, opened: Watched) -> None:
    page, evil = opened.page, "<img src=x onerror=alert(1)>"
    shop.client.zadd(shop.members, {evil: 9e12})
    page.goto(shop.view("segment/{segment}"))
    page.get_by_role("link", name=evil).wait_for()
    assert page.locator("main img").count() == 0
    shop.client.zrem(shop.members, evil)


def test_an_empty_redis_shows_how_to_start(redis_url: str, browser: Browser) -> None:
    with served(redis_url) as url:
        watched = Watched(browser)
        watched.page.goto(url)
        watched.page.wait_for_selector("text=penstock demo")
        watched.page.goto(f"{url}/#/segments")
        watched.page.wait_for_selector("text=No segments yet")
        watched.page.goto(f"{url}/#/segment/none")
        watched.page.wait_for_selector("text=No such segment")
        watched.close()
        assert watched.complaints == []


def test_an_open_page_recovers_after_redis_and_its_server_restart(
    tmp_path_factory: pytest.TempPathFactory, browser: Browser
) -> None:
    from flows.process.embedded_redis import EmbeddedRedis

    with EmbeddedRedis() as redis:
        fill(redis.url, tmp_path_factory.mktemp("letters"), events=3000)
        server, stop = Server(settings(), redis.url), threading.Event()
        thread = threading.Thread(target=server.serve, args=(stop,))
        thread.start()
        watched = Watched(browser)
        page = watched.page
        page.goto(f"{server.url}/#/segments")
        page.wait_for_selector("table.segments")
        redis.stop()
        page.wait_for_selector("text=No answer from Redis")
        assert page.locator("table.segments").count() == 1, "the last values stay"
        page.wait_for_selector("text=does not answer: start it")
        redis.start()
        page.wait_for_selector("text=No segments yet")
        fill(redis.url, tmp_path_factory.mktemp("letters"), events=3000)
        page.wait_for_selector("table.segments")
        stop.set()
        thread.join()
        page.wait_for_selector("text=Connection lost")
        assert page.locator("table.segments").count() == 1
        again = settings(listen=server.url.removeprefix("http://"))
        stop.clear()
        thread = threading.Thread(target=Server(again, redis.url).serve, args=(stop,))
        thread.start()
        page.wait_for_selector(".state.live")
        stop.set()
        thread.join()
        watched.close()
    refused = [one for one in watched.complaints if not re.search(r"ERR_\w+|503", one)]
    assert refused == []


WORKERS_UP = """said => [...document.querySelectorAll('.facts div')]
    .find((row) => row.innerText.startsWith('Workers up'))?.querySelector('dd').innerText == said"""
SIZE = "said => document.querySelector('.tile .value')?.innerText.replace(',', '') == said"
NOBODY_UP = "\u2013"


@pytest.mark.slow
def test_an_open_page_recovers_after_a_worker_is_killed(
    kafka_broker: AnyBroker, redis_url: str, tmp_path: Path, browser: Browser
) -> None:
    """The last values stay, the missing worker is reported, and counts continue with the next one."""
    key = keys.members_key("lifecycle-new")
    client = Store(redis_url, timeout_ms=2000, patience_s=0).client
    with Live(kafka_broker, "page", redis_url, tmp_path) as live, served(redis_url) as url:
        live.send(1500)
        run = live.start()
        run.until(live.caught_up)
        shop, segment = Watched(browser), Watched(browser)
        shop.page.goto(f"{url}/#/")
        segment.page.goto(f"{url}/#/segment/lifecycle-new")
        shop.page.wait_for_function(WORKERS_UP, arg="1")
        before = client.zcard(key)
        segment.page.wait_for_function(SIZE, arg=str(before))
        run.kill()
        live.send(1500)
        shop.page.wait_for_function(WORKERS_UP, arg=NOBODY_UP, timeout=40_000)
        assert segment.page.evaluate(SIZE, str(before))
        again = live.start()
        again.until(live.caught_up)
        shop.page.wait_for_function(WORKERS_UP, arg="1")
        after = client.zcard(key)
        assert after > before
        segment.page.wait_for_function(SIZE, arg=str(after))
        assert again.stop()[0] == 0
        shop.close()
        segment.close()
    assert shop.complaints == segment.complaints == []


def test_the_login_form_opens_the_page(
    redis_url: str, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_DASHBOARD_TOKEN", "a token of some length")
    with served(redis_url) as url:
        watched = Watched(browser)
        page = watched.page
        page.goto(f"{url}/#/segments")
        page.get_by_label("Token").fill("not the token")
        page.get_by_role("button", name="Log in").click()
        page.wait_for_selector("text=That is not the token")
        page.get_by_label("Token").fill("a token of some length")
        page.get_by_role("button", name="Log in").click()
        page.wait_for_selector("text=No events yet")
        assert "token" not in page.url
        watched.close()
        assert Answer(url, "/api/hello").status == 401
