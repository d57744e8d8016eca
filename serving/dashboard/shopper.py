"""What a tab with one shopper looks at: who it is, segments with why, list with reasons, timeline.

Values: `shopper` (id, asked), `profile`, `session`, `segments`, `offer`; `unknown` for one nobody knows.
Tails: `events`, `changes`.
"""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

from serving.dashboard.document import Reading
from serving.dashboard.redis_values import texts
from serving.dashboard.streams import Follower, changes, events
from serving.explain import explain
from serving.reader import Storefront
from state import keys
from state.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from serving.dashboard.streams import Change
    from serving.explain import Explanation
    from state.store import Reads

SLOW_S = 2.0
"""What changes without a click, as a list that is made anew, is read so often."""
EVENTS_FIRST, CHANGES_FIRST = 500, 2000
"""How far back a timeline looks for one shopper, in entries."""
MOST = 200


class Explainer:
    """Asks what a storefront would read of a shopper, in a thread: one at a time."""

    def __init__(self, redis_url: str, timeout_ms: int) -> None:
        self._store = Store(redis_url, timeout_ms=timeout_ms, patience_s=0)
        self._shop = Storefront(self._store)
        self._turn = threading.Lock()

    async def explain(self, some_id: str) -> Explanation | None:
        """What is known of an id. Raises UserError."""
        return await asyncio.to_thread(self._explain, some_id)

    def _explain(self, some_id: str) -> Explanation | None:
        with self._turn, self._store.in_words():
            return explain(self._shop, some_id)

    def close(self) -> None:
        """Let go of the server."""
        self._store.client.close()


class OneShopper:
    """Looks at one shopper every second, at what they do with every turn."""

    def __init__(
        self,
        reads: Reads,
        explainer: Explainer,
        some_id: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reads = reads
        self._explainer = explainer
        self._asked = some_id
        self._clock = clock
        self._slow_s = float("-inf")
        self._last: Any = None
        self._values: dict[str, Any] = {}
        self._shopper = ""
        self._is_anew = True
        self._ids: set[str] = set()
        self._changes = self._events = Follower([], first=0, most=0)
        self._begin(some_id)

    async def look(self) -> Reading:
        """Read. Raises UserError."""
        try:
            return await self._look()
        except BaseException:
            # Nobody knows what the Redis that answers next has of what we saw.
            self._begin(self._shopper)
            raise

    async def _look(self) -> Reading:
        now_s = self._clock()
        reads = [*self._changes.reads(), *self._events.reads()]
        *replies, session, last_ms = await self._reads.many(
            [
                *reads,
                ("HGETALL", keys.session_key(self._shopper)),
                ("HGET", keys.profile_key(self._shopper), "last_ms"),
            ]
        )
        if self._last != (session, last_ms) or now_s - self._slow_s >= SLOW_S:
            self._slow_s, self._last = now_s, (session, last_ms)
            if await self._explain():
                return await self._look()
        came, emptied = self._changes.take(replies[:2])
        told, emptied_too = self._events.take(replies[2:])
        tails: dict[str, list[Any]] = {
            "changes": [one for one in changes(came) if self._is_of(one)],
            "events": [one for one in events(told) if one[0] in self._ids],
        }
        is_anew, self._is_anew = self._is_anew or emptied or emptied_too, False
        return Reading(self._values, tails, None, anew=is_anew)

    async def _explain(self) -> bool:
        """Whether it is another shopper than before: an anonymous one that became a user."""
        found = await self._explainer.explain(self._asked)
        if found is None:
            self._values = {"unknown": self._asked}
            return False
        self._values = {
            "shopper": {"id": found.shopper, "asked": found.asked},
            "profile": found.profile,
            "session": found.session,
            "segments": await self._why(found),
            "offer": found.offer,
        }
        became = found.shopper != self._shopper
        if became:
            self._begin(found.shopper)
        return became

    async def _why(self, found: Explanation) -> list[dict[str, Any]]:
        """The segments, the one entered last first, each with its rule in words."""
        definitions = await self._reads.many(
            ("HGETALL", keys.definition_key(one.segment)) for one in found.segments
        )
        shown = [
            {"segment": one.segment, "name": one.name, "since_ms": one.since_ms}
            | {name: value for name, value in texts(about).items() if name in ("kind", "rule")}
            for one, about in zip(found.segments, definitions, strict=True)
        ]
        return sorted(shown, key=lambda one: -int(one["since_ms"]))

    def _begin(self, shopper: str) -> None:
        self._shopper = shopper
        self._is_anew = True
        self._ids = {shopper, self._asked}
        self._changes = Follower([keys.changes_key(shopper)], first=CHANGES_FIRST, most=MOST)
        self._events = Follower([keys.recent_key()], first=EVENTS_FIRST, most=MOST)

    def _is_of(self, change: Change) -> bool:
        return change.shopper in self._ids or change.segment == self._shopper
