"""Shoppers who go on being counted, and withdraw a purpose: what was made for it goes.

Personalization made lists, learned from the shopper, and found clusters and chances; looks at items
were kept for triggers, which are ads. What was added to sums over all shoppers stays in them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.segments.changes import Change
from operators.segments.propensity import built_in_segments
from operators.segments.propensity.profile_fields import MODELS_OF_LATER, SESSION
from operators.segments.propensity.propensity import Scores
from state import keys
from state.interactions import NOBODY
from state.shopper import PERSONALIZATION, PURPOSES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from operators.personalize.state import Learned
    from operators.segments.propensity.propensity import Propensity
    from state.interactions import Rows
    from state.messages import Visited, Write

FIELDS = ("cluster", "cluster_distance", SESSION, *MODELS_OF_LATER)
"""What profiles say that was made for personalization."""


def decline(learned: Learned, visited: list[Visited], writes: list[Write]) -> list[Change]:
    """Take back what was made for purposes that are withdrawn; the changes that follow."""
    changes: list[Change] = []
    find = learned.recommender.shoppers.find
    looked: list[int] = []
    for one in visited:
        for name, purposes, at_ms in one.declined:
            row = find(name)
            if row == NOBODY:
                continue
            looked.append(row)
            if purposes & PERSONALIZATION:
                changes += _unlearn(learned, name, row, at_ms, writes)
            known = learned.audience.is_known(row)
            changes += [
                Change("refuse", name, purpose, at_ms, known)
                for purpose, bit in PURPOSES.items()
                if purposes & bit
            ]
    learned.views.leave("shopper", np.array(looked, np.int32), learned.now_ms)
    return changes


def _unlearn(
    learned: Learned, name: str, row: int, at_ms: int, writes: list[Write]
) -> Iterator[Change]:
    audience, rows = learned.audience, np.array([row], np.int32)
    learned.recommender.unlearn_shoppers(rows)
    learned.propensity.leave(row, name, erased=True)
    writes.append(("DEL", keys.top_key(name, keys.SLOT)))
    writes.append(("HDEL", keys.profile_key(name), *FIELDS))
    nowhere = np.full(1, NOBODY, np.int16)
    yield from audience.put("cluster", [name], rows, nowhere, np.array([at_ms]))
    leaves = [(name, sid, False, at_ms) for sid in built_in_segments.IDS.values()]
    yield from audience.apply(leaves, learned.recommender.shoppers)


def may_be_used(refused: Sequence[int]) -> NDArray[np.intp]:
    """The places of those who do not refuse personalization, by what each refuses."""
    if not any(refused):
        return np.arange(len(refused))
    return np.flatnonzero(np.array(refused) & PERSONALIZATION == 0)


def with_chances(
    propensity: Propensity,
    profiles: Sequence[str],
    counts: Sequence[int],
    rows: Rows,
    scores: Scores,
    used: NDArray[np.intp],
) -> tuple[Sequence[str], Sequence[int]]:
    """Packed commands that write profiles and their numbers of arguments; with the scores, of those that
    may be used."""
    some = Scores(*(one[used] for one in scores))
    return _of_used(
        lambda told, numbers: propensity.told(told, numbers, rows[used], some),
        profiles,
        counts,
        used,
    )


def with_chances_again(
    propensity: Propensity,
    profiles: Sequence[str],
    counts: Sequence[int],
    rows: Rows,
    raw: NDArray[np.float64],
    used: NDArray[np.intp],
) -> tuple[Sequence[str], Sequence[int]]:
    """The same of those whose profiles are lost, as they were told last."""
    return _of_used(
        lambda told, numbers: propensity.told_again(told, numbers, rows[used], raw[used]),
        profiles,
        counts,
        used,
    )


def _of_used(
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
