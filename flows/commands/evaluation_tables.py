"""The output of `penstock evaluate`: tables for a terminal, and the report as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import orjson
from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from operators.evaluation.competitors import BLEND, OTHER_CONFIGURATION

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from operators.evaluation.comparison import Comparison, Difference
    from operators.evaluation.counterfactual import Counterfactual

    Scores = Mapping[str, Mapping[str, float]]
    Breakdown = Mapping[str, Mapping[str, Mapping[str, Any]]]

ACCURACY = ("hr", "mrr", "ndcg", "map")
"""The metrics of the first table; the second table has all others."""


def accuracy_table(scores: Scores) -> Table:
    """Return the table of accuracy: one row for each learner, one column for each metric."""
    return _table(
        "learner", scores, [name for name in _metrics(scores) if _metric_name(name) in ACCURACY]
    )


def diversity_table(scores: Scores) -> Table:
    """Return the table of all other metrics: coverage, diversity, novelty."""
    metrics = [name for name in _metrics(scores) if _metric_name(name) not in ACCURACY]
    return _table("learner", scores, metrics)


def group_table(
    grouping: str, groups: Mapping[str, Mapping[str, Any]], names: Sequence[str]
) -> Table:
    """Return the table of HR and MRR of some learners in each group of cases."""
    numbers = [Column(name, justify="right") for name in ("cases", *names)]
    table = Table(grouping, *numbers, box=SIMPLE_HEAD, caption="HR / MRR")
    for group_name, figures in groups.items():
        pairs = [" / ".join(f"{x:.3f}" for x in figures[name].values()) for name in names]
        table.add_row(group_name, f"{figures['n']:,}", *pairs)
    return table


def learners_in_groups(scores: Scores) -> list[str]:
    """Return the learners of a breakdown: the blend, its competitor, and the best other."""
    served = [name for name in (BLEND, OTHER_CONFIGURATION) if name in scores]
    remaining = [name for name in scores if name not in served]
    best = max(remaining, key=lambda name: next(iter(scores[name].values())), default=None)
    return [*served, best] if best else served


def comparison_lines(result: Comparison, k: int, other: str) -> list[str]:
    """Describe a comparison in lines."""
    return [
        f"against {other}, {result.n:,} cases of {result.owners:,} shoppers:",
        f"  HR@{k} {_difference(result.hr)}",
        f"  MRR@{k} {_difference(result.mrr)}",
        f"  {result.only_ours:,} cases hit by the blend alone, {result.only_theirs:,} by the other "
        "alone:"
        f" McNemar's p {result.mcnemar_p:.2g}",
        f"  {_verdict(result)}",
    ]


def _difference(difference: Difference) -> str:
    return (
        f"{difference.mean:+.4f}, 95 % interval {difference.low:+.4f} to {difference.high:+.4f}, "
        f"p {difference.p:.2g}"
    )


def _verdict(result: Comparison) -> str:
    sides = [(one.low > 0) - (one.high < 0) for one in (result.hr, result.mrr)]
    if max(sides) > 0 <= min(sides):
        return "better beyond chance"
    if min(sides) < 0 >= max(sides):
        return "worse beyond chance"
    return "better in one and worse in the other" if any(sides) else "no difference beyond chance"


def evaluation_report(
    cases: int, scores: Scores, groups: Breakdown, comparison: Comparison | None = None
) -> bytes:
    """Return the report as JSON (docs/evaluate.md): the blend beside the learners."""
    served = {name: scores[name] for name in (BLEND, OTHER_CONFIGURATION) if name in scores}
    learners = {name: metrics for name, metrics in scores.items() if name not in served}
    document: dict[str, Any] = {"n": cases, "learners": learners, **served, "breakdown": groups}
    if comparison is not None:
        document["comparison"] = comparison
    return _json(document)


def _json(document: Mapping[str, Any]) -> bytes:
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    return orjson.dumps(document, option=options, default=msgspec.to_builtins)


def counterfactual_table(estimates: Mapping[str, Counterfactual]) -> Table:
    """Return the table of what each policy would have got, by three estimators with intervals."""
    names = ("matched", "support", "ips", "snips", "dr", "gain")
    table = Table("would show", *(Column(name, justify="right") for name in names), box=SIMPLE_HEAD)
    for name, estimate in estimates.items():
        columns = [estimate.ips, estimate.snips, estimate.dr, estimate.gain]
        cells = [f"{of.mean:.4f}\n{of.low:.4f} .. {of.high:.4f}" for of in columns]
        table.add_row(name, f"{estimate.matched:,}", f"{estimate.support.mean:.2f}", *cells)
    return table


def counterfactual_report(
    rows: int, reward: float, estimates: Mapping[str, Counterfactual]
) -> bytes:
    """Return the counterfactual report as JSON."""
    return _json({"n": rows, "reward": round(reward, 6), "policies": estimates})


def _metrics(scores: Scores) -> list[str]:
    return list(next(iter(scores.values())))


def _metric_name(metric: str) -> str:
    return metric.partition("@")[0]


def _table(head: str, scores: Scores, metrics: Sequence[str]) -> Table:
    numbers = [Column(_metric_name(name), justify="right") for name in metrics]
    table = Table(head, *numbers, box=SIMPLE_HEAD)
    for name, values in scores.items():
        table.add_row(name, *(f"{values[metric]:.4f}" for metric in metrics if metric in values))
    return table
