"""Evicts shoppers that left memory, shoppers above the limit, and items that their trainer removed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from operators.catalogue.last_seen import least_recent
from operators.personalize.removal import removable_parts, remove_items, remove_shoppers
from operators.publish import profiles
from operators.publish.memberships import delete_memberships, membership_writes
from state.arrays import NO_ROW

if TYPE_CHECKING:
    from collections.abc import Iterable

    from operators.events.event_clock import EventClock
    from operators.events.processing_errors import ProcessingErrors
    from operators.personalize.batch import Batch
    from operators.personalize.listing import Listed
    from operators.personalize.shopper_state import ShopperState
    from state.changes import Change
    from state.config import State
    from state.messages import Write


class Evicted(NamedTuple):
    """All changes of the batch; `writes` take evicted shoppers out of Redis."""

    listed: Listed
    changes: list[Change]
    writes: list[Write]


class Eviction:
    """Removes evicted shoppers and what is above the limits from all parts, in place."""

    def __init__(
        self, state: ShopperState, limits: State, clock: EventClock, errors: ProcessingErrors
    ) -> None:
        self._state = state
        self._parts = removable_parts(state, clock)
        self._limits = limits
        self._clock = clock
        self._errors = errors

    def evict(self, listed: Listed) -> Evicted:
        """Remove shoppers that the shards evicted, and whatever is above the limits.

        Order 12: after the lists. A removed row is free, and the next new shopper or item gets it: the
        lists of this batch still speak of the one before. The lists are an argument for that.
        """
        batch = listed.learned.segmented.resolved.removed.batch
        writes: list[Write] = []
        gone = self._errors.call_or_default("forget", [], self._evict, _evicted_in(batch), writes)
        gone += self._errors.call_or_default("bound", [], self._enforce_limits, writes)
        last = batch.items.updates[-1]
        remove_items(self._parts, last.removed)
        self._state.recommender.write_replica(last.after_removal)
        writes += membership_writes(gone)
        return Evicted(listed, [*listed.learned.changes, *gone], writes)

    def _evict(self, evicted: Iterable[tuple[str, int]], writes: list[Write]) -> list[Change]:
        """Shoppers, by id and event time, leave memory and their segments; other keys expire."""
        changes: list[Change] = []
        rows: list[int] = []
        for name, at_ms in evicted:
            row = self._state.recommender.shoppers.get(name)
            changes += self._state.assignment.remove(row, name, at_ms)
            writes.append(delete_memberships(name))
            writes.append(profiles.remove_segment_fields(name))
            if row != NO_ROW:
                rows.append(row)
        if rows:
            unique = np.unique(np.array(rows, np.int32))
            remove_shoppers(self._parts, self._state.recommender.shoppers, unique)
        return changes

    def _enforce_limits(self, writes: list[Write]) -> list[Change]:
        """Where there are more shoppers than the limit, remove those unseen for longest."""
        memberships, shoppers = self._state.assignment.memberships, self._state.recommender.shoppers
        limits = self._limits
        changes: list[Change] = []
        if len(shoppers.row_by_id) > limits.shoppers_max:
            last_ms = memberships.last_ms[: memberships.rows]
            rows = least_recent(shoppers.live_rows(), last_ms, limits.shoppers_max)
            now_ms = self._clock.newest_event_ms
            changes = self._evict([(shoppers.ids[row], now_ms) for row in rows.tolist()], writes)
        return changes


def _evicted_in(batch: Batch) -> list[tuple[str, int]]:
    """The shoppers that left memory, but for those who are active again."""
    active = {row.shopper for row in batch.active} if batch.evicted else set()
    return [entry for entry in batch.evicted if entry[0] not in active]
