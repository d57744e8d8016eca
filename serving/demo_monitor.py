"""What is going on, one frame after the other, from Redis alone: figures, segments, one list."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from serving.explain import explained

if TYPE_CHECKING:
    from serving.explain import Shown
    from serving.reader import Segment, Storefront

RATE_S = 4.0
"""A rate is over the frames of so many seconds."""
STILL_S_MAX = 4.0
"""A shopper who does nothing for so long is left for one who does."""
CANDIDATES_A_SEGMENT = 3


class Watched(NamedTuple):
    """The shopper that is followed, the running session, the list, and the items new in it."""

    shopper: str
    session: dict[str, str]
    items: list[Shown]
    fresh: set[str]


class Frame(NamedTuple):
    """One look at everything. `shop_ms` is event time."""

    events: int
    events_per_s: float
    active_sessions: int
    shoppers: int
    shop_ms: int
    segments: list[Segment]
    watched: Watched | None


class Watch:
    """Looks at a running flow; remembers what it saw, for rates and for what is new."""

    def __init__(self, shop: Storefront) -> None:
        self._shop = shop
        self._seen: deque[tuple[float, int]] = deque()
        self._followed: str | None = None
        self._last_ms = ""
        self._moved_s = 0.0
        self._before: set[str] = set()

    def frame(self, now_s: float) -> Frame:
        """Look, at a moment of a clock that never goes back (s)."""
        counted = {name: int(text) for name, text in self._shop.figures().items() if text.isdigit()}
        events = counted.get("events", 0)
        self._seen.append((now_s, events))
        while len(self._seen) > 2 and now_s - self._seen[0][0] > RATE_S:
            self._seen.popleft()
        first_s, first_events = self._seen[0]
        passed_s = now_s - first_s
        segments = self._shop.segments()
        return Frame(
            events=events,
            events_per_s=(events - first_events) / passed_s if passed_s else 0.0,
            active_sessions=counted.get("sessions_opened", 0) - counted.get("sessions_closed", 0),
            shoppers=counted.get("shoppers", 0),
            shop_ms=counted.get("watermark_ms", 0),
            segments=segments,
            watched=self._watch(segments, now_s),
        )

    def _watch(self, segments: list[Segment], now_s: float) -> Watched | None:
        session = self._shop.session(self._followed) if self._followed else {}
        if session.get("last_ms", "") != self._last_ms:
            self._last_ms, self._moved_s = session.get("last_ms", ""), now_s
        if not session or now_s - self._moved_s > STILL_S_MAX:
            self._followed, session = self._somebody(segments)
            self._last_ms, self._moved_s = session.get("last_ms", ""), now_s
            self._before = set()
        if self._followed is None:
            return None
        top = self._shop.top(self._followed)
        items = explained(self._shop, top.entries) if top else []
        before, self._before = self._before, {one.item for one in items}
        return Watched(self._followed, session, items, self._before - before if before else set())

    def _somebody(self, segments: list[Segment]) -> tuple[str | None, dict[str, str]]:
        """Who, of those that came into a segment last, did something last."""
        sessions = {
            shopper: self._shop.session(shopper)
            for segment in segments
            for shopper in self._shop.newest_members(segment.sid, CANDIDATES_A_SEGMENT)
        }
        here = {shopper: session for shopper, session in sessions.items() if session}
        if not here:
            return None, {}
        shopper = max(here, key=lambda name: (int(here[name]["last_ms"]), name))
        return shopper, here[shopper]
