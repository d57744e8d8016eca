"""Pictures of the shop and of each view of the page, from the demo in a browser: `make screenshots`."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from playwright.sync_api import sync_playwright

from state import keys
from state.store import Store
from tests.pages import chromium

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

LOOKS = (("wide", 1440, 1000, "light"), ("narrow", 375, 1000, "dark"))
BYTES_MAX = 150_000
COLOURS = 128
WARM_UP_S = 12
LOOKED_AT = ("mug-0002", "teapot-0005", "mug-0005")


def main(folder: Path) -> None:
    """Start the demo, look at it, and write a picture of each view in each look."""
    folder.mkdir(parents=True, exist_ok=True)
    demo = subprocess.Popen(
        [sys.executable, "-m", "flows", "demo"], stdout=subprocess.PIPE, text=True
    )
    try:
        shop, url, redis_url = _addresses(demo)
        time.sleep(WARM_UP_S)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium())
            for look, width, height, theme in LOOKS:
                _shoot_shop(browser, shop, folder / f"shop-{look}.png", width, height, theme)
                for name, view in _views(redis_url).items():
                    path = folder / f"{name}-{look}.png"
                    _shoot(browser, f"{url}/#/{view}", path, width, height, theme)
            browser.close()
    finally:
        demo.terminate()
        demo.communicate()


def _addresses(demo: subprocess.Popen[str]) -> tuple[str, str, str]:
    """Where the shop, the page and their Redis are."""
    said = ""
    assert demo.stdout
    for line in demo.stdout:
        said += line
        pages, redis = re.findall(r"http://\S+", said), re.search(r"unix://\S+", said)
        if redis:
            return pages[0], pages[1], redis[0]
    raise SystemExit(said)


def _views(redis_url: str) -> dict[str, str]:
    """Every view, of the biggest segment and of a shopper who bought."""
    client = Store(redis_url, timeout_ms=2000, patience_s=0).client
    sizes = {sid.decode(): client.zcard(keys.members_key(sid.decode())) for sid in client.hkeys(keys.registry_key())}  # fmt: skip # noqa: E501
    biggest = max(sizes, key=lambda sid: sizes[sid])
    newest = [
        name.decode()
        for sid in sizes
        for name in client.zrevrange(keys.members_key(sid), 0, 30)
        if client.exists(keys.session_key(name.decode()))
    ]
    bought = {name: float(client.hget(keys.profile_key(name), "revenue") or 0) for name in newest}
    shopper = max(bought, key=lambda name: bought[name])
    return {
        "live": "",
        "segments": "segments",
        "segment": f"segment/{biggest}",
        "shoppers": "shoppers",
        "shopper": f"shopper/{shopper}",
        "quality": "quality",
    }


def _shoot_shop(
    browser: Browser, shop: str, path: Path, width: int, height: int, theme: str
) -> None:
    """The page of an item, as somebody sees it who has looked at some others before."""
    with _opened(browser, width, height, theme) as page:
        for item in LOOKED_AT:
            page.goto(f"{shop}/product/{item}")
            page.wait_for_selector("body[data-followed]")
        _save(page, path)


def _shoot(browser: Browser, address: str, path: Path, width: int, height: int, theme: str) -> None:
    with _opened(browser, width, height, theme) as page:
        page.goto(address)
        page.wait_for_selector("main .card")
        page.wait_for_selector(".state.live")
        _save(page, path)


@contextmanager
def _opened(browser: Browser, width: int, height: int, theme: str) -> Iterator[Page]:
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if theme == "dark" else "light",
        reduced_motion="reduce",
    )
    yield context.new_page()
    context.close()


def _save(page: Page, path: Path) -> None:
    page.wait_for_timeout(2500)
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        picture.convert("RGB").quantize(COLOURS).save(path, optimize=True)
    assert path.stat().st_size < BYTES_MAX, path
    print(path, path.stat().st_size, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
