"""The exposed units of an experiment and the sums of its metrics, by variant.

A unit is a shopper as the whole log knows it. What it did counts from its first exposure to the end
of its window; a unit whose window has not ended yet is counted apart, since an unfinished window
looks like a loss or a win.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from operators.experiments.assign import is_held_out, variant_of
from operators.experiments.statistics.sums import Sums
from operators.experiments.unit_log import net_orders
from state.money import MICROS_PER_UNIT
from state.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from operators.experiments.definitions import Experiment, Experiments
    from operators.experiments.unit_log import Exposure, OrderEvent, UnitLog


class Unit(NamedTuple):
    """An exposed unit: when it saw the experiment first, and which variant."""

    first_ms: int
    variant: str


class LeftOut(msgspec.Struct):
    """What does not count. `both`: units that saw two variants; all others are exposures.

    `mismatch`: shown another variant than the one assigned; `held_out`: of units in the hold-out;
    `no_unit`: without a user id where the unit is `user`; `other_time`: before the start or after
    the end.
    """

    both: int = 0
    mismatch: int = 0
    held_out: int = 0
    no_unit: int = 0
    other_time: int = 0


class ExperimentSums(msgspec.Struct):
    """What a log says of an experiment. `sums` by metric and variant are of units with complete
    windows.
    """

    exposed: dict[str, int]
    complete: dict[str, int]
    sums: dict[str, dict[str, Sums]]
    left_out: LeftOut
    at_ms: int


def exposed_units(
    experiments: Experiments, experiment: Experiment, log: UnitLog
) -> tuple[dict[str, Unit], LeftOut]:
    """The units that saw exactly one variant, by shopper."""
    left_out = LeftOut()
    units: dict[str, Unit] = {}
    saw_both: set[str] = set()
    for exposure in sorted(log.exposures, key=lambda one: one.at_ms):
        shopper = log.shopper_at_end(exposure.shopper)
        known = units.get(shopper)
        if not _counts(experiments, experiment, exposure, known, left_out):
            continue
        if known is None:
            units[shopper] = Unit(exposure.at_ms, exposure.variant)
        elif known.variant != exposure.variant:
            saw_both.add(shopper)
    for shopper in saw_both:
        del units[shopper]
    left_out.both = len(saw_both)
    return units, left_out


def all_viewers(experiment: Experiment, log: UnitLog) -> dict[str, Unit]:
    """Every shopper that saw the slot, as a unit of the control: what an experiment would start
    from.
    """
    units: dict[str, Unit] = {}
    for exposure in sorted(log.exposures, key=lambda one: one.at_ms):
        shopper = log.shopper_at_end(exposure.shopper)
        units.setdefault(shopper, Unit(exposure.at_ms, experiment.control))
    return units


def measure(
    experiment: Experiment, log: UnitLog, units: Mapping[str, Unit], left_out: LeftOut
) -> ExperimentSums:
    """Add up each metric over the units with complete windows, at the end of the log."""
    return next(_measure_at(experiment, log, units, left_out, [log.last_ms]))


def measure_daily(
    experiment: Experiment, log: UnitLog, units: Mapping[str, Unit], left_out: LeftOut
) -> Iterator[ExperimentSums]:
    """The sums at the end of each day (UTC) from the start, and at the end of the log.

    Each takes the place of the one before. What was left out is that of the whole log.
    """
    day_ends = range(experiment.start_ms + DAY_MS, log.last_ms, DAY_MS)
    return _measure_at(experiment, log, units, left_out, [*day_ends, log.last_ms])


def _measure_at(
    experiment: Experiment,
    log: UnitLog,
    units: Mapping[str, Unit],
    left_out: LeftOut,
    times_ms: Sequence[int],
) -> Iterator[ExperimentSums]:
    """The sums at each of these times, oldest first."""
    window_ms, variants = experiment.decide.window_ms, tuple(experiment.shares)
    values_of = _metric_values(experiment, log)
    result = ExperimentSums(
        dict.fromkeys(variants, 0),
        dict.fromkeys(variants, 0),
        {metric: {variant: Sums() for variant in variants} for metric in experiment.metrics},
        left_out,
        log.last_ms,
    )
    by_time = sorted(units.items(), key=lambda one: one[1].first_ms)
    exposed = complete = 0
    for at_ms in times_ms:
        while exposed < len(by_time) and by_time[exposed][1].first_ms <= at_ms:
            result.exposed[by_time[exposed][1].variant] += 1
            exposed += 1
        while complete < exposed and by_time[complete][1].first_ms + window_ms <= at_ms:
            _add_unit(experiment, values_of, *by_time[complete], result)
            complete += 1
        result.at_ms = at_ms
        yield result


def _add_unit(
    experiment: Experiment,
    values_of: Mapping[str, Callable[[str, int, int], int]],
    shopper: str,
    unit: Unit,
    result: ExperimentSums,
) -> None:
    result.complete[unit.variant] += 1
    start_ms, before_ms = unit.first_ms, experiment.decide.before_ms
    for metric in experiment.metrics:
        value = values_of[metric]
        x = value(shopper, start_ms - before_ms, start_ms) if before_ms else 0
        y = value(shopper, start_ms, start_ms + experiment.decide.window_ms)
        result.sums[metric][unit.variant].add(y, x)


def _counts(
    experiments: Experiments,
    experiment: Experiment,
    exposure: Exposure,
    known: Unit | None,
    left_out: LeftOut,
) -> bool:
    """Whether an exposure counts. The variant that a unit has seen stays right after it signs in."""
    is_user = experiment.unit == "user"
    unit_id = exposure.user_id if is_user else exposure.anonymous_id or exposure.user_id
    if not experiment.runs_at(exposure.at_ms):
        left_out.other_time += 1
    elif unit_id is None:
        left_out.no_unit += 1
    elif known is not None and known.variant == exposure.variant:
        return True
    elif is_held_out(experiments, unit_id):
        left_out.held_out += 1
    elif exposure.variant != variant_of(experiment, unit_id):
        left_out.mismatch += 1
    else:
        return True
    return False


def _metric_values(
    experiment: Experiment, log: UnitLog
) -> dict[str, Callable[[str, int, int], int]]:
    """For each metric a function of shopper, start and end (ms, not included): its value in
    millionths.
    """
    orders, clicks = log.orders_by_shopper(), log.clicks_by_shopper()
    cut_micros = experiment.decide.cut_micros

    def net(shopper: str, from_ms: int, before_ms: int) -> Iterable[int]:
        events: list[OrderEvent] = orders.get(shopper, [])
        return net_orders(events, from_ms, before_ms)

    def conversion(shopper: str, from_ms: int, before_ms: int) -> int:
        return MICROS_PER_UNIT if any(True for _ in net(shopper, from_ms, before_ms)) else 0

    def revenue(shopper: str, from_ms: int, before_ms: int) -> int:
        total = sum(net(shopper, from_ms, before_ms))
        return min(total, cut_micros) if cut_micros else total

    def click_count(shopper: str, from_ms: int, before_ms: int) -> int:
        times = clicks.get(shopper, [])
        return sum(from_ms <= at_ms < before_ms for at_ms in times) * MICROS_PER_UNIT

    return {"conversion": conversion, "revenue": revenue, "clicks": click_count}
