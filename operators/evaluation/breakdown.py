"""Where the lists are good and where not: cases by what they were."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from operators.evaluation.results import NEVER
from state.times import DAY_MS, HOUR_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from operators.evaluation.results import Outcome

    Places = NDArray[np.intp]

DEPTHS = (1, 2, 4, 8)


class Grouping(NamedTuple):
    """A way to part cases: the names of its groups, and the group of each case by its place there."""

    groups: Sequence[str]
    place: Callable[[Outcome], Places]
    needs_times: bool = False


def _depth(outcome: Outcome) -> Places:
    return np.searchsorted(DEPTHS, np.asarray(outcome.depth), side="right")


def _shopper(outcome: Outcome) -> Places:
    return np.frombuffer(outcome.is_known, np.uint8).astype(np.intp)


def _item(outcome: Outcome) -> Places:
    age_ms = np.asarray(outcome.age_ms)
    return np.where(age_ms == NEVER, 0, np.where(age_ms < DAY_MS, 1, 2))


def _hour(outcome: Outcome) -> Places:
    return np.asarray(outcome.at_ms) // HOUR_MS % 24


GROUPINGS: Mapping[str, Grouping] = {
    "depth": Grouping(("0", "1", "2-3", "4-7", "8+"), _depth),
    "shopper": Grouping(("new", "known"), _shopper),
    "item": Grouping(("never seen", "first day", "older"), _item, needs_times=True),
    "hour": Grouping([f"{hour:02}" for hour in range(24)], _hour, needs_times=True),
}
"""How many items the session held before the click; whether the shopper had clicked before; since when
the item had been clicked; the hour of the day (UTC)."""


def breakdown(
    outcome: Outcome, *, has_times: bool = True
) -> dict[str, dict[str, dict[str, int | dict[str, float]]]]:
    """By grouping and group the number of cases, `n`, and each learner's HR@k and MRR@k there.

    Groupings that do not part the cases are left out.
    """
    hits = {name: outcome.hits(name) for name in outcome.ranks}
    gains = {name: outcome.reciprocal(name) for name in outcome.ranks}
    found: dict[str, dict[str, dict[str, int | dict[str, float]]]] = {}
    for grouping, (groups, place_of, needs_times) in GROUPINGS.items():
        place = place_of(outcome)
        there = np.unique(place).tolist()
        if len(there) < 2 or (needs_times and not has_times):
            continue
        found[grouping] = {}
        for at in there:
            case = place == at
            found[grouping][groups[at]] = {"n": int(case.sum())} | {
                name: {
                    f"hr@{outcome.k}": round(float(hits[name][case].mean()), 6),
                    f"mrr@{outcome.k}": round(float(gains[name][case].mean()), 6),
                }
                for name in hits
            }
    return found
