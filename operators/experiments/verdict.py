"""What the sums of an experiment say: the differences of each variant from the control, and one
verdict.

The confidence sequence decides, so the answer may be looked at after every event. The tests beside
it hold at the planned end only. There is no verdict while units do not fall by the shares of the
file: then what is measured is how units were lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec

from operators.experiments.statistics.effects import relative_effect
from operators.experiments.statistics.fixed import (
    chi_square_of_counts,
    chi_square_of_shares,
    holm,
    welch,
    wilson,
)
from operators.experiments.statistics.sample_ratio import ALARM_BELOW, sample_ratio_p
from operators.experiments.statistics.sequence import Interval, absolute_sequence, sequence
from operators.experiments.statistics.sums import adjust
from state.money import MICROS_PER_UNIT

if TYPE_CHECKING:
    from operators.experiments.definitions import Experiment
    from operators.experiments.statistics.sums import Arm, Sums
    from operators.experiments.units import ExperimentSums

State = Literal["running", "won", "lost", "no-difference", "harmed", "sample-ratio"]

HARM_ALPHA: Final = 0.01
"""One-sided, for each guard metric: a guard that is wrong often would stop good variants."""
UNITS_MIN: Final = 100
"""Complete units that each variant needs for a verdict: the sequence is exact for many units only.
"""


class VariantComparison(msgspec.Struct, frozen=True):
    """A variant against the control, in one metric. Relative figures are shares of the control's
    mean.

    `sequence` decides. `p_fixed` (Welch; chi-square for a conversion) holds at the planned end
    only, and is corrected for the number of variants. `variance_saved`: the share of variance that
    the covariate explained.
    """

    metric: str
    variant: str
    control_mean: float
    mean: float
    absolute: Interval
    relative: Interval
    p_fixed: float
    variance_saved: float
    share_interval: tuple[float, float] | None = None


class Verdict(msgspec.Struct, frozen=True):
    """The state of an experiment. `variant` is the one that won, lost or did harm; `reason` is one
    sentence.
    """

    state: State
    variant: str
    reason: str
    sample_ratio_p: float
    sample_ratio_p_fixed: float
    comparisons: tuple[VariantComparison, ...]


def judge(experiment: Experiment, measured: ExperimentSums) -> Verdict:
    """The verdict on what was measured."""
    shares = [one / sum(experiment.shares.values()) for one in experiment.shares.values()]
    counts = [measured.exposed[variant] for variant in experiment.shares]
    ratio_p = sample_ratio_p(counts, shares)
    comparisons = tuple(
        one for metric in experiment.metrics for one in _compare(experiment, measured, metric)
    )
    state, variant, reason = _state(experiment, measured, ratio_p, comparisons)
    ratio_p_fixed = chi_square_of_counts(counts, shares).p
    return Verdict(state, variant, reason, ratio_p, ratio_p_fixed, comparisons)


def _compare(
    experiment: Experiment, measured: ExperimentSums, metric: str
) -> list[VariantComparison]:
    sums = measured.sums[metric]
    arms, variance_saved = adjust([*sums.values()])
    control, variants = arms[0], list(zip([*sums][1:], arms[1:], strict=True))
    control_sums = sums[experiment.control]
    p_fixed = holm(
        [_p_fixed(metric, control_sums, sums[name], control, arm) for name, arm in variants]
    )
    alpha, tuned_to = _alpha(experiment, metric), experiment.decide.tuned_to
    return [
        VariantComparison(
            metric,
            name,
            control.mean,
            arm.mean,
            absolute_sequence(control, arm, alpha, tuned_to),
            sequence(relative_effect(control, arm), alpha, tuned_to),
            p,
            variance_saved,
            _share_interval(metric, sums[name], experiment.decide.alpha),
        )
        for (name, arm), p in zip(variants, p_fixed, strict=True)
    ]


def _alpha(experiment: Experiment, metric: str) -> float:
    """The error of one comparison: that of the file by the number of variants; for a guard, its two
    sides.
    """
    variants = len(experiment.shares) - 1
    if metric != experiment.decide.metric:
        return 2 * HARM_ALPHA / variants
    return experiment.decide.alpha / variants


def _p_fixed(metric: str, control_sums: Sums, sums: Sums, control: Arm, arm: Arm) -> float:
    if metric == "conversion":
        successes = [control_sums.y // MICROS_PER_UNIT, sums.y // MICROS_PER_UNIT]
        return chi_square_of_shares(successes, [control_sums.n, sums.n]).p
    return welch(control, arm).p


def _share_interval(metric: str, sums: Sums, alpha: float) -> tuple[float, float] | None:
    if metric != "conversion":
        return None
    return wilson(sums.y // MICROS_PER_UNIT, sums.n, alpha)


def _state(
    experiment: Experiment,
    measured: ExperimentSums,
    ratio_p: float,
    comparisons: tuple[VariantComparison, ...],
) -> tuple[State, str, str]:
    decide = experiment.decide
    if ratio_p < ALARM_BELOW:
        return (
            "sample-ratio",
            "",
            "units do not fall into the variants by the shares of the file: find out where "
            "exposures are lost; until then no figure says what a variant brings",
        )
    fewest = min(measured.complete.values())
    if fewest < UNITS_MIN:
        return (
            "running",
            "",
            f"a variant has {fewest:,} units with complete windows: a verdict needs {UNITS_MIN:,}",
        )
    for one in comparisons:
        if one.metric != decide.metric and one.relative.high < 0:
            return (
                "harmed",
                one.variant,
                f"{one.variant} lowers {one.metric}: {_range(one.relative)}",
            )
    decided = [one for one in comparisons if one.metric == decide.metric]
    won = [one for one in decided if one.relative.low > 0]
    if won:
        best = max(won, key=lambda one: one.relative.estimate)
        return (
            "won",
            best.variant,
            f"{best.variant} brings more {best.metric}: {_range(best.relative)}",
        )
    return _without_winner(decide.least_effect, decided)


def _without_winner(
    least_effect: float, decided: list[VariantComparison]
) -> tuple[State, str, str]:
    if all(one.relative.high < 0 for one in decided):
        best = max(decided, key=lambda one: one.relative.estimate)
        return (
            "lost",
            best.variant,
            f"{best.variant} brings less {best.metric}: {_range(best.relative)}",
        )
    if all(
        one.relative.high < (least_effect if one.relative.low > -least_effect else 0)
        for one in decided
    ):
        return (
            "no-difference",
            "",
            f"no variant brings {100 * least_effect:g} % more, the least effect that matters",
        )
    return "running", "", "the sequence does not tell yet: more units are needed"


def _range(interval: Interval) -> str:
    return f"{interval.estimate:+.1%} ({interval.low:+.1%} to {interval.high:+.1%})"
