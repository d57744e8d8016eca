"""A whole experiment on a made-up shop: units, sums and lift equal a recount."""

from __future__ import annotations

from itertools import product

import msgspec
import pytest

from operators.experiments.assign import bucket_of, variant_of
from operators.experiments.definitions import Experiment, Experiments
from operators.experiments.statistics.sums import Sums
from operators.experiments.unit_log import UnitLog
from operators.experiments.units import (
    ExperimentSums,
    LeftOut,
    exposed_units,
    measure,
    measure_daily,
)
from operators.experiments.verdict import judge
from state.events import Event
from state.times import DAY_MS, HOUR_MS
from tests.operators.experiments import recount
from tests.operators.experiments.files import START_MS, home
from tests.operators.experiments.made_up_shop import Row, Shop

EXPERIMENT = home()


def log_of(rows: list[Row], experiment: Experiment) -> UnitLog:
    log = UnitLog(experiment.name, experiment.slot)
    for row in rows:
        log.observe(msgspec.convert(row, Event))
    return log


def measured_of(
    rows: list[Row], experiment: Experiment = EXPERIMENT, holdout_buckets: int = 0
) -> ExperimentSums:
    log = log_of(rows, experiment)
    experiments = Experiments((experiment,), holdout_buckets)
    return measure(experiment, log, *exposed_units(experiments, experiment, log))


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return Shop(EXPERIMENT, lift=0.08, seed=1).log(1_500)


def test_units_and_what_is_left_out_equal_a_recount(rows: list[Row]) -> None:
    measured = measured_of(rows)
    table, left_out = recount.units(rows, EXPERIMENT)
    assert measured.exposed == table["variant"].value_counts().to_dict()
    assert msgspec.structs.asdict(measured.left_out) == {**left_out, "held_out": 0, "no_unit": 0}
    assert all(left_out.values())
    complete = recount.values(rows, EXPERIMENT)["variant"].value_counts().to_dict()
    assert measured.complete == complete
    assert sum(complete.values()) < len(table)


def test_every_sum_equals_a_recount(rows: list[Row]) -> None:
    measured = measured_of(rows)
    inside, past = recount.values(rows, EXPERIMENT), recount.values(rows, EXPERIMENT, before=True)
    for metric, variant in product(recount.METRICS, EXPERIMENT.shares):
        expected = Sums()
        of_variant = inside[inside["variant"] == variant]
        for shopper, y in of_variant[metric].items():
            expected.add(int(y), int(past.loc[shopper, metric]))
        assert measured.sums[metric][variant] == expected
        assert expected.y > 0 or metric != "revenue"


def test_each_day_equals_a_recount_of_what_was_complete_by_then(rows: list[Row]) -> None:
    log = log_of(rows, EXPERIMENT)
    units, left_out = exposed_units(Experiments(), EXPERIMENT, log)
    table = recount.values(rows, EXPERIMENT)
    first_ms = recount.units(rows, EXPERIMENT)[0]["first_ms"]
    days = 0
    for days, daily in enumerate(measure_daily(EXPERIMENT, log, units, left_out), 1):  # noqa: B007
        complete = table[first_ms.loc[table.index] + EXPERIMENT.decide.window_ms <= daily.at_ms]
        assert sum(daily.exposed.values()) == (first_ms <= daily.at_ms).sum()
        for variant, sums in daily.sums["revenue"].items():
            expected = complete[complete["variant"] == variant]["revenue"]
            assert (sums.n, sums.y) == (len(expected), expected.sum())
    assert days == 58


BY_CONVERSION = home(
    revenue="  decide: {metric: conversion, window: 7 d, least_effect: 2 %, tuned_to: 20000",
    before="  }",
    guard="  guard: [clicks]",
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lift", "states"), [(0.08, {"won"}), (-0.08, {"lost"}), (0, {"running", "no-difference"})]
)
def test_the_verdict_is_what_was_planted(lift: float, states: set[str]) -> None:
    rows = Shop(BY_CONVERSION, lift=lift, seed=4, chance=0.9).log(20_000)
    verdict = judge(BY_CONVERSION, measured_of(rows, BY_CONVERSION))
    assert verdict.state in states
    table = recount.values(rows, BY_CONVERSION)
    means = table.groupby("variant")["conversion"].mean() / 1e6
    [decided] = [one for one in verdict.comparisons if one.metric == "conversion"]
    assert (decided.control_mean, decided.mean) == pytest.approx(
        (means["control"], means["varied"])
    )
    lift_now = means["varied"] / means["control"] - 1
    assert decided.relative.estimate == pytest.approx(lift_now)
    assert decided.relative.low < lift_now < decided.relative.high


