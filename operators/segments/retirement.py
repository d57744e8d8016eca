"""Segments that are no more: their shoppers leave, some at a time; then what Redis held goes too.

A cluster ended, or a run began without a kind, a rule or an algorithm that the run before had. Nothing
of this is stored: what is in the roster and is not wanted leaves, whenever a run begins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from operators.publish import profile_fields
from operators.segments.membership_index import DIMENSIONS
from operators.segments.propensity import built_in_segments
from operators.segments.propensity.profile_fields import MODELS_OF_LATER, SESSION
from state import keys
from state.interactions import NOBODY
from state.segments import (
    RETIRED,
    cluster_definition,
    cluster_id,
    cluster_number,
    definition_writes,
    lifecycle_definitions,
    rfm_definitions,
)
from state.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from operators.personalize.state import Learned
    from operators.segments.changes import Change
    from state.interactions import Rows
    from state.messages import Write
    from state.segments import Definition

AT_ONCE = 4096
"""Shoppers who leave with a batch: what a batch costs should not depend on what was turned off."""
HISTORY_DAYS = {keys.history_key: 8, keys.history_hours_key: 400}

_FIELDS = {"rfm": ("rfm",), "lifecycle": ("stage",), "propensity": MODELS_OF_LATER}
"""What profiles say of a kind."""


class Retiring:
    """What leaves now, and which kinds no profile should speak of any longer."""

    def __init__(self) -> None:
        self._leaving: set[str] | None = None
        self._gone: list[str] = []
        self._fields: tuple[str, ...] = ()
        self._told = 0

    def advance(self, learned: Learned, writes: list[Write]) -> list[Change]:
        """Let some shoppers leave, and append what else Redis is told. Who left or moved on."""
        ended = learned.clusters.ended
        if self._leaving is None:
            self._leaving = _unwanted(learned)
            self._gone = sorted(sid for sid in self._leaving if _was_closed(learned, sid))
            self._leaving.difference_update(self._gone)
            for sid in self._gone:
                learned.audience.roster.close(sid)
            self._fields = tuple(_fields(learned, self._leaving))
            models = [name for name in self._fields if name in (SESSION, *MODELS_OF_LATER)]
            writes += [("DEL", keys.model_key(name)) for name in models]
        if ended:
            find = learned.audience.roster.find
            found = {number: find(cluster_id(number)) for number in ended}
            for number in [number for number, place in found.items() if place == NOBODY]:
                del ended[number]  # nobody was ever in it
            self._leaving.update(cluster_id(number) for number in ended)
        if self._fields:
            self._forget_fields(learned, writes)
        changes: list[Change] = []
        for sid in sorted(self._leaving):
            changes += _leave(learned, sid, AT_ONCE - len(changes), writes)
            if len(changes) >= AT_ONCE:
                return changes
            writes += _close(learned, sid)
            learned.audience.roster.close(sid)
            self._leaving.remove(sid)
            self._gone.append(sid)
        self._gone = [sid for sid in self._gone if not _let_go(learned, sid, writes)]
        return changes

    def _forget_fields(self, learned: Learned, writes: list[Write]) -> None:
        names = learned.recommender.shoppers.ids[self._told : self._told + AT_ONCE]
        writes += [("HDEL", keys.profile_key(name), *self._fields) for name in names if name]
        self._told += AT_ONCE
        if self._told >= len(learned.recommender.shoppers.ids):
            if SESSION in self._fields:
                learned.propensity.begin_sessions()
            self._fields = ()


def erased(learned: Learned) -> Iterator[Write]:
    """Nothing of segments that are no more, for a Redis that came back as it was when they were."""
    clusters = [cluster_id(number) for number in range(learned.clusters.next_id)]
    others = {one.id for one in _built_in(learned)} | learned.rule_versions.versions.keys()
    there = {sid for _, sid in learned.audience.roster.living()} | _wanted(learned)
    gone = [sid for sid in (*clusters, *sorted(others)) if sid not in there]
    for sid in gone:
        yield from _emptied(sid)
    if gone:
        yield from (("HDEL", keys.overlap_key(other), *gone) for other in sorted(there))
    ended = [sid for sid in clusters if sid not in there]
    if ended:
        yield from (("DEL", keys.definition_key(sid)) for sid in ended)
        yield ("HDEL", keys.registry_key(), *ended)
    retired = (one for one in _built_in(learned) if one.id not in there)
    yield from definition_writes(msgspec.structs.replace(one, status=RETIRED) for one in retired)


def _emptied(sid: str) -> Iterator[Write]:
    yield ("DEL", keys.members_key(sid))
    yield ("DEL", keys.stats_key(sid))
    yield ("DEL", keys.lifts_key(sid))
    yield ("DEL", keys.overlap_key(sid))
    yield ("DEL", keys.popular_key("segment", sid))


def _wanted(learned: Learned) -> set[str]:
    """The segments of this run."""
    wanted = {one.id for one in learned.standing.definitions}
    wanted |= {one.id for one in learned.propensity.definitions}
    wanted |= {one.id for one in learned.rules}
    return wanted | {cluster_id(number) for number in learned.clusters.numbers}


def _unwanted(learned: Learned) -> set[str]:
    """What is in the roster and not a segment of this run."""
    wanted = _wanted(learned)
    return {sid for _, sid in learned.audience.roster.living() if sid not in wanted}


def _was_closed(learned: Learned, sid: str) -> bool:
    """Whether the run before closed it: what was said of it then stands."""
    number = cluster_number(sid)
    if number is None or number in learned.defined or number in learned.clusters.ended:
        return False
    return not learned.audience.size_of(sid)


def _fields(learned: Learned, leaving: set[str]) -> Iterator[str]:
    """The fields of kinds of which all leaves."""
    for kind, fields in _FIELDS.items():
        if any(one.kind == kind for one in _built_in(learned) if one.id in leaving):
            yield from fields
    if learned.propensity.had_sessions:
        yield SESSION


def _leave(learned: Learned, sid: str, most: int, writes: list[Write]) -> list[Change]:
    """Let at most so many shoppers go from a segment, to the one that goes on for it, if any."""
    audience = learned.audience
    rows = audience.members(audience.roster.find(sid))[:most]
    names = [learned.recommender.shoppers.ids[row] for row in rows.tolist()]
    if not len(rows):
        return []
    at_ms = np.maximum(learned.clock_ms, audience.last_ms[rows])
    for kind in DIMENSIONS:
        if audience.segment_of(kind, int(rows[0])) == audience.roster.find(sid):
            to = _heir(learned, sid)
            if kind == "cluster":
                writes += _profiles(learned, rows, to)
            place = audience.roster.place(to) if to else NOBODY
            return audience.put(kind, names, rows, np.full(len(rows), place, np.int16), at_ms)
    leaves = [(name, sid, False, at) for name, at in zip(names, at_ms.tolist(), strict=True)]
    return audience.apply(leaves, learned.recommender.shoppers)


def _heir(learned: Learned, sid: str) -> str:
    number = cluster_number(sid)
    heir = NOBODY if number is None else learned.clusters.ended.get(number, NOBODY)
    return cluster_id(heir) if heir != NOBODY else ""


def _profiles(learned: Learned, rows: Rows, cluster: str) -> Iterator[Write]:
    """Profiles say which cluster goes on, or none; how far it is they say when shoppers come again."""
    fields = {profile_fields.CLUSTER: cluster, profile_fields.DISTANCE: ""}
    for row in rows.tolist():
        yield from profile_fields.changed(learned.recommender.shoppers.ids[row], fields)


def _close(learned: Learned, sid: str) -> Iterator[Write]:
    """Nobody is in it: its keys go, its history in its time; the registry says that it is no more."""
    yield from _emptied(sid)
    for _, other in learned.audience.roster.living():
        yield ("HDEL", keys.overlap_key(other), sid)
    for key_of, days in HISTORY_DAYS.items():
        yield ("PEXPIRE", key_of(sid), days * DAY_MS)
    number = cluster_number(sid)
    if number is not None:
        learned.clusters.ended.pop(number, None)
        name, version = learned.defined.pop(number, (sid, 1))
        closed = [cluster_definition(number, name, version)]
    else:
        closed = [one for one in _built_in(learned) if one.id == sid]
    retired = [msgspec.structs.replace(one, status=RETIRED) for one in closed]
    yield from definition_writes(retired, learned.moment_ms)


def _let_go(learned: Learned, sid: str, writes: list[Write]) -> bool:
    """Give up its place once nothing of it is counted any longer; a cluster never comes back."""
    audience = learned.audience
    place = audience.roster.find(sid)
    if audience.size_of(sid) or not audience.worth.is_quiet(place, learned.moment_ms - DAY_MS):
        return False
    audience.roster.let_go(sid)
    if cluster_number(sid) is not None:
        writes.append(("DEL", keys.definition_key(sid)))
        writes.append(("HDEL", keys.registry_key(), sid))
    return True


def _built_in(learned: Learned) -> list[Definition]:
    """The segments that are always the same, whether they are turned on or not."""
    settings = learned.settings
    return [
        *rfm_definitions(),
        *lifecycle_definitions(msgspec.structs.asdict(settings.lifecycle)),
        *built_in_segments.definitions(settings.propensity.dormant_days, RETIRED),
    ]
