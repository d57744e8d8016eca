"""Removes shoppers that were merged into a user or erased, from every part that keeps something of them.

`eviction` removes with the same loops what is too much for memory.

Each function gives the membership changes that follow. Redis commands are appended to `writes`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from operators.personalize.consent_withdrawal import apply_withdrawals
from operators.tables.removal import KeepsNoRows
from state import keys
from state.arrays import NO_ROW
from state.changes import Change

if TYPE_CHECKING:
    from collections.abc import Iterable

    from operators.catalogue.recent_views import RecentViews
    from operators.events.event_clock import EventClock
    from operators.events.processing_errors import ProcessingErrors
    from operators.personalize.batch import Batch
    from operators.personalize.compensation import Compensated
    from operators.personalize.shopper_state import ShopperState
    from operators.tables.removal import Removable
    from state.arrays import Rows
    from state.interactions import RowIndex
    from state.messages import Write


class Removed(NamedTuple):
    """The batch, and what followed from shoppers who are no more. `has_erased`: stored journals name
    somebody who was erased."""

    batch: Batch
    changes: list[Change]
    writes: list[Write]
    has_erased: bool


class _Views(KeepsNoRows):
    """Recent views: those until now are of nobody once a row is removed."""

    def __init__(self, recent_views: RecentViews, clock: EventClock) -> None:
        self._recent_views = recent_views
        self._clock = clock

    def merge(self, row: int, into: int) -> None:
        if into != NO_ROW:
            self._recent_views.reassign(row, into)

    def remove_shoppers(self, rows: Rows) -> None:
        self._recent_views.release("shopper", rows, self._clock.newest_event_ms)

    def remove_items(self, rows: Rows) -> None:
        self._recent_views.release("item", rows, self._clock.newest_event_ms)


def removable_parts(state: ShopperState, clock: EventClock) -> list[Removable]:
    """Every part that keeps something per shopper or item, but for the ids of the rows."""
    return [
        *state.recommender.components.removable_parts(),
        state.assignment,
        _Views(state.recent_views, clock),
    ]


def merge(parts: Iterable[Removable], row: int, into: int) -> None:
    """A shopper's row ends: in another row, or nowhere (NO_ROW)."""
    for part in parts:
        part.merge(row, into)


def remove_shoppers(parts: Iterable[Removable], shoppers: RowIndex, rows: Rows) -> None:
    """Keep nothing of shoppers, and free their rows: the ids last, parts may look them up."""
    for part in parts:
        part.remove_shoppers(rows)
    shoppers.remove(rows)


def remove_items(parts: Iterable[Removable], rows: Rows) -> None:
    """Keep nothing of items that have no row any more."""
    if len(rows):
        for part in parts:
            part.remove_items(rows)


class Removal:
    """Removes merged and erased shoppers from all parts. Changes their state in place."""

    def __init__(self, state: ShopperState, clock: EventClock, errors: ProcessingErrors) -> None:
        self._state = state
        self._parts = removable_parts(state, clock)
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
            "decline", [], apply_withdrawals, batch, self._state, now_ms, writes
        )
        return Removed(batch, changes, writes, has_erased)

    def _apply_transitions_before_merge(self, batch: Batch) -> list[Change]:
        """Shoppers who turn out to be users in this batch enter and leave the segments of what they did
        before: had that come in a batch of its own, they would have done so too."""
        erased = {name for name, _ in batch.erased}
        merged = {one.anonymous_id for one in batch.merged if one.shopper not in erased}
        return self._state.assignment.memberships.apply_transitions(
            (entry for entry in batch.transitions_before_merge if entry.shopper in merged),
            self._state.recommender.shoppers,
        )

    def _remove_merged_and_erased(
        self, batch: Batch, writes: list[Write]
    ) -> tuple[list[Change], bool]:
        changes: list[Change] = []
        state, shoppers = self._state, self._state.recommender.shoppers
        memberships = state.assignment.memberships
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
            into = shoppers.get_or_add(user) if user else NO_ROW
            row = shoppers.get(name)
            known = memberships.is_known(row)
            refused = memberships.refused_by(row) | refusing.get(user, 0)
            # Segments are left while the row says in which the shopper is: `merge` clears it.
            changes += state.assignment.remove(row, name, change.at_ms)
            changes.append(change._replace(known=known, refused=refused))
            writes.append(("DEL", keys.segments_key(name), keys.top_key(name, keys.SLOT)))
            if row == NO_ROW:
                continue
            state.shop.remove_active(memberships.last_ms_of(row))
            merge(self._parts, row, into)
            if not user:
                erased.add(row)
        if erased:
            # The row is another shopper's from now on: not even the name is kept.
            remove_shoppers(self._parts, shoppers, np.array(sorted(erased), np.int32))
        return changes, bool(erased)
