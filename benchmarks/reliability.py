"""Draws how often came true what was said; `python -m benchmarks.propensity --plot FILE`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from operators.segments.propensity.prequential import PrequentialEvaluation


def draw(judges: Mapping[str, PrequentialEvaluation], path: Path) -> None:
    """Tenths of the chances each model said, by what came true of them; on the line they are right."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(judges), 4), dpi=100, layout="constrained")
    for place, (name, judge) in enumerate(judges.items(), start=1):
        axes = figure.add_subplot(1, len(judges), place)
        tenths = judge.reliability()
        most = max(max(one.predicted, one.observed) for one in tenths) * 1.05
        axes.plot([0, most], [0, most], color="0.7", linewidth=1)
        said, came = [one.predicted for one in tenths], [one.observed for one in tenths]
        axes.plot(said, came, "o-", color="#1f77b4")
        axes.set_title(f"{name}\n{judge.labels:,} chances, AUC {judge.auc:.3f}", fontsize=10)
        axes.set_xlabel("said, mean of a tenth")
        axes.set_ylabel("came true")
        axes.set_aspect("equal")
    figure.savefig(path, metadata={"Software": None})
