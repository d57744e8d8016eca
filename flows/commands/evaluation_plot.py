"""The plot of `penstock evaluate`: the hit rate of each learner over the cases, and by group.

matplotlib is imported only when a plot is drawn: a server that runs the flow does not need it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from operators.evaluation.competitors import BLEND
from state.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from operators.evaluation.results import EvaluationResult

    Breakdown = Mapping[str, Mapping[str, Mapping[str, Any]]]

POINTS_MAX = 48
CASES_PER_POINT_MIN = 100
"""With fewer cases in a point the lines are mostly noise: 100 cases distinguish .6 from .7."""

TICKS = 6
FEW_GROUPS = 8


def hit_rates(hits: NDArray[np.float64], points: int) -> NDArray[np.float64]:
    """Return the share of hits in each of `points` runs of cases of about equal length.

    >>> hit_rates(np.array([1.0, 1.0, 0.0, 1.0]), 2).tolist()
    [1.0, 0.5]
    """
    return np.array([part.mean() for part in np.array_split(hits, points)])


def _time(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%d %b %Y\n%H:%M}"


def plot(
    outcome: EvaluationResult, groups: Breakdown, path: Path, *, title: str, has_times: bool
) -> None:
    """Write a PNG: the hit rate over the cases, and below it the hit rate by each grouping.

    The x axis is the number of the case, not time, since logs of shops have gaps and peaks. Raises
    OutputError.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 8.5 if groups else 5), layout="constrained")
    grid = figure.add_gridspec(
        2 if groups else 1, max(len(groups), 1), height_ratios=[3, 2][: 1 + bool(groups)]
    )
    _over_time(outcome, figure.add_subplot(grid[0, :]), title=title, has_times=has_times)
    for column, (grouping, by_group) in enumerate(groups.items()):
        _by_group(figure.add_subplot(grid[1, column]), grouping, by_group, outcome)
    figure.legend(loc="outside right upper", title=f"HR@{outcome.k} over all", frameon=False)
    try:
        figure.savefig(path, format="png", dpi=120)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}: name another file") from error


def _over_time(outcome: EvaluationResult, axes: Axes, *, title: str, has_times: bool) -> None:
    """Draw one line for each learner."""
    points = max(1, min(POINTS_MAX, len(outcome) // CASES_PER_POINT_MIN))
    middles = [part[len(part) // 2] for part in np.array_split(np.arange(len(outcome)), points)]
    for name in _best_first(outcome):
        hits = outcome.hits(name)
        axes.plot(
            middles,
            hit_rates(hits, points),
            label=f"{name}  {hits.mean():.3f}",
            linewidth=2.6 if name == BLEND else 1.4,
            color="black" if name == BLEND else None,
            marker="o" if points == 1 else None,
        )
    axes.set_title(title, loc="left")
    axes.set_ylabel(f"HR@{outcome.k}, a point every {len(outcome) // points:,} cases")
    axes.set_xlabel("cases, and the event time (UTC) they came at" if has_times else "cases")
    if has_times:
        ticks = np.linspace(0, len(outcome) - 1, TICKS).astype(int).tolist()
        axes.set_xticks(ticks, [f"{tick:,}\n{_time(outcome.at_ms[tick])}" for tick in ticks])
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)


def _by_group(
    axes: Axes, grouping: str, by_group: Mapping[str, Mapping[str, Any]], outcome: EvaluationResult
) -> None:
    """Draw a point for each learner and group, and the share of cases in the group as grey bars."""
    names = list(by_group)
    share = np.array([by_group[name]["n"] for name in names]) / len(outcome)
    axes.bar(names, share, color="0.9", width=0.8)
    for learner in _best_first(outcome):
        rates = [by_group[name][learner][f"hr@{outcome.k}"] for name in names]
        is_blend = learner == BLEND
        color, size = ("black", 5) if is_blend else (None, 3)
        axes.plot(names, rates, "o-", color=color, markersize=size, linewidth=0.5 + is_blend)
    axes.set_title(f"by {grouping}; grey: share of cases", loc="left", fontsize="medium")
    axes.set_ylim(bottom=0)
    axes.tick_params(axis="x", labelsize="small", rotation=90 if len(names) > FEW_GROUPS else 0)
    axes.grid(alpha=0.3, axis="y")


def _best_first(outcome: EvaluationResult) -> list[str]:
    """Return the learners in one order for all plots, so that each has one colour."""
    return sorted(outcome.ranks, key=lambda name: -outcome.hits(name).sum())
