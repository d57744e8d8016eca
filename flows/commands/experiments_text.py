"""What `penstock experiments` prints: experiments, plans and results as lines."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

from operators.experiments.definitions import METRICS, day_text
from operators.segments.rules.quantities import format_duration
from serving.times import in_utc

if TYPE_CHECKING:
    from operators.experiments.definitions import Experiment, Experiments
    from operators.experiments.planning import Plan, SlotBaseline
    from operators.experiments.units import ExperimentSums
    from operators.experiments.verdict import VariantComparison, Verdict


def experiment_lines(experiments: Experiments) -> list[str]:
    """One line for each experiment, and the hold-out."""
    lines = [
        f"{one.name}: slot {one.slot}, {_shares(one)}, since {day_text(one.start_ms)}"
        + (f" until {day_text(one.end_ms)}" if one.end_ms else "")
        + f", {one.decide.metric} within {format_duration(one.decide.window_ms)}"
        for one in experiments.experiments
    ]
    if experiments.holdout_buckets:
        lines.append(f"holdout: {experiments.holdout_buckets / 100:g} % are in no experiment")
    return lines or ["no experiments"]


def plan_lines(
    experiment: Experiment,
    baseline: SlotBaseline,
    plan: Plan,
    days: float | None,
    effect: float | None,
) -> list[str]:
    """What an experiment needs."""
    decide = experiment.decide
    lines = [
        f"metric     {decide.metric}: {METRICS[decide.metric]}, "
        f"within {format_duration(decide.window_ms)}",
        f"today      {baseline.mean:,.4f}, deviation {baseline.deviation:,.4f}, "
        f"of {baseline.units:,} units; {baseline.units_a_day:,.1f} new units a day",
        f"to find    {decide.least_effect:+.1%} with 80 % probability:",
        f"  sequence {_count(plan.sequence_units)} units a variant, {_count(plan.sequence_days)} days: "
        "look as often as you like",
        f"  fixed    {_count(plan.fixed_units)} units a variant, {_count(plan.fixed_days)} days: "
        "look once, at the end",
    ]
    if days is not None and effect is not None:
        found = f"{effect:+.1%}" if isfinite(effect) else "nothing"
        lines.append(f"after {days:g} days the sequence finds {found}")
    return lines


def result_lines(
    experiment: Experiment, measured: ExperimentSums, verdict: Verdict, other_currency: int
) -> list[str]:
    """What an experiment brought."""
    left_out = measured.left_out
    lines = [f"experiment {experiment.name}, seed {experiment.seed}"]
    if experiment.question:
        lines.append(f"question   {experiment.question}")
    lines += [
        f"verdict    {verdict.state}: {verdict.reason}",
        "units      "
        + ", ".join(
            f"{variant} {measured.exposed[variant]:,} ({measured.complete[variant]:,} complete)"
            for variant in experiment.shares
        ),
        f"shares     p {verdict.sample_ratio_p:.3g} at any time, "
        f"{verdict.sample_ratio_p_fixed:.3g} at the planned end",
        f"left out   {left_out.both:,} units saw both; "
        f"exposures: {left_out.mismatch:,} of another variant, "
        f"{left_out.held_out:,} held out, {left_out.no_unit:,} without an id, "
        f"{left_out.other_time:,} of another time",
    ]
    if other_currency:
        lines.append(f"money      {other_currency:,} orders and refunds have no rate: no revenue")
    for comparison in verdict.comparisons:
        lines += _comparison_lines(comparison, comparison.metric in experiment.guard)
    return lines


def daily_line(measured: ExperimentSums, verdict: Verdict) -> str:
    """The sequence of the metric that decides, at the end of a day."""
    variants = len(measured.complete) - 1
    intervals = [
        f"{one.variant} {one.relative.estimate:+.2%} ({one.relative.low:+.2%} to "
        f"{one.relative.high:+.2%})"
        for one in verdict.comparisons[:variants]
    ]
    complete = sum(measured.complete.values())
    return f"{in_utc(measured.at_ms)}  {complete:>7,}  {verdict.state:<13}  {', '.join(intervals)}"


def _comparison_lines(one: VariantComparison, is_guard: bool) -> list[str]:
    role = "guard" if is_guard else "decides"
    share = ""
    if one.share_interval:
        share = f" ({one.share_interval[0]:.2%} to {one.share_interval[1]:.2%})"
    relative, absolute = one.relative, one.absolute
    return [
        f"{one.metric} ({role}): {one.variant} {one.mean:,.4f}{share} against {one.control_mean:,.4f}",
        f"  lift     {relative.estimate:+.2%}, at any time between {relative.low:+.2%} and "
        f"{relative.high:+.2%} (p {relative.p:.3g})",
        f"  differs  {absolute.estimate:+,.5f}, between {absolute.low:+,.5f} and {absolute.high:+,.5f}",
        f"  fixed    p {one.p_fixed:.3g}, valid at the planned end only",
        *(
            [f"  past     explains {one.variance_saved:.1%} of the variance"]
            if one.variance_saved
            else []
        ),
    ]


def _shares(experiment: Experiment) -> str:
    return ", ".join(f"{name} {buckets / 100:g} %" for name, buckets in experiment.shares.items())


def _count(number: float) -> str:
    return f"{number:,.0f}" if isfinite(number) else "never enough"
