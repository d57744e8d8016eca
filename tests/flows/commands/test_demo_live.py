"""The whole demo as a person has it: both addresses in a real Chromium, its end, and what goes wrong."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.pages import PATIENCE_S, Watched

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow

ANY_PORTS = {
    "PENSTOCK_STOREFRONT__LISTEN": "127.0.0.1:0",
    "PENSTOCK_SERVING__LISTEN": "127.0.0.1:0",
}


class Demo:
    """A demo in a process of its own, from its two addresses on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flows", "demo", "--events", "3000"],
            env={**os.environ, **ANY_PORTS, "TMPDIR": str(folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said = ""
        assert self.process.stdout
        for line in self.process.stdout:
            self.said += line
            if line.startswith("Ctrl-C"):
                break
        self.shop, self.marketers = re.findall(r"http://\S+", self.said)

    def pids(self) -> set[int]:
        """The processes that work for it: Redis and its guard, the flow."""
        return {
            int(path.parent.name)
            for path in Path("/proc").glob("[0-9]*/cmdline")
            if str(self.folder).encode() in _content(path)
        }

    def end(self, number: signal.Signals) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, out, err


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has ended meanwhile
        return b""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    demo = Demo(tmp_path_factory.mktemp("demo"))
    yield demo
    assert demo.pids()
    code, out, err = demo.end(signal.SIGINT)
    assert (code, err) == (0, "")
    assert re.search(r"^events    [\d,]+ in .*\naccepted  ", out, re.MULTILINE)
    assert demo.pids() == set()
    assert list(demo.folder.iterdir()) == []


def test_a_person_clicks_buys_and_finds_themselves_on_the_other_side(
    demo: Demo, browser: Browser
) -> None:
    person = Watched(browser)
    page = person.page
    page.goto(demo.shop)
    page.get_by_text("popular right now").first.wait_for()
    assert page.locator(".list h2").inner_text() == "Popular in the shop"
    page.get_by_role("navigation").get_by_role("link", name="Kitchen").click()
    names = page.locator("section:not(.list) .card .name").all_inner_texts()
    looked_at = [name for name in names if name.endswith("mug")][:3]
    followed_s = []
    for name in looked_at:
        page.locator("section:not(.list) .card").filter(
            has=page.get_by_text(name, exact=True)
        ).first.click()
        page.wait_for_selector("body[data-followed]")
        followed_s.append(float(page.get_attribute("body", "data-followed") or ""))
        assert page.locator(".list h2").first.inner_text() == "For you"
        page.go_back()
    print("own list after", followed_s, "s")
    page.goto(demo.shop)
    page.locator(".list .why").get_by_text(f"because you looked at {looked_at[2]}").first.wait_for()
    page.locator(".list .card").first.click()
    page.get_by_role("button", name="Put into cart").wait_for()
    bought, item = page.locator("h1").inner_text(), page.url.rpartition("/")[2]
    page.get_by_role("button", name="Put into cart").click()
    page.get_by_role("link", name="Checkout").click()
    page.get_by_role("button", name="Buy").click()
    page.get_by_text("Your order is in your profile").wait_for()
    with page.context.expect_page() as opening:
        page.get_by_role("link", name="How marketers see you").click()
    other_side = opening.value
    other_side.get_by_role("heading", name=re.compile("^v-")).wait_for(timeout=PATIENCE_S * 1000)
    assert other_side.url.startswith(f"{demo.marketers}/#/shopper/v-")
    timeline = other_side.locator(".card", has=other_side.get_by_role("heading", name="Timeline"))
    for done in ("Bought", "Put in cart", "Viewed"):
        timeline.get_by_text(f"{done} {item}", exact=True).first.wait_for()
    other_side.locator(".belongs").get_by_role("link", name="First order this week").wait_for()
    other_side.locator(".offer").get_by_text(f"because you bought {bought}").first.wait_for()
    person.close()
    assert person.complaints == []


def test_a_refusal_empties_the_profile_and_the_lists_are_those_of_everybody(
    demo: Demo, browser: Browser
) -> None:
    person = Watched(browser)
    page = person.page
    page.goto(f"{demo.shop}/product/lamp-0000")
    page.wait_for_selector("body[data-followed]")
    page.get_by_role("switch", name="Personal lists").click()
    page.get_by_text("Nothing is sent of what you do").wait_for()
    page.goto(demo.shop)
    page.get_by_text("popular right now").first.wait_for()
    assert page.locator(".list h2").inner_text() == "Popular in the shop"
    page.goto(f"{demo.shop}/me")
    page.get_by_text("Nobody is called that").wait_for()
    person.close()
    assert person.complaints == []


def test_visitors_keep_coming(demo: Demo, browser: Browser) -> None:
    watched = Watched(browser)
    watched.page.goto(f"{demo.marketers}/#/shoppers")
    first = watched.page.locator(".people a").first
    first.wait_for()
    name = first.inner_text()
    watched.page.wait_for_function(
        "name => document.querySelector('.people a').innerText != name", arg=name
    )
    watched.close()


def test_a_second_demo_on_taken_ports_says_what_to_do(demo: Demo, tmp_path: Path) -> None:
    taken = demo.shop.removeprefix("http://")
    again = subprocess.run(
        [sys.executable, "-m", "flows", "demo", "--set", f"storefront.listen={taken}"],
        env={**os.environ, **ANY_PORTS, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 2
    assert again.stderr == (
        f"penstock: storefront.listen {taken}: Address already in use: stop what runs there, perhaps "
        "another demo, or take two free ports: PENSTOCK_STOREFRONT__LISTEN=127.0.0.1:0 "
        "PENSTOCK_SERVING__LISTEN=127.0.0.1:0 make demo\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_demo_whose_flow_ends_says_why(tmp_path: Path) -> None:
    demo = Demo(tmp_path)
    (flow,) = (
        pid for pid in demo.pids() if b"--source" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )
    os.kill(flow, signal.SIGTERM)
    _, err = demo.process.communicate(timeout=PATIENCE_S)
    assert (demo.process.returncode, err) == (2, "penstock: the flow ended: it said nothing\n")
    assert demo.pids() == set()


def test_a_demo_that_is_stopped_while_it_starts_ends_at_once(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "flows", "demo"],
        env={**os.environ, **ANY_PORTS, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list(tmp_path.glob("*/demo/flow.log")):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, err) == (0, "")
    assert list(tmp_path.iterdir()) == []


def test_a_demo_that_is_killed_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    demo = Demo(tmp_path)
    demo.end(signal.SIGKILL)
    deadline_s = time.monotonic() + PATIENCE_S
    while demo.pids():
        assert time.monotonic() < deadline_s
        time.sleep(0.1)
    assert list(tmp_path.iterdir()) == []
