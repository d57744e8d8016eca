"""Watches a running flow through Redis for the demo: figures, segments and the list of one shopper."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from serving.explain import explain_entries

if TYPE_CHECKING:
    from serving.explain import ExplainedItem
    from serving.reader import SegmentSize, Storefront

RATE_WINDOW_S = 4.0
"""Seconds over which the event rate is computed."""
IDLE_S_MAX = 4.0
"""A shopper who is idle for so long is replaced by an active one."""
CANDIDATES_PER_SEGMENT = 3


class FollowedShopper(NamedTuple):
    """The shopper that is followed: the running session, the list, and the items that are new in it."""

    shopper: str
    session: dict[str, str]
    items: list[ExplainedItem]
    new_items: set[str]


class Frame(NamedTuple):
    """Everything that was read at one moment."""

    events: int
    events_per_s: float
    active_sessions: int
    shoppers: int
    segments: list[SegmentSize]
    followed: FollowedShopper | None


class DemoMonitor:
    """Reads frames; stores the previous ones to compute rates and new items."""

    def __init__(self, shop: Storefront) -> None:
        self._shop = shop
        self._event_counts: deque[tuple[float, int]] = deque()
        self._shopper: str | None = None
        self._last_ms = ""
        self._active_s = 0.0
        self._previous_items: set[str] = set()

    def read_frame(self, now_s: float) -> Frame:
        """Read a frame; `now_s` is the time of a monotonic clock."""
        counters = {
            name: int(text) for name, text in self._shop.counters().items() if text.isdigit()
        }
        events = counters.get("events", 0)
        self._event_counts.append((now_s, events))
        while len(self._event_counts) > 2 and now_s - self._event_counts[0][0] > RATE_WINDOW_S:
            self._event_counts.popleft()
        first_s, first_events = self._event_counts[0]
        elapsed_s = now_s - first_s
        segments = self._shop.segments()
        return Frame(
            events=events,
            events_per_s=(events - first_events) / elapsed_s if elapsed_s else 0.0,
            active_sessions=counters.get("sessions_opened", 0) - counters.get("sessions_closed", 0),
            shoppers=counters.get("shoppers", 0),
            segments=segments,
            followed=self._follow_shopper(segments, now_s),
        )

    def _follow_shopper(self, segments: list[SegmentSize], now_s: float) -> FollowedShopper | None:
        session = self._shop.session(self._shopper) if self._shopper else {}
        if session.get("last_ms", "") != self._last_ms:
            self._last_ms, self._active_s = session.get("last_ms", ""), now_s
        if not session or now_s - self._active_s > IDLE_S_MAX:
            self._shopper, session = self._pick_shopper(segments)
            self._last_ms, self._active_s = session.get("last_ms", ""), now_s
            self._previous_items = set()
        if self._shopper is None:
            return None
        top = self._shop.top(self._shopper)
        items = explain_entries(self._shop, top.entries) if top else []
        previous, self._previous_items = self._previous_items, {one.item for one in items}
        return FollowedShopper(
            self._shopper, session, items, self._previous_items - previous if previous else set()
        )

    def _pick_shopper(self, segments: list[SegmentSize]) -> tuple[str | None, dict[str, str]]:
        """Pick the most recently active shopper among the newest members of each segment."""
        sessions = {
            shopper: self._shop.session(shopper)
            for segment in segments
            for shopper in self._shop.newest_members(segment.sid, CANDIDATES_PER_SEGMENT)
        }
        active = {shopper: session for shopper, session in sessions.items() if session}
        if not active:
            return None, {}
        shopper = max(active, key=lambda name: (int(active[name]["last_ms"]), name))
        return shopper, active[shopper]
