"""The picture of `penstock evaluate`: each learner's hit rate while the stream went by.

matplotlib is imported when a picture is wanted: a server that runs the flow does without.
"""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from state.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from operators.evaluation.protocols import Outcome

POINTS_MAX = 48
CASES_A_POINT_MIN = 100
"""Fewer cases a point and the lines are mostly noise: 100 cases tell .6 from .7."""

TICKS = 6


def require_matplotlib() -> None:
    """Raise UserError where there is none: better before the work than after."""
    if find_spec("matplotlib") is None:
        raise UserError("--plot needs matplotlib: pip install matplotlib")


def hit_rates(hits: bytearray, points: int) -> NDArray[np.float64]:
    """The share of hits in each of `points` runs of cases, as equal in length as can be.

    >>> hit_rates(bytearray([1, 1, 0, 1]), 2).tolist()
    [1.0, 0.5]
    """
    return np.array([part.mean() for part in np.array_split(np.frombuffer(hits, np.int8), points)])


def _time(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%d %b %Y\n%H:%M}"


def plot(outcome: Outcome, path: Path, *, title: str, has_times: bool) -> None:
    """Write a PNG with a line a learner, over the cases: shops' logs have gaps and rushes of time.

    Raises UserError where the file cannot be written.
    """
    from matplotlib.figure import Figure

    points = max(1, min(POINTS_MAX, len(outcome) // CASES_A_POINT_MIN))
    middles = [part[len(part) // 2] for part in np.array_split(np.arange(len(outcome)), points)]
    figure = Figure(figsize=(10, 5), layout="constrained")
    axes = figure.add_subplot()
    best_last = sorted(outcome.hits, key=lambda name: sum(outcome.hits[name]))
    for name in reversed(best_last):
        share = sum(outcome.hits[name]) / len(outcome)
        axes.plot(
            middles,
            hit_rates(outcome.hits[name], points),
            label=f"{name}  {share:.3f}",
            linewidth=2.6 if name == "blend" else 1.4,
            color="black" if name == "blend" else None,
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
    figure.legend(loc="outside right upper", title=f"HR@{outcome.k} over all", frameon=False)
    try:
        figure.savefig(path, format="png", dpi=120)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
