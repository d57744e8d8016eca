"""Retired segments: their members are removed, some with each batch; then their Redis keys are deleted.

A segment retires when its cluster ended, or when a run starts without a kind, a rule or an algorithm
that the run before had. Nothing of this is stored: when a run starts, every segment in the registry
that is not configured retires.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from operators.segments.kinds import EXCLUSIVE_KINDS, KINDS
from operators.segments.propensity.profile_fields import SESSION, WEEKLY_MODELS
from operators.segments.retired_keys import delete_definition, delete_segment_keys, expire_history
from state import keys
from state.arrays import NO_ROW
from state.entries import Transition
from state.profile_fields import CLUSTER, DISTANCE, ProfileUpdate
from state.segments import (
    RETIRED,
    cluster_definition,
    cluster_of_segment,
    cluster_segment_id,
    definition_writes,
)
from state.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from operators.segments.configured_segments import ConfiguredSegments
    from state.changes import Change
    from state.interactions import RowIndex
    from state.messages import Write

MEMBERS_PER_BATCH = 4096
"""Members removed in one batch: the cost of a batch should not depend on what was turned off."""


class RetiredBatch(NamedTuple):
    """What one batch of retirement gives: membership changes, profile updates, other writes."""

    changes: list[Change]
    updates: list[ProfileUpdate]
    writes: list[Write]


class SegmentRetirement:
    """The segments that retire, those that are closed, and the profile fields to remove."""

    def __init__(self, segments: ConfiguredSegments, shoppers: RowIndex) -> None:
        self._segments = segments
        self._shoppers = shoppers
        self._retiring: set[str] | None = None
        self._closed: list[str] = []
        self._fields: tuple[str, ...] = ()
        self._next_row = 0

    def retire_some(self, batch: RetiredBatch, event_time_ms: int, reporting_time_ms: int) -> None:
        """Remove some members, and the keys of segments without members.

        Members leave at `event_time_ms`; definitions change at `reporting_time_ms`. What is done goes
        into `batch` at once: if a later part raises, it is published all the same.
        """
        if self._retiring is None:
            self._retiring = self._start(batch.writes)
        self._retiring |= self._retired_clusters()
        if self._fields:
            batch.writes.extend(self._remove_fields())
        for sid in sorted(self._retiring):
            self._remove_members(sid, event_time_ms, batch)
            if len(batch.changes) >= MEMBERS_PER_BATCH:
                return
            batch.writes.extend(self._close(sid, reporting_time_ms))
            self._retiring.remove(sid)
            self._closed.append(sid)
        released = [sid for sid in self._closed if self._is_quiet(sid, reporting_time_ms)]
        for sid in released:
            self._segments.memberships.registry.release(sid)
            if cluster_of_segment(sid) is not None:  # a cluster number is never used again
                batch.writes.extend(delete_definition(sid))
        self._closed = [sid for sid in self._closed if sid not in released]

    def _start(self, writes: list[Write]) -> set[str]:
        """Find what retires when a run starts. What the run before closed keeps its last statistics."""
        registry, configured = self._segments.memberships.registry, self._segments.configured_ids()
        retiring = {sid for _, sid in registry.active() if sid not in configured}
        self._closed = sorted(sid for sid in retiring if self._was_closed_before(sid))
        retiring.difference_update(self._closed)
        for sid in self._closed:
            registry.close(sid)
        self._fields = tuple(self._fields_to_remove(retiring))
        models = [name for name in self._fields if name in (SESSION, *WEEKLY_MODELS)]
        writes += [("DEL", keys.model_key(name)) for name in models]
        return retiring

    def _was_closed_before(self, sid: str) -> bool:
        number, segments = cluster_of_segment(sid), self._segments
        if number is None or number in segments.clusters.definitions:
            return False
        return number not in segments.clusters.retired and not segments.memberships.size_of(sid)

    def _fields_to_remove(self, retiring: Collection[str]) -> Iterator[str]:
        """Yield the profile fields of kinds all of whose segments retire."""
        kinds = {one.kind for one in self._segments.built_in if one.id in retiring}
        for kind in KINDS:
            if kind.name in kinds:
                yield from kind.fields
        if self._segments.propensity.has_session_history:
            yield SESSION

    def _retired_clusters(self) -> set[str]:
        """Return the clusters that ended and have members; forget those that never had any."""
        retired, find = self._segments.clusters.retired, self._segments.memberships.registry.find
        for number in [n for n in retired if find(cluster_segment_id(n)) == NO_ROW]:
            del retired[number]
        return {cluster_segment_id(number) for number in retired}

    def _remove_fields(self) -> Iterator[Write]:
        """Yield the removal of the fields from some profiles."""
        ids = self._shoppers.ids
        names = ids[self._next_row : self._next_row + MEMBERS_PER_BATCH]
        yield from (("HDEL", keys.profile_key(name), *self._fields) for name in names if name)
        self._next_row += MEMBERS_PER_BATCH
        if self._next_row >= len(ids):
            if SESSION in self._fields:
                self._segments.propensity.mark_session_removed()
            self._fields = ()

    def _remove_members(self, sid: str, event_time_ms: int, batch: RetiredBatch) -> None:
        """Move members of a segment to its replacement, or to none, as many as the batch may have."""
        memberships = self._segments.memberships
        segment, limit = memberships.registry.find(sid), MEMBERS_PER_BATCH - len(batch.changes)
        rows = memberships.members(segment)[:limit]
        if not len(rows):
            return
        names = [self._shoppers.ids[row] for row in rows.tolist()]
        at_ms = np.maximum(event_time_ms, memberships.last_ms[rows])
        row = int(rows[0])
        kind = next((k for k in EXCLUSIVE_KINDS if memberships.segment_of(k, row) == segment), "")
        if not kind:
            exits = [
                Transition(name, sid, False, at)
                for name, at in zip(names, at_ms.tolist(), strict=True)
            ]
            batch.changes.extend(memberships.apply_transitions(exits, self._shoppers))
            return
        replacement = self._replacement_cluster(sid)
        if kind == "cluster":
            # The distance is set when the shopper is active again.
            fields = {CLUSTER: replacement, DISTANCE: ""}
            batch.updates.extend(ProfileUpdate(name, fields) for name in names)
        index = memberships.registry.index_of(replacement) if replacement else NO_ROW
        indexes = np.full(len(rows), index, np.int16)
        batch.changes.extend(memberships.assign(kind, names, rows, indexes, at_ms))

    def _replacement_cluster(self, sid: str) -> str:
        number = cluster_of_segment(sid)
        retired = self._segments.clusters.retired
        replacement = NO_ROW if number is None else retired.get(number, NO_ROW)
        return cluster_segment_id(replacement) if replacement != NO_ROW else ""

    def _close(self, sid: str, reporting_time_ms: int) -> Iterator[Write]:
        """Delete the keys of an empty segment, let its history expire, and mark it as retired."""
        registry, number = self._segments.memberships.registry, cluster_of_segment(sid)
        yield from delete_segment_keys(sid)
        yield from (("HDEL", keys.overlap_key(other), sid) for _, other in registry.active())
        yield from expire_history(sid)
        closed = [one for one in self._segments.built_in if one.id == sid]
        if number is not None:
            self._segments.clusters.retired.pop(number, None)
            name, version = self._segments.clusters.definitions.pop(number, (sid, 1))
            closed = [cluster_definition(number, name, version)]
        retired = [msgspec.structs.replace(one, status=RETIRED) for one in closed]
        yield from definition_writes(retired, reporting_time_ms)
        registry.close(sid)

    def _is_quiet(self, sid: str, reporting_time_ms: int) -> bool:
        """Whether nothing of a closed segment is counted any more."""
        memberships = self._segments.memberships
        if memberships.size_of(sid):
            return False
        index = memberships.registry.find(sid)
        return memberships.activity.is_quiet(index, reporting_time_ms - DAY_MS)
