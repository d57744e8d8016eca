"""Retired segments: their members are removed, some with each batch; then their Redis keys are
deleted.

A segment retires when its cluster ended, or when a run starts without a kind, a rule or an
algorithm that the run before had. Nothing of this is stored: when a run starts, every segment in
the registry that is not configured retires.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from operators.publish import profile_fields
from operators.segments.membership_index import EXCLUSIVE_KINDS
from operators.segments.propensity import built_in_segments
from operators.segments.propensity.profile_fields import SESSION, WEEKLY_MODELS
from state import keys
from state.arrays import NO_ROW
from state.segments import (
    RETIRED,
    cluster_definition,
    cluster_of_segment,
    cluster_segment_id,
    definition_writes,
    lifecycle_definitions,
    rfm_definitions,
)
from state.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from operators.personalize.state import PersonalizationState
    from state.arrays import Rows
    from state.changes import Change
    from state.messages import Write
    from state.segments import SegmentDefinition

MEMBERS_PER_BATCH = 4096
"""Members removed in one batch: the cost of a batch should not depend on what was turned off."""
HISTORY_DAYS = {keys.history_key: 8, keys.history_hours_key: 400}

_FIELDS_OF_KIND = {"rfm": ("rfm",), "lifecycle": ("stage",), "propensity": WEEKLY_MODELS}
"""The profile fields of a kind."""


class SegmentRetirement:
    """The segments that retire, and the profile fields to remove."""

    def __init__(self) -> None:
        self._retiring: set[str] | None = None
        self._closed: list[str] = []
        self._fields: tuple[str, ...] = ()
        self._next_row = 0

    def retire_some(self, learned: PersonalizationState, writes: list[Write]) -> list[Change]:
        """Remove some members, and append the other writes. Returns the membership changes."""
        retired = learned.clusters.retired
        if self._retiring is None:
            self._retiring = _ids_to_retire(learned)
            self._closed = sorted(sid for sid in self._retiring if _was_closed_before(learned, sid))
            self._retiring.difference_update(self._closed)
            for sid in self._closed:
                learned.memberships.registry.close(sid)
            self._fields = tuple(_fields_to_remove(learned, self._retiring))
            models = [name for name in self._fields if name in (SESSION, *WEEKLY_MODELS)]
            writes += [("DEL", keys.model_key(name)) for name in models]
        if retired:
            find = learned.memberships.registry.find
            indexes = {number: find(cluster_segment_id(number)) for number in retired}
            for number in [number for number, index in indexes.items() if index == NO_ROW]:
                del retired[number]  # nobody was ever in it
            self._retiring.update(cluster_segment_id(number) for number in retired)
        if self._fields:
            self._remove_fields(learned, writes)
        changes: list[Change] = []
        for sid in sorted(self._retiring):
            changes += _remove_members(learned, sid, MEMBERS_PER_BATCH - len(changes), writes)
            if len(changes) >= MEMBERS_PER_BATCH:
                return changes
            writes += _close_segment(learned, sid)
            learned.memberships.registry.close(sid)
            self._retiring.remove(sid)
            self._closed.append(sid)
        self._closed = [sid for sid in self._closed if not _release(learned, sid, writes)]
        return changes

    def _remove_fields(self, learned: PersonalizationState, writes: list[Write]) -> None:
        names = learned.recommender.shoppers.ids[
            self._next_row : self._next_row + MEMBERS_PER_BATCH
        ]
        writes += [("HDEL", keys.profile_key(name), *self._fields) for name in names if name]
        self._next_row += MEMBERS_PER_BATCH
        if self._next_row >= len(learned.recommender.shoppers.ids):
            if SESSION in self._fields:
                learned.propensity.reset_session_model()
            self._fields = ()


def deletion_writes(learned: PersonalizationState) -> Iterator[Write]:
    """Delete the keys of retired segments in a Redis that was restored from a time when they were
    there."""
    clusters = [cluster_segment_id(number) for number in range(learned.clusters.next_id)]
    fixed = {
        one.id for one in _built_in_definitions(learned)
    } | learned.rule_versions.versions.keys()
    present = {sid for _, sid in learned.memberships.registry.active()} | _configured_ids(learned)
    deleted = [sid for sid in (*clusters, *sorted(fixed)) if sid not in present]
    for sid in deleted:
        yield from _delete_segment_keys(sid)
    if deleted:
        yield from (("HDEL", keys.overlap_key(other), *deleted) for other in sorted(present))
    retired = [sid for sid in clusters if sid not in present]
    if retired:
        yield from (("DEL", keys.definition_key(sid)) for sid in retired)
        yield ("HDEL", keys.registry_key(), *retired)
    built_in = (one for one in _built_in_definitions(learned) if one.id not in present)
    yield from definition_writes(msgspec.structs.replace(one, status=RETIRED) for one in built_in)


def _delete_segment_keys(sid: str) -> Iterator[Write]:
    yield ("DEL", keys.members_key(sid))
    yield ("DEL", keys.stats_key(sid))
    yield ("DEL", keys.lifts_key(sid))
    yield ("DEL", keys.overlap_key(sid))
    yield ("DEL", keys.popular_key("segment", sid))


def _configured_ids(learned: PersonalizationState) -> set[str]:
    """The segments of this run."""
    wanted = {one.id for one in learned.assignment.definitions}
    wanted |= {one.id for one in learned.propensity.definitions}
    wanted |= {one.id for one in learned.rules}
    return wanted | {cluster_segment_id(number) for number in learned.clusters.numbers}


def _ids_to_retire(learned: PersonalizationState) -> set[str]:
    """The segments in the registry that are not configured."""
    wanted = _configured_ids(learned)
    return {sid for _, sid in learned.memberships.registry.active() if sid not in wanted}


def _was_closed_before(learned: PersonalizationState, sid: str) -> bool:
    """Whether the run before closed it: its last statistics stay."""
    number = cluster_of_segment(sid)
    if (
        number is None
        or number in learned.cluster_definitions
        or number in learned.clusters.retired
    ):
        return False
    return not learned.memberships.size_of(sid)


def _fields_to_remove(learned: PersonalizationState, leaving: set[str]) -> Iterator[str]:
    """The profile fields of kinds all of whose segments retire."""
    for kind, fields in _FIELDS_OF_KIND.items():
        if any(one.kind == kind for one in _built_in_definitions(learned) if one.id in leaving):
            yield from fields
    if learned.propensity.has_session_history:
        yield SESSION


def _remove_members(
    learned: PersonalizationState, sid: str, limit: int, writes: list[Write]
) -> list[Change]:
    """Move at most `limit` members of a segment to the replacement, or to none."""
    memberships = learned.memberships
    rows = memberships.members(memberships.registry.find(sid))[:limit]
    names = [learned.recommender.shoppers.ids[row] for row in rows.tolist()]
    if not len(rows):
        return []
    at_ms = np.maximum(learned.event_time_ms, memberships.last_ms[rows])
    for kind in EXCLUSIVE_KINDS:
        if memberships.segment_of(kind, int(rows[0])) == memberships.registry.find(sid):
            replacement = _replacement_cluster(learned, sid)
            if kind == "cluster":
                writes += _cluster_field_writes(learned, rows, replacement)
            index = memberships.registry.index_of(replacement) if replacement else NO_ROW
            return memberships.assign(kind, names, rows, np.full(len(rows), index, np.int16), at_ms)
    exits = [(name, sid, False, at) for name, at in zip(names, at_ms.tolist(), strict=True)]
    return memberships.apply_transitions(exits, learned.recommender.shoppers)


def _replacement_cluster(learned: PersonalizationState, sid: str) -> str:
    number = cluster_of_segment(sid)
    replacement = NO_ROW if number is None else learned.clusters.retired.get(number, NO_ROW)
    return cluster_segment_id(replacement) if replacement != NO_ROW else ""


def _cluster_field_writes(
    learned: PersonalizationState, rows: Rows, cluster: str
) -> Iterator[Write]:
    """Set the new cluster, or none, in profiles; the distance is set when the shopper is active
    again."""
    fields = {profile_fields.CLUSTER: cluster, profile_fields.DISTANCE: ""}
    for row in rows.tolist():
        yield from profile_fields.set_fields(learned.recommender.shoppers.ids[row], fields)


def _close_segment(learned: PersonalizationState, sid: str) -> Iterator[Write]:
    """Delete the keys of an empty segment, let its history expire, and mark it as retired."""
    yield from _delete_segment_keys(sid)
    for _, other in learned.memberships.registry.active():
        yield ("HDEL", keys.overlap_key(other), sid)
    for key_of, days in HISTORY_DAYS.items():
        yield ("PEXPIRE", key_of(sid), days * DAY_MS)
    number = cluster_of_segment(sid)
    if number is not None:
        learned.clusters.retired.pop(number, None)
        name, version = learned.cluster_definitions.pop(number, (sid, 1))
        closed = [cluster_definition(number, name, version)]
    else:
        closed = [one for one in _built_in_definitions(learned) if one.id == sid]
    retired = [msgspec.structs.replace(one, status=RETIRED) for one in closed]
    yield from definition_writes(retired, learned.reporting_time_ms)


def _release(learned: PersonalizationState, sid: str, writes: list[Write]) -> bool:
    """Free the index of a segment of which nothing is counted any more; a cluster number never
    returns."""
    memberships = learned.memberships
    index = memberships.registry.find(sid)
    if memberships.size_of(sid) or not memberships.activity.is_quiet(
        index, learned.reporting_time_ms - DAY_MS
    ):
        return False
    memberships.registry.release(sid)
    if cluster_of_segment(sid) is not None:
        writes.append(("DEL", keys.definition_key(sid)))
        writes.append(("HDEL", keys.registry_key(), sid))
    return True


def _built_in_definitions(learned: PersonalizationState) -> list[SegmentDefinition]:
    """The segments of fixed kinds, whether turned on or not."""
    settings = learned.settings
    return [
        *rfm_definitions(),
        *lifecycle_definitions(msgspec.structs.asdict(settings.lifecycle)),
        *built_in_segments.definitions(settings.propensity.dormant_days, RETIRED),
    ]
