"""Removes shoppers and items: merged into a user, erased, evicted from memory, or above the limits.

Each function gives the membership changes that follow. Redis commands are appended to `writes`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from operators.catalogue.last_seen import least_recent
from operators.personalize.consent_withdrawal import apply_withdrawals
from operators.publish import profile_fields
from operators.publish.memberships import membership_writes
from operators.segments.propensity.profile_fields import WEEKLY_MODELS
from state import keys
from state.arrays import NO_ROW
from state.changes import Change
from state.profile_fields import EXCLUSIVE_KIND_FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from operators.catalogue.item_cards import ItemCards
    from operators.catalogue.recent_views import RecentViews
    from operators.events.processing_errors import ProcessingErrors
    from operators.personalize.batch import Batch
    from operators.personalize.clock import EventClock
    from operators.personalize.compensation import Compensated
    from operators.personalize.listing import Listed
    from operators.publish.shop_stats import ShopStats
    from operators.recommend.recommender import Recommender
    from operators.segments.assignment import SegmentAssignment
    from operators.segments.propensity.propensity import PropensityModels
    from state.arrays import Rows
    from state.config import State
    from state.messages import Write

_MODEL_FIELDS = (*EXCLUSIVE_KIND_FIELDS, *WEEKLY_MODELS)
"""Profile fields of a shopper's segments and predictions: gone when the shopper is evicted."""


class Parts(NamedTuple):
    """The parts of the state that keep something of each shopper or item."""

    recommender: Recommender
    assignment: SegmentAssignment
    propensity: PropensityModels
    recent_views: RecentViews
    item_cards: ItemCards
    shop: ShopStats


class Removed(NamedTuple):
    """The batch, and what followed from shoppers who are no more. `has_erased`: stored journals name
    somebody who was erased."""

    batch: Batch
    changes: list[Change]
    writes: list[Write]
    has_erased: bool


class Evicted(NamedTuple):
    """All changes of the batch; `writes` take evicted shoppers out of Redis."""

    listed: Listed
    changes: list[Change]
    writes: list[Write]


