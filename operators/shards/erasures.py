"""What one shard knows of who was erased, and when its journal has to be rid of them.

An event from before the erasure of its device or of its user counts as nothing, however late it comes.
Batches of several partitions reach each shard in an order of their own, so every shard decides this
for itself: those of devices know all erased users and their own devices, those of users their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from state.tombstones import Tombstones

if TYPE_CHECKING:
    from collections.abc import Mapping

    from operators.shards.processor import Rules
    from state.events import Event
    from state.messages import Write


class Erasures:
    """The tombstones. `newest_ms` is up to when anybody was erased.

    `is_unclean`: the journal names someone who was erased. It is written anew as soon as may be, but
    not more often than the copy of the recovery folder is made.
    """

    def __init__(self, rules: Rules, stored: Mapping[bytes, int], *, is_unclean: bool) -> None:
        self.tombstones = Tombstones(rules.privacy_key, rules.tombstone_ms, stored)
        self.newest_ms = self.tombstones.newest_ms
        self.is_unclean = is_unclean
        self._clean_every_ms = rules.clean_every_ms
        self._cleaned_ms = 0

    def add(self, name: str, at_ms: int) -> list[Write]:
        """An id was erased; what Redis is told of that."""
        self.tombstones.add(name, at_ms)
        self.newest_ms = max(self.newest_ms, at_ms)
        self.is_unclean = True
        return self.tombstones.write(name, at_ms)

    def cover(self, name: str | None, at_ms: int) -> bool:
        """Whether what an id did at a time was erased."""
        return name is not None and at_ms <= self.newest_ms and self.tombstones.cover(name, at_ms)

    def cover_event(self, event: Event) -> bool:
        """Whether an event is from before the erasure of its device or of its user."""
        at_ms = event.event_ts
        return self.cover(event.anonymous_id, at_ms) or self.cover(event.user_id, at_ms)

    def expire(self, now_ms: int) -> None:
        """Drop tombstones that have stood long enough."""
        if self.newest_ms:
            self.tombstones.expire(now_ms)
            self.newest_ms = self.tombstones.newest_ms

    def take_due(self, now_ms: int, *, last: bool) -> bool:
        """Whether the journal is to be written anew now because of whom it names."""
        if not self.is_unclean or (not last and now_ms - self._cleaned_ms < self._clean_every_ms):
            return False
        self.is_unclean, self._cleaned_ms = False, now_ms
        return True
