"""Shoppers who go on being counted, and withdraw a purpose: what was made for it goes.

Personalization made lists, learned from the shopper, and found clusters and chances; looks at items
were kept for triggers, which are ads. What was added to sums over all shoppers stays in them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from msgspec.structs import astuple

from operators.segments.propensity import built_in_segments
from operators.segments.propensity.profile_fields import SESSION, WEEKLY_MODELS
from operators.segments.propensity.propensity import PropensityScores
from state import keys
from state.arrays import NO_ROW
from state.changes import Change
from state.messages import Transition
from state.shopper import PERSONALIZATION, PURPOSES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from operators.personalize.state import PersonalizationState
    from operators.segments.propensity.propensity import PropensityModels
    from state.arrays import Rows
    from state.messages import ShardOutput, Write

PERSONALIZED_FIELDS = ("cluster", "cluster_distance", SESSION, *WEEKLY_MODELS)
"""What profiles say that was made for personalization."""


def apply_withdrawals(
    learned: PersonalizationState, visited: list[ShardOutput], writes: list[Write]
) -> list[Change]:
    """Take back what was made for purposes that are withdrawn; the changes that follow."""
    changes: list[Change] = []
    find = learned.recommender.shoppers.get
    looked: list[int] = []
    for one in visited:
        for withdrawal in one.consent_withdrawals:
            name, purposes, at_ms = astuple(withdrawal)
            row = find(name)
            if row == NO_ROW:
                continue
            looked.append(row)
            if purposes & PERSONALIZATION:
                changes += _remove_personalization(learned, name, row, at_ms, writes)
            known = learned.memberships.is_known(row)
            changes += [
                Change("refuse", name, purpose, at_ms, known)
                for purpose, bit in PURPOSES.items()
                if purposes & bit
            ]
    learned.recent_views.release("shopper", np.array(looked, np.int32), learned.newest_event_ms)
    return changes


def _remove_personalization(
    learned: PersonalizationState, name: str, row: int, at_ms: int, writes: list[Write]
) -> Iterator[Change]:
    audience, rows = learned.memberships, np.array([row], np.int32)
    learned.recommender.components.unlearn_shoppers(rows)
    learned.propensity.merge_or_erase(row, name, erased=True)
    writes.append(("DEL", keys.top_key(name, keys.SLOT)))
    writes.append(("HDEL", keys.profile_key(name), *PERSONALIZED_FIELDS))
    nowhere = np.full(1, NO_ROW, np.int16)
    yield from audience.assign("cluster", [name], rows, nowhere, np.array([at_ms]))
    leaves = [Transition(name, sid, False, at_ms) for sid in built_in_segments.IDS.values()]
    yield from audience.apply_transitions(leaves, learned.recommender.shoppers)


def personalized_indexes(refused: Sequence[int]) -> NDArray[np.intp]:
    """The places of those who do not refuse personalization, by what each refuses."""
    if not any(refused):
        return np.arange(len(refused))
    return np.flatnonzero(np.array(refused) & PERSONALIZATION == 0)


def with_propensity_fields(
    propensity: PropensityModels,
    profiles: Sequence[str],
    counts: Sequence[int],
    rows: Rows,
    scores: PropensityScores,
    used: NDArray[np.intp],
) -> tuple[Sequence[str], Sequence[int]]:
    """Packed commands that write profiles and their numbers of arguments; with the scores, of those that
    may be used."""
    some = PropensityScores(*(one[used] for one in scores))
    return _apply_to_used(
        lambda told, numbers: propensity.add_profile_fields(told, numbers, rows[used], some),
        profiles,
        counts,
        used,
    )


def with_latest_propensity_fields(
    propensity: PropensityModels,
    profiles: Sequence[str],
    counts: Sequence[int],
    rows: Rows,
    raw: NDArray[np.float64],
    used: NDArray[np.intp],
) -> tuple[Sequence[str], Sequence[int]]:
    """The same of those whose profiles are lost, as they were told last."""
    return _apply_to_used(
        lambda told, numbers: propensity.rebuild_profile_fields(
            told, numbers, rows[used], raw[used]
        ),
        profiles,
        counts,
        used,
    )


def _apply_to_used(
    told: Callable[[Sequence[str], Sequence[int]], tuple[Sequence[str], Sequence[int]]],
    profiles: Sequence[str],
    counts: Sequence[int],
    used: NDArray[np.intp],
) -> tuple[Sequence[str], Sequence[int]]:
    if len(used) == len(profiles):
        return told(profiles, counts)
    heads, numbers, places = list(profiles), list(counts), used.tolist()
    if places:
        some = told([heads[place] for place in places], [numbers[place] for place in places])
        for place, head, number in zip(places, *some, strict=True):
            heads[place], numbers[place] = head, number
    return heads, numbers