class Removal:
    """Removes from all parts. Changes their state in place."""

    def __init__(
        self, parts: Parts, limits: State, clock: EventClock, errors: ProcessingErrors
    ) -> None:
        self._parts = parts
        self._limits = limits
        self._clock = clock
        self._errors = errors

    def remove(self, batch: Batch, compensated: Compensated) -> Removed:
        """Remove shoppers who were merged or erased in a batch, and what others withdrew consent for.

        Order 2: compensation comes first, since it compares a crashed run's changes with memberships
        as they were restored. It is an argument, and its changes come first.
        """
        changes = list(compensated.changes)
        writes = list(compensated.writes)
        isolate, call_or_default = self._errors.isolate, self._errors.call_or_default
        with isolate("segments"):
            changes += self._apply_transitions_before_merge(batch)
        gone, has_erased = call_or_default(
            "leave", ([], False), self._remove_merged_and_erased, batch, writes
        )
        changes += gone
        now_ms = self._clock.newest_event_ms
        changes += call_or_default(
            "decline", [], apply_withdrawals, batch, self._parts, now_ms, writes
        )
        return Removed(batch, changes, writes, has_erased)

    def evict(self, listed: Listed) -> Evicted:
        """Remove shoppers that the shards evicted, and whatever is above the limits.

        Order 12: after the lists. A removed row is free, and the next new shopper or item gets it: the
        lists of this batch still speak of the one before. The lists are an argument for that.
        """
        batch = listed.learned.segmented.resolved.removed.batch
        writes: list[Write] = []
        gone = self._errors.call_or_default("forget", [], self._evict, _evicted_in(batch), writes)
        gone += self._errors.call_or_default("bound", [], self._enforce_limits, writes)
        writes += membership_writes(gone)
        return Evicted(listed, [*listed.learned.changes, *gone], writes)

    def _apply_transitions_before_merge(self, batch: Batch) -> list[Change]:
        """Shoppers who turn out to be users in this batch enter and leave the segments of what they did
        before: had that come in a batch of its own, they would have done so too."""
        erased = {name for name, _ in batch.erased}
        merged = {one.anonymous_id for one in batch.merged if one.shopper not in erased}
        return self._parts.assignment.memberships.apply_transitions(
            (entry for entry in batch.transitions_before_merge if entry.shopper in merged),
            self._parts.recommender.shoppers,
        )

    def _remove_merged_and_erased(
        self, batch: Batch, writes: list[Write]
    ) -> tuple[list[Change], bool]:
        changes: list[Change] = []
        recommender, assignment, propensity, recent_views, _, shop = self._parts
        shoppers, memberships = recommender.shoppers, assignment.memberships
        gone = [Change("merge", m.anonymous_id, m.shopper, m.at_ms) for m in batch.merged]
        gone += [Change("erase", name, "", at_ms) for name, at_ms in batch.erased]
        refusing = {
            row.shopper: row.refused
            for output in batch.outputs
            for row in output.active
            if row.refused
        }
        erased: set[int] = set()
        for change in gone:
            name, user = change.shopper, change.segment
            recommender.components.merge_or_erase(name, user)
            row = shoppers.get(name)
            known = memberships.is_known(row)
            refused = memberships.refused_by(row) | refusing.get(user, 0)
            propensity.merge_or_erase(row, name, erased=not user)
            changes += assignment.remove(row, name, change.at_ms)
            shop.remove_active(memberships.last_ms_of(row))
            assignment.merge_or_erase(row, shoppers.get(user))
            writes.append(("DEL", keys.segments_key(name), keys.top_key(name, keys.SLOT)))
            changes.append(change._replace(known=known, refused=refused))
            if row != NO_ROW and user:
                recent_views.reassign(row, shoppers.get(user))
            elif row != NO_ROW:
                erased.add(row)
        if erased:
            # The row is another shopper's from now on: not even the name is kept.
            self._remove_shoppers(np.array(sorted(erased), np.int32))
        return changes, bool(erased)

    def _evict(self, evicted: Iterable[tuple[str, int]], writes: list[Write]) -> list[Change]:
        """Shoppers, by id and event time, leave memory and their segments; other keys expire."""
        changes: list[Change] = []
        rows: list[int] = []
        for name, at_ms in evicted:
            row = self._parts.recommender.shoppers.get(name)
            changes += self._parts.assignment.remove(row, name, at_ms)
            writes.append(("DEL", keys.segments_key(name)))
            writes.append(profile_fields.remove_fields(name, _MODEL_FIELDS))
            if row != NO_ROW:
                rows.append(row)
        self._remove_shoppers(np.unique(np.array(rows, np.int32)))
        return changes

    def _enforce_limits(self, writes: list[Write]) -> list[Change]:
        """Where there are more shoppers or items than the limit, remove those unseen for longest."""
        recommender, memberships = self._parts.recommender, self._parts.assignment.memberships
        shoppers, items, limits = recommender.shoppers, recommender.items, self._limits
        changes: list[Change] = []
        if len(shoppers.row_by_id) > limits.shoppers_max:
            last_ms = memberships.last_ms[: memberships.rows]
            rows = least_recent(shoppers.live_rows(), last_ms, limits.shoppers_max)
            now_ms = self._clock.newest_event_ms
            changes = self._evict([(shoppers.ids[row], now_ms) for row in rows.tolist()], writes)
        if len(items.row_by_id) > limits.items_max:
            rows = least_recent(
                items.live_rows(), recommender.components.last_seen.at_ms, limits.items_max
            )
            self._remove_items(rows)
        return changes

    def _remove_shoppers(self, rows: Rows) -> None:
        recommender, assignment, propensity, recent_views, _, _ = self._parts
        assignment.remove_shoppers(rows)
        propensity.remove_shoppers(rows)
        recent_views.release("shopper", rows, self._clock.newest_event_ms)
        recommender.components.remove_shoppers(rows)

    def _remove_items(self, rows: Rows) -> None:
        recommender, _, _, recent_views, item_cards, _ = self._parts
        item_cards.remove([recommender.items.ids[row] for row in rows.tolist()])
        recent_views.release("item", rows, self._clock.newest_event_ms)
        recommender.components.remove_items(rows)


def _evicted_in(batch: Batch) -> list[tuple[str, int]]:
    """The shoppers that left memory, but for those who are active again."""
    active = {row.shopper for row in batch.active} if batch.evicted else set()
    return [entry for entry in batch.evicted if entry[0] not in active]
