"""Results by group of cases: where the lists are good, and where they are not."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from operators.evaluation.results import NEVER
from state.times import DAY_MS, HOUR_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from operators.evaluation.results import EvaluationResult

    GroupIndexes = NDArray[np.intp]

DEPTHS = (1, 2, 4, 8)


class Grouping(NamedTuple):
    """A way to group cases: the names of the groups, and the index of each case's group."""

    groups: Sequence[str]
    group_of: Callable[[EvaluationResult], GroupIndexes]
    needs_times: bool = False


def _depth(result: EvaluationResult) -> GroupIndexes:
    return np.searchsorted(DEPTHS, np.asarray(result.depth), side="right")


def _shopper(result: EvaluationResult) -> GroupIndexes:
    return np.frombuffer(result.is_known, np.uint8).astype(np.intp)


def _item(result: EvaluationResult) -> GroupIndexes:
    age_ms = np.asarray(result.age_ms)
    return np.where(age_ms == NEVER, 0, np.where(age_ms < DAY_MS, 1, 2))


def _hour(result: EvaluationResult) -> GroupIndexes:
    return np.asarray(result.at_ms) // HOUR_MS % 24


GROUPINGS: Mapping[str, Grouping] = {
    "depth": Grouping(("0", "1", "2-3", "4-7", "8+"), _depth),
    "shopper": Grouping(("new", "known"), _shopper),
    "item": Grouping(("never seen", "first day", "older"), _item, needs_times=True),
    "hour": Grouping([f"{hour:02}" for hour in range(24)], _hour, needs_times=True),
}
"""By the number of items in the session before the click; by whether the shopper had clicked before; by
the time since the item's first click; by the hour of the day (UTC)."""


def breakdown(
    result: EvaluationResult, *, has_times: bool = True
) -> dict[str, dict[str, dict[str, int | dict[str, float]]]]:
    """The number of cases `n` and each learner's HR@k and MRR@k, by grouping and group.

    A grouping with all cases in one group is left out.
    """
    hits = {name: result.hits(name) for name in result.ranks}
    gains = {name: result.reciprocal(name) for name in result.ranks}
    table: dict[str, dict[str, dict[str, int | dict[str, float]]]] = {}
    for grouping, (groups, group_of, needs_times) in GROUPINGS.items():
        group = group_of(result)
        present = np.unique(group).tolist()
        if len(present) < 2 or (needs_times and not has_times):
            continue
        table[grouping] = {}
        for index in present:
            in_group = group == index
            table[grouping][groups[index]] = {"n": int(in_group.sum())} | {
                name: {
                    f"hr@{result.k}": round(float(hits[name][in_group].mean()), 6),
                    f"mrr@{result.k}": round(float(gains[name][in_group].mean()), 6),
                }
                for name in hits
            }
    return table
