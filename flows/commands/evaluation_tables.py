"""What `penstock evaluate` says: tables for a terminal, and the report as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import orjson
from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from operators.evaluation.protocols import AGAINST, BLEND

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from operators.evaluation.comparison import Comparison, Difference
    from operators.evaluation.counterfactual import Counterfactual

    Scores = Mapping[str, Mapping[str, float]]
    Breakdown = Mapping[str, Mapping[str, Mapping[str, Any]]]

ACCURACY = ("hr", "mrr", "ndcg", "map")
"""The metrics of the first table; all others stand in the second."""


def accuracy(scores: Scores) -> Table:
    """How well what came was foretold: a row a learner, a column a metric."""
    return _table(
        "learner", scores, [name for name in _metrics(scores) if _plain(name) in ACCURACY]
    )


def beyond(scores: Scores) -> Table:
    """What else can be said of the lists."""
    metrics = [name for name in _metrics(scores) if _plain(name) not in ACCURACY]
    return _table("learner", scores, metrics)


def group(grouping: str, found: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> Table:
    """HR and MRR of some learners in each group of cases."""
    numbers = [Column(name, justify="right") for name in ("cases", *names)]
    table = Table(grouping, *numbers, box=SIMPLE_HEAD, caption="HR / MRR")
    for of, figures in found.items():
        pairs = [" / ".join(f"{x:.3f}" for x in figures[name].values()) for name in names]
        table.add_row(of, f"{figures['n']:,}", *pairs)
    return table


def shown_in_groups(scores: Scores) -> list[str]:
    """The learners that a breakdown shows: what is served, what it is compared with, the best other."""
    served = [name for name in (BLEND, AGAINST) if name in scores]
    others = [name for name in scores if name not in served]
    best = max(others, key=lambda name: next(iter(scores[name].values())), default=None)
    return [*served, best] if best else served


def comparison(found: Comparison, k: int, other: str) -> list[str]:
    """A comparison in words."""
    return [
        f"against {other}, {found.n:,} cases of {found.owners:,} shoppers:",
        f"  HR@{k} {_difference(found.hr)}",
        f"  MRR@{k} {_difference(found.mrr)}",
        f"  {found.only_ours:,} cases hit by the blend alone, {found.only_theirs:,} by the other alone:"
        f" McNemar's p {found.mcnemar_p:.2g}",
        f"  {_verdict(found)}",
    ]


def _difference(of: Difference) -> str:
    return f"{of.mean:+.4f}, 95 % interval {of.low:+.4f} to {of.high:+.4f}, p {of.p:.2g}"


def _verdict(found: Comparison) -> str:
    sides = [(one.low > 0) - (one.high < 0) for one in (found.hr, found.mrr)]
    if max(sides) > 0 <= min(sides):
        return "better beyond chance"
    if min(sides) < 0 >= max(sides):
        return "worse beyond chance"
    return "better in one and worse in the other" if any(sides) else "no difference beyond chance"


def report(cases: int, scores: Scores, groups: Breakdown, found: Comparison | None = None) -> bytes:
    """The report as design and documents promise it: the blend beside the learners."""
    served = {name: scores[name] for name in (BLEND, AGAINST) if name in scores}
    learners = {name: metrics for name, metrics in scores.items() if name not in served}
    whole: dict[str, Any] = {"n": cases, "learners": learners, **served, "breakdown": groups}
    if found is not None:
        whole["comparison"] = found
    return _json(whole)


def _json(whole: Mapping[str, Any]) -> bytes:
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    return orjson.dumps(whole, option=options, default=msgspec.to_builtins)


def counterfactual(found: Mapping[str, Counterfactual]) -> Table:
    """What each policy would have brought, by three estimates with their intervals."""
    names = ("matched", "support", "ips", "snips", "dr", "gain")
    table = Table("would show", *(Column(name, justify="right") for name in names), box=SIMPLE_HEAD)
    for name, one in found.items():
        estimates = [one.ips, one.snips, one.dr, one.gain]
        cells = [f"{of.mean:.4f}\n{of.low:.4f} .. {of.high:.4f}" for of in estimates]
        table.add_row(name, f"{one.matched:,}", f"{one.support.mean:.2f}", *cells)
    return table


def counterfactual_report(rows: int, reward: float, found: Mapping[str, Counterfactual]) -> bytes:
    """The same as JSON."""
    return _json({"n": rows, "reward": round(reward, 6), "policies": found})


def _metrics(scores: Scores) -> list[str]:
    return list(next(iter(scores.values())))


def _plain(metric: str) -> str:
    return metric.partition("@")[0]


def _table(head: str, scores: Scores, metrics: Sequence[str]) -> Table:
    numbers = [Column(_plain(name), justify="right") for name in metrics]
    table = Table(head, *numbers, box=SIMPLE_HEAD)
    for name, values in scores.items():
        table.add_row(name, *(f"{values[one]:.4f}" for one in metrics if one in values))
    return table