def view(name: str, at_ms: int, variant: str, **fields: object) -> Row:
    reco = {"slot": "home", "experiment": EXPERIMENT.name, "variant": variant}
    event = {"event_id": f"{name}{at_ms}{variant}", "type": "reco_view", "event_ts": at_ms}
    return {**event, "anonymous_id": name, "reco": reco, **fields}


def test_the_variant_moves_with_a_shopper_that_signs_in() -> None:
    """By its hash `a` has control, `f` varied: once both are Ann, `f` shows control."""
    own = {name: variant_of(EXPERIMENT, name) for name in "abcdefghij"}
    a = next(name for name in own if own[name] == "control")
    f = next(name for name in own if own[name] == "varied")
    rows = [
        view(a, START_MS, "control"),
        view(a, START_MS + 1, "control", user_id="ann"),
        view(f, START_MS + 2, "control", user_id="ann"),
    ]
    measured = measured_of(rows)
    assert measured.exposed == {"control": 1, "varied": 0}
    assert measured.left_out == LeftOut()
    after = view(f, START_MS + 2, "varied", user_id="ann")
    saw_both = measured_of([view(f, START_MS, "varied"), rows[1], after])
    assert saw_both.exposed == {"control": 0, "varied": 0}
    assert saw_both.left_out == LeftOut(both=1)


def test_a_user_is_the_unit_where_the_file_says_so() -> None:
    by_user = home(unit="  unit: user")
    variant = variant_of(by_user, "ann")
    rows = [view("x", START_MS, variant), view("y", START_MS + 1, variant, user_id="ann")]
    measured = measured_of(rows, by_user)
    assert (measured.exposed[variant], measured.left_out) == (1, LeftOut(no_unit=1))


def test_the_hold_out_is_in_no_experiment() -> None:
    rows = [view(f"v{n}", START_MS, variant_of(EXPERIMENT, f"v{n}")) for n in range(400)]
    held_out = sum(bucket_of("holdout", f"v{n}") < 1_000 for n in range(400))
    measured = measured_of(rows, holdout_buckets=1_000)
    assert measured.left_out == LeftOut(held_out=held_out)
    assert sum(measured.exposed.values()) == 400 - held_out
    assert 0 < held_out < 100


def test_an_unfinished_window_does_not_count() -> None:
    variant = variant_of(EXPERIMENT, "v")
    seen = view("v", START_MS, variant)
    for last_ms, complete in ((7 * DAY_MS - 1, 0), (7 * DAY_MS, 1)):
        last = {"event_id": "x", "type": "page_view", "event_ts": START_MS + last_ms}
        measured = measured_of([seen, {**last, "anonymous_id": "other"}])
        assert (measured.exposed[variant], measured.complete[variant]) == (1, complete)


def test_an_order_without_a_rate_is_an_order_and_no_revenue() -> None:
    variant = variant_of(EXPERIMENT, "v")
    order = {"type": "purchase", "anonymous_id": "v", "value": 10.0}
    rows: list[Row] = [
        view("v", START_MS, variant),
        {**order, "event_id": "1", "event_ts": START_MS + 1, "currency": "EUR", "order_id": "a"},
        {**order, "event_id": "2", "event_ts": START_MS + 2, "currency": "XAU", "order_id": "b"},
        {**order, "event_id": "3", "event_ts": START_MS + 8 * DAY_MS, "order_id": "c"},
    ]
    sums = measured_of(rows).sums
    assert sums["revenue"][variant].y == 10_000_000
    assert sums["conversion"][variant].y == 1_000_000
    late_view = [rows[0] | {"event_ts": START_MS + HOUR_MS}, *rows[1:]]
    assert measured_of(late_view).sums["revenue"][variant] == Sums(1, 0, 0, 10**7, 10**14, 0)
