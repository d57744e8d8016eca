"""How long an experiment takes, from what its slot brings today.

The log gives the mean and the deviation of the metric, and how many new units see the slot in a
day.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, NamedTuple

from operators.experiments.statistics.power import (
    effect_found,
    fixed_critical,
    sequence_critical,
    units_needed,
)
from state.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from operators.experiments.definitions import Experiment
    from operators.experiments.statistics.sums import Sums
    from operators.experiments.units import Unit


class SlotBaseline(NamedTuple):
    """What the slot brings today: of complete units mean and deviation, and new units a day."""

    units: int
    mean: float
    deviation: float
    units_a_day: float


class Plan(NamedTuple):
    """Units that each variant needs for the least effect, with 80 % probability, and days until
    then.

    `fixed`: for a test at a planned end. `sequence`: for the sequence, which may be looked at all
    the time. The days include the window of the last unit.
    """

    fixed_units: float
    sequence_units: float
    fixed_days: float
    sequence_days: float


def baseline_of(units: Mapping[str, Unit], sums: Sums) -> SlotBaseline:
    """What a log says of the slot: `units` are all that saw it, `sums` those of complete ones."""
    times = [unit.first_ms for unit in units.values()]
    days = max(1.0, (max(times) - min(times)) / DAY_MS) if times else 1.0
    return SlotBaseline(sums.n, sums.mean, sqrt(sums.variance), len(times) / days)


def plan(experiment: Experiment, baseline: SlotBaseline) -> Plan:
    """What the experiment needs. The smallest variant sets the time."""
    decide = experiment.decide
    effect = decide.least_effect * baseline.mean
    fixed = units_needed(effect, baseline.deviation, fixed_critical(decide.alpha))
    sequential = units_needed(
        effect, baseline.deviation, sequence_critical(decide.alpha, decide.tuned_to)
    )
    return Plan(fixed, sequential, *(_days(experiment, baseline, n) for n in (fixed, sequential)))


def least_effect_by(experiment: Experiment, baseline: SlotBaseline, days: float) -> float:
    """The smallest relative effect that the sequence finds after so many days, with 80 %
    probability.

    Infinite before the first window has ended.
    """
    decide = experiment.decide
    units = (days - decide.window_ms / DAY_MS) * _units_a_day(experiment, baseline)
    if units < 1 or not baseline.mean:
        return float("inf")
    critical = sequence_critical(decide.alpha, decide.tuned_to)
    return effect_found(baseline.deviation, units, critical) / baseline.mean


def _days(experiment: Experiment, baseline: SlotBaseline, units: float) -> float:
    return units / _units_a_day(experiment, baseline) + experiment.decide.window_ms / DAY_MS


def _units_a_day(experiment: Experiment, baseline: SlotBaseline) -> float:
    """New units a day of the smallest variant."""
    smallest = min(experiment.shares.values()) / sum(experiment.shares.values())
    return baseline.units_a_day * smallest
