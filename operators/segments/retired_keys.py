"""The Redis keys of segments: what is deleted when one retires, and when an old Redis was restored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from state import keys
from state.segments import RETIRED, cluster_segment_id, definition_writes
from state.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from operators.segments.configured_segments import ConfiguredSegments
    from state.messages import Write

HISTORY_DAYS = {keys.history_key: 8, keys.history_hours_key: 400}
"""How long the history of a retired segment stays."""


def delete_segment_keys(sid: str) -> Iterator[Write]:
    """Delete everything of a segment but its definition and history."""
    yield ("DEL", keys.members_key(sid))
    yield ("DEL", keys.stats_key(sid))
    yield ("DEL", keys.lifts_key(sid))
    yield ("DEL", keys.overlap_key(sid))
    yield ("DEL", keys.popular_key("segment", sid))


def expire_history(sid: str) -> Iterator[Write]:
    """Let the history of a segment expire."""
    for key_of, days in HISTORY_DAYS.items():
        yield ("PEXPIRE", key_of(sid), days * DAY_MS)


def delete_definition(sid: str) -> Iterator[Write]:
    """Delete the definition of a segment, and its entry in the registry."""
    yield ("DEL", keys.definition_key(sid))
    yield ("HDEL", keys.registry_key(), sid)


def deletion_writes(segments: ConfiguredSegments, rule_ids: Iterable[str]) -> Iterator[Write]:
    """Delete the keys of retired segments in a Redis that was restored from a time when they existed.

    `rule_ids`: all rules that this run or a run before it had.
    """
    clusters = [cluster_segment_id(number) for number in range(segments.clusters.next_id)]
    fixed_ids = {*rule_ids, *(one.id for one in segments.built_in)}
    active = {sid for _, sid in segments.memberships.registry.active()}
    present = active | segments.configured_ids()
    deleted = [sid for sid in (*clusters, *sorted(fixed_ids)) if sid not in present]
    for sid in deleted:
        yield from delete_segment_keys(sid)
    if deleted:
        yield from (("HDEL", keys.overlap_key(other), *deleted) for other in sorted(present))
    ended = [sid for sid in clusters if sid not in present]
    if ended:
        yield from (("DEL", keys.definition_key(sid)) for sid in ended)
        yield ("HDEL", keys.registry_key(), *ended)
    built_in = (one for one in segments.built_in if one.id not in present)
    yield from definition_writes(msgspec.structs.replace(one, status=RETIRED) for one in built_in)
