"""Pictures of every view of the page, from the demo in a real browser: `make screenshots`."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from playwright.sync_api import sync_playwright

from state import keys
from state.store import Store
from tests.pages import chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser

LOOKS = (("wide", 1440, 1000, "light"), ("narrow", 375, 1000, "dark"))
BYTES_MAX = 150_000
COLOURS = 128
WARM_UP_S = 12


def main(folder: Path) -> None:
    """Start the demo, look at it, and write a picture of each view in each look."""
    folder.mkdir(parents=True, exist_ok=True)
    demo = subprocess.Popen(
        [sys.executable, "-m", "flows", "demo"], stdout=subprocess.PIPE, text=True
    )
    try:
        url, redis_url = _addresses(demo)
        time.sleep(WARM_UP_S)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium())
            for look, width, height, theme in LOOKS:
                for name, view in _views(redis_url).items():
                    path = folder / f"{name}-{look}.png"
                    _shoot(browser, f"{url}/#/{view}", path, width, height, theme)
                    assert path.stat().st_size < BYTES_MAX, path
                    print(path, path.stat().st_size, flush=True)
            browser.close()
    finally:
        demo.terminate()
        demo.communicate()


def _addresses(demo: subprocess.Popen[str]) -> tuple[str, str]:
    """Where the page and its Redis are."""
    said = ""
    assert demo.stdout
    for line in demo.stdout:
        said += line
        page, redis = re.search(r"http://\S+", said), re.search(r"unix://\S+", said)
        if page and redis:
            return page[0], redis[0]
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


def _shoot(browser: Browser, address: str, path: Path, width: int, height: int, theme: str) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if theme == "dark" else "light",
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector("main .card")
    page.wait_for_selector(".state.live")
    page.wait_for_timeout(2500)
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        picture.convert("RGB").quantize(COLOURS).save(path, optimize=True)
    context.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
