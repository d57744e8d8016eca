"""Assigns the shoppers of a batch to segments, and lets time pass for all others.

Gives the membership changes of all kinds of segments (clusters, RFM, lifecycle, predictions, rules),
the profiles of the active shoppers and the memberships to write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from operators.publish.memberships import membership_writes, refresh_expiry
from operators.publish.profiles import Profile, profile_write, update_writes
from operators.segments.clusters.replica import assignments_of
from operators.segments.propensity.replica import published_steps_of
from operators.segments.retirement import RetiredBatch
from operators.shoppers.features import LAST_MS_COLUMN, feature_rows
from state.arrays import NO_ROW
from state.profile_fields import ProfileUpdate
from state.segments import cluster_segment_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.events.event_clock import EventClock
    from operators.events.processing_errors import ProcessingErrors
    from operators.personalize.batch import Batch
    from operators.personalize.interactions import Resolved
    from operators.publish.shop_stats import ShopStats
    from operators.segments.assignment import SegmentAssignment
    from operators.segments.retirement import SegmentRetirement
    from state.arrays import Rows
    from state.changes import Change
    from state.entries import ActiveShopper
    from state.interactions import RowIndex
    from state.messages import Write
    from state.training import ClustersTrained, PropensityTrained


class Assigned(NamedTuple):
    """What followed from the shoppers who were active. `memberships` put off when theirs expire."""

    changes: list[Change]
    profiles: list[Write]
    memberships: list[Write]


class Segmented(NamedTuple):
    """The resolved batch, all changes so far, and what to write."""

    resolved: Resolved
    changes: list[Change]
    profiles: list[Write]
    memberships: list[Write]


class Segmentation:
    """Assigns shoppers to segments of all kinds. Changes the state of the kinds in place."""

    def __init__(
        self,
        shoppers: RowIndex,
        assignment: SegmentAssignment,
        retirement: SegmentRetirement,
        shop: ShopStats,
        clock: EventClock,
        errors: ProcessingErrors,
    ) -> None:
        self._shoppers = shoppers
        self._assignment = assignment
        self._retirement = retirement
        self._shop = shop
        self._clock = clock
        self._errors = errors

    def segment(self, resolved: Resolved) -> Segmented:
        """Assign the active shoppers, then let time pass.

        Order 4: interactions are resolved first. Popularity by segment counts under the cluster of
        before the batch; and shoppers of interactions get their rows first, in the order in which
        events were read, so the stored state depends on it. `Resolved` says that it is done.
        """
        return self._advance(resolved, self._assign_or_publish(resolved.removed.batch))

    def _advance(self, resolved: Resolved, assigned: Assigned) -> Segmented:
        """Let time pass for all shoppers, and retire segments.

        Order 6: the active shoppers are assigned first. Their segments follow from their events, those
        of all others from the clock. `Assigned` says that it is done.
        """
        batch = resolved.removed.batch
        changes = [*resolved.removed.changes, *assigned.changes]
        writes = list(assigned.memberships)
        isolate, call_or_default = self._errors.isolate, self._errors.call_or_default
        with isolate("standing"):
            moved, updates = self._assignment.advance_time(
                self._shoppers.ids, self._clock.event_time_ms, last=batch.is_last
            )
            changes += moved
            writes += update_writes(updates)
        changes += call_or_default("propensity", [], self._advance_propensity, batch, writes)
        with isolate("segments"):
            changes += self._assignment.memberships.apply_transitions(
                batch.transitions, self._shoppers
            )
        retired = RetiredBatch([], [], [])
        with isolate("retiring"):
            self._retirement.retire_some(
                retired, self._clock.event_time_ms, self._clock.reporting_time_ms
            )
        changes += retired.changes
        writes += update_writes(retired.updates)
        writes += retired.writes
        writes += membership_writes(changes)
        return Segmented(resolved, changes, assigned.profiles, writes)

    def _advance_propensity(self, batch: Batch, writes: list[Write]) -> list[Change]:
        """Let time pass for predictions: who enters and leaves segments, and profiles that change.

        Of several batches at once, an earlier one may speak of a shopper who is no more.
        """
        gone = {one.anonymous_id for one in batch.merged} | {name for name, _ in batch.erased}
        row_of = self._shoppers.get
        transitions = [
            entry
            for trained in batch.propensity
            for entry in trained.later_transitions
            if entry.shopper not in gone and row_of(entry.shopper) != NO_ROW
        ]
        for trained in batch.propensity:
            writes += update_writes(
                ProfileUpdate(shopper, fields)
                for shopper, fields in trained.updates
                if shopper not in gone
            )
        return self._assignment.memberships.apply_transitions(
            sorted(transitions, key=lambda entry: row_of(entry.shopper)), self._shoppers
        )

    def _assign_or_publish(self, batch: Batch) -> Assigned:
        """Assign the active shoppers. Where that raises, their profiles are written as the shards gave
        them, without what models say."""
        active = batch.active
        if not active:
            return Assigned([], [], [])
        assigned = self._errors.call_or_default(
            "profiles", None, self._assign, active, batch.clusters, batch.propensity
        )
        if assigned is None:
            as_given = [profile_write(Profile(r.profile, r.argument_count)) for r in active]
            return Assigned([], as_given, [])
        return assigned

    def _assign(
        self,
        active: Sequence[ActiveShopper],
        clusters: Sequence[ClustersTrained],
        propensity: Sequence[PropensityTrained],
    ) -> Assigned:
        """Assign the active shoppers, and write their profiles with it."""
        names = [row.shopper for row in active]
        refused = [row.refused for row in active]
        memberships = self._assignment.memberships
        raw = feature_rows(row.features for row in active)
        cluster, distance = assignments_of(clusters, names)
        at_ms = raw[:, LAST_MS_COLUMN].astype(np.int64)
        self._clock.observe(int(at_ms.max()))
        rows = self._shoppers.get_or_add_many(names)
        self._shop.count_active(memberships.last_seen_ms(rows), at_ms)
        # Order 5: memberships come first, since the kinds of segments read the rows and last-seen
        # times that this makes.
        first_that_day = memberships.mark_active(rows, [row.known for row in active], at_ms)
        memberships.set_refused(rows, refused)
        changes = self._assignment.assign_active(
            names, rows, raw, cluster, self._clock.event_time_ms
        )
        present = set(names)
        transitions = [
            entry
            for trained in propensity
            for entry in trained.transitions
            if entry.shopper in present
        ]
        changes += memberships.apply_transitions(transitions, self._shoppers)
        steps = published_steps_of(propensity, names)
        profiles = self._profile_writes(active, rows, steps, cluster, distance)
        ids = self._shoppers.ids
        return Assigned(changes, profiles, refresh_expiry(ids[r] for r in first_that_day.tolist()))

    def _profile_writes(
        self,
        active: Sequence[ActiveShopper],
        rows: Rows,
        steps: NDArray[np.int16],
        cluster: NDArray[np.int64],
        distance: NDArray[np.float32],
    ) -> list[Write]:
        return [
            profile_write(
                Profile(
                    row.profile,
                    row.argument_count,
                    row_steps,
                    "" if c == NO_ROW else cluster_segment_id(c),
                    d,
                    rfm,
                    stage,
                )
            )
            for row, row_steps, c, d, (rfm, stage) in zip(
                active,
                steps.tolist(),
                cluster.tolist(),
                distance.tolist(),
                self._assignment.rfm_and_stages(rows),
                strict=True,
            )
        ]
