"""The erasures that one shard knows of, and when its journal has to be rewritten without erased ids.

An event from before the erasure of its device or of its user does not count, however late it comes.
Batches of several partitions reach each shard in an order of its own, so every shard decides this for
itself: device shards know all erased users and their own devices, user shards know their own users.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from state.tombstones import Tombstones

if TYPE_CHECKING:
    from collections.abc import Mapping

    from operators.shards.config import ProcessorConfig
    from state.events import Event
    from state.messages import Write


class Erasures:
    """The tombstones of erased ids. `newest_ms` is the time of the newest erasure.

    `journal_names_erased` says that the journal still holds an erased id (stored as `is_unclean`). The
    journal is then rewritten, but no more often than the recovery folder is backed up.
    """

    def __init__(
        self, config: ProcessorConfig, stored: Mapping[bytes, int], *, journal_names_erased: bool
    ) -> None:
        self.tombstones = Tombstones(config.privacy_key, config.tombstone_ms, stored)
        self.newest_ms = self.tombstones.newest_ms
        self.journal_names_erased = journal_names_erased
        self._rewrite_interval_ms = config.rewrite_interval_ms
        self._rewritten_ms = 0

    def add(self, name: str, at_ms: int) -> list[Write]:
        """Erase an id; the writes that publish its tombstone."""
        self.tombstones.add(name, at_ms)
        self.newest_ms = max(self.newest_ms, at_ms)
        self.journal_names_erased = True
        return self.tombstones.write_for(name, at_ms)

    def covers(self, name: str | None, at_ms: int) -> bool:
        """Whether what an id did at a time was erased."""
        return name is not None and at_ms <= self.newest_ms and self.tombstones.covers(name, at_ms)

    def covers_event(self, event: Event) -> bool:
        """Whether an event is from before the erasure of its device or of its user."""
        at_ms = event.event_ts
        return self.covers(event.anonymous_id, at_ms) or self.covers(event.user_id, at_ms)

    def expire(self, now_ms: int) -> None:
        """Drop tombstones that are older than the configured time."""
        if self.newest_ms:
            self.tombstones.drop_expired(now_ms)
            self.newest_ms = self.tombstones.newest_ms

    def take_rewrite_due(self, now_ms: int, *, last: bool) -> bool:
        """Whether to rewrite the journal now, since it holds erased ids. The caller must do it."""
        if not self.journal_names_erased or (
            not last and now_ms - self._rewritten_ms < self._rewrite_interval_ms
        ):
            return False
        self.journal_names_erased, self._rewritten_ms = False, now_ms
        return True
