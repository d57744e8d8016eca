"""The view of one shopper: profile, segments with their rules, list with reasons, timeline.

Values: `shopper` (id, asked), `profile`, `session`, `segments`, `offer`; `unknown` for an unknown
shopper. Tails: `events`, `changes`.
"""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

from serving.dashboard.document import ViewResult
from serving.dashboard.redis_values import texts
from serving.dashboard.streams import StreamFollower, parse_changes, parse_events
from serving.explain import explain
from serving.reader import Storefront
from state import keys
from state.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from serving.dashboard.streams import ChangeEntry
    from serving.explain import Explanation
    from state.store import AsyncReader

SLOW_INTERVAL_S = 2.0
"""Seconds between reads of values that also change without a click, such as a rewritten list."""
EVENTS_FIRST, CHANGES_FIRST = 500, 2000
"""Entries of the streams that are searched for the past of one shopper."""
TIMELINE_MAX = 200


class Explainer:
    """Reads what a storefront would read about a shopper, in a thread, one shopper at a time."""

    def __init__(self, redis_url: str, timeout_ms: int) -> None:
        self._store = Store(redis_url, timeout_ms=timeout_ms, patience_s=0)
        self._shop = Storefront(self._store)
        self._lock = threading.Lock()

    async def explain(self, some_id: str) -> Explanation | None:
        """Return everything that is known of an id. Raises StoreError."""
        return await asyncio.to_thread(self._explain, some_id)

    def _explain(self, some_id: str) -> Explanation | None:
        with self._lock, self._store.errors_as_user_errors():
            return explain(self._shop, some_id)

    def close(self) -> None:
        """Close the connections."""
        self._store.client.close()


class ShopperView:
    """Reads one shopper: new events at each tick, everything else when it changed or after a while."""

    def __init__(
        self,
        reader: AsyncReader,
        explainer: Explainer,
        some_id: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader = reader
        self._explainer = explainer
        self._requested_id = some_id
        self._clock = clock
        self._slow_read_s = float("-inf")
        self._last_activity: Any = None
        self._values: dict[str, Any] = {}
        self._shopper = ""
        self._needs_reset = True
        self._ids: set[str] = set()
        self._changes = self._events = StreamFollower([], first=0, limit=0)
        self._load_timeline(some_id)

    async def read(self) -> ViewResult:
        """Read. Raises StoreError."""
        try:
            return await self._read()
        except BaseException:
            # The Redis that answers next may be another one, without the entries read so far.
            self._load_timeline(self._shopper)
            raise

    async def _read(self) -> ViewResult:
        now_s = self._clock()
        commands = [*self._changes.commands(), *self._events.commands()]
        *replies, session, last_ms = await self._reader.read_many(
            [
                *commands,
                ("HGETALL", keys.session_key(self._shopper)),
                ("HGET", keys.profile_key(self._shopper), "last_ms"),
            ]
        )
        if (
            self._last_activity != (session, last_ms)
            or now_s - self._slow_read_s >= SLOW_INTERVAL_S
        ):
            self._slow_read_s, self._last_activity = now_s, (session, last_ms)
            if await self._update_explanation():
                return await self._read()
        new_changes, changes_emptied = self._changes.apply(replies[:2])
        new_events, events_emptied = self._events.apply(replies[2:])
        tails: dict[str, list[Any]] = {
            "changes": [one for one in parse_changes(new_changes) if self._belongs_to(one)],
            "events": [one for one in parse_events(new_events) if one[0] in self._ids],
        }
        is_reset, self._needs_reset = self._needs_reset or changes_emptied or events_emptied, False
        return ViewResult(self._values, tails, None, is_reset=is_reset)

    async def _update_explanation(self) -> bool:
        """Update the values; return whether the id now has another shopper, since it was merged."""
        explanation = await self._explainer.explain(self._requested_id)
        if explanation is None:
            self._values = {"unknown": self._requested_id}
            return False
        self._values = {
            "shopper": {"id": explanation.shopper, "asked": explanation.asked},
            "profile": explanation.profile,
            "session": explanation.session,
            "segments": await self._segments_with_rules(explanation),
            "offer": explanation.offer,
        }
        is_other_shopper = explanation.shopper != self._shopper
        if is_other_shopper:
            self._load_timeline(explanation.shopper)
        return is_other_shopper

    async def _segments_with_rules(self, explanation: Explanation) -> list[dict[str, Any]]:
        """Return the segments with their rules as text, the one entered last first."""
        definitions = await self._reader.read_many(
            ("HGETALL", keys.definition_key(one.segment)) for one in explanation.segments
        )
        shown = [
            {"segment": one.segment, "name": one.name, "since_ms": one.since_ms}
            | {name: value for name, value in texts(about).items() if name in ("kind", "rule")}
            for one, about in zip(explanation.segments, definitions, strict=True)
        ]
        return sorted(shown, key=lambda one: -int(one["since_ms"]))

    def _load_timeline(self, shopper: str) -> None:
        self._shopper = shopper
        self._needs_reset = True
        self._ids = {shopper, self._requested_id}
        self._changes = StreamFollower(
            [keys.changes_key(shopper)], first=CHANGES_FIRST, limit=TIMELINE_MAX
        )
        self._events = StreamFollower([keys.recent_key()], first=EVENTS_FIRST, limit=TIMELINE_MAX)

    def _belongs_to(self, change: ChangeEntry) -> bool:
        return change.shopper in self._ids or change.segment == self._shopper
