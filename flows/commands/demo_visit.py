"""A visit to the demo's shop without a browser: the requests of its pages, and when a list follows."""

from __future__ import annotations

import http.client
import json
import time
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from serving.shop.catalogue import ShopCatalogue

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event as Flag

CLICKS = 3
PAUSE_S = 0.02
PATIENCE_S = 30.0
TIMEOUT_S = 10.0


class ShopVisit(NamedTuple):
    """What came of a visit: events that the collector took, and whether an own list followed them."""

    events: int
    is_followed: bool
    text: str


def visit_shop(url: str, key: str, stop: Flag, patience_s: float = PATIENCE_S) -> ShopVisit:
    """Open the shop, look at some things of one kind, and wait for a list of one's own."""
    browser = _Browser(url, key)
    try:
        return _visit(browser, stop, patience_s)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return ShopVisit(browser.accepted, is_followed=False, text=f"visit     failed: {error}")


def _visit(browser: _Browser, stop: Flag, patience_s: float) -> ShopVisit:
    browser.request("GET", "/")
    # A server that has just begun may be slow: it answers without items.
    before = browser.wait_for_list(lambda found: found["items"], stop, patience_s)
    if before is None:
        return _without_list(browser, "anything in the shop's list", stop, patience_s)
    looked_at = ShopCatalogue().popular(CLICKS + 1, beside=before["items"][0]["id"])[:CLICKS]
    clicked_s = time.monotonic()
    for item in looked_at:
        browser.request("GET", f"/product/{item.item_id}")
        browser.send({"type": "item_view", "items": [{"item_id": item.item_id}]})
    after = browser.wait_for_list(
        lambda found: found["place"] == "own" and found["items"], stop, patience_s
    )
    seconds = time.monotonic() - clicked_s
    if after is None:
        return _without_list(browser, f"a list of its own after {CLICKS} clicks", stop, patience_s)
    first = after["items"][0]
    name = (first.get("card") or {}).get("name") or first["id"]
    text = (
        f"visit     {CLICKS} clicks through the collector; a list of the visitor's own {seconds:.2f} s "
        f"after the first: {name}, {first['why']}"
    )
    return ShopVisit(browser.accepted, is_followed=True, text=text)


def _without_list(browser: _Browser, wanted: str, stop: Flag, patience_s: float) -> ShopVisit:
    waited = "until it was stopped" if stop.is_set() else f"for {patience_s:.0f} s"
    text = f"visit     waited {waited} for {wanted}"
    return ShopVisit(browser.accepted, is_followed=False, text=text)


class _Browser:
    """Requests with the cookies that came before."""

    def __init__(self, url: str, key: str) -> None:
        self._host = urlsplit(url).netloc
        self._key = key
        self._cookie = ""
        self.accepted = 0
        """Events that the collector took."""

    def home_list(self) -> Any:
        """The list of the first page."""
        return json.loads(self.request("GET", f"/v1/lists/home?key={self._key}"))

    def wait_for_list(
        self, is_wanted: Callable[[Any], object], stop: Flag, patience_s: float
    ) -> Any:
        """The list as soon as it is as wanted; None if that takes too long, or is stopped."""
        deadline_s = time.monotonic() + patience_s
        while not is_wanted(found := self.home_list()):
            if time.monotonic() > deadline_s or stop.wait(PAUSE_S):
                return None
        return found

    def send(self, event: dict[str, Any]) -> None:
        """Send an event, as the snippet does."""
        numbered = {"event_id": f"visit-{self.accepted}", "event_ts": time.time_ns() // 1_000_000}
        body = json.dumps([{**numbered, **event}]).encode()
        answer = json.loads(self.request("POST", f"/v1/events?key={self._key}", body))
        self.accepted += answer["accepted"]

    def request(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """The body of the answer. Raises OSError where there is none, or the shop refuses."""
        connection = http.client.HTTPConnection(self._host, timeout=TIMEOUT_S)
        try:
            connection.request(method, path, body, {"cookie": self._cookie})
            answer = connection.getresponse()
            self._cookie = answer.headers.get("set-cookie", self._cookie).partition(";")[0]
            content = answer.read()
        finally:
            connection.close()
        if answer.status >= 400:
            raise OSError(f"{method} {path}: {answer.status} {content[:200].decode()}")
        return content
