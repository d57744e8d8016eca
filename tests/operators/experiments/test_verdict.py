"""The verdict: each state from the sums that lead to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from operators.experiments.statistics.sums import Sums
from operators.experiments.units import ExperimentSums, LeftOut
from operators.experiments.verdict import judge
from tests.operators.experiments.files import home

if TYPE_CHECKING:
    from operators.experiments.definitions import Experiment

TWO = home(
    revenue="  decide: {metric: conversion, window: 7 d, least_effect: 5 %, tuned_to: 20000",
    before="  }",
    guard="  guard: [clicks]",
)
THREE = replace(TWO, shares={"control": 3_334, "warm": 3_333, "bright": 3_333})


def sums_of(n: int, successes: int) -> Sums:
    million = 1_000_000
    return Sums(n, successes * million, successes * million**2)


def measured(
    experiment: Experiment,
    conversion: dict[str, tuple[int, int]],
    clicks: dict[str, int] | None = None,
    exposed: dict[str, int] | None = None,
) -> ExperimentSums:
    """`conversion`: units and buyers by variant; half of the units click if nothing else is said."""
    n = {variant: units for variant, (units, _) in conversion.items()}
    return ExperimentSums(
        exposed or n,
        n,
        {
            "conversion": {name: sums_of(*row) for name, row in conversion.items()},
            "clicks": {
                name: sums_of(n[name], (clicks or {}).get(name, n[name] // 2)) for name in n
            },
        },
        LeftOut(),
        0,
    )


@pytest.mark.parametrize(
    ("control", "varied", "state", "reason"),
    [
        ((10_000, 3_000), (10_000, 3_400), "won", "varied brings more conversion: +13.3% (+"),
        ((10_000, 3_400), (10_000, 3_000), "lost", "varied brings less conversion: -11.8% (-"),
        ((10_000, 3_000), (10_000, 3_100), "running", "the sequence does not tell yet: more"),
        ((90_000, 45_000), (90_000, 45_000), "no-difference", "no variant brings 5 % more, the"),
        ((99, 1), (99, 90), "running", "a variant has 99 units with complete windows: a verdict"),
        ((10_000, 0), (10_000, 500), "running", "the sequence does not tell yet"),
    ],
)
def test_the_state_of_two_variants(
    control: tuple[int, int], varied: tuple[int, int], state: str, reason: str
) -> None:
    verdict = judge(TWO, measured(TWO, {"control": control, "varied": varied}))
    assert verdict.state == state
    assert verdict.reason.startswith(reason)


def test_a_guard_that_falls_is_harm_whatever_the_metric_says() -> None:
    won = {"control": (10_000, 3_000), "varied": (10_000, 3_600)}
    verdict = judge(TWO, measured(TWO, won, clicks={"varied": 4_500}))
    assert (verdict.state, verdict.variant) == ("harmed", "varied")
    assert verdict.reason.startswith("varied lowers clicks: -10.0% (-")


def test_there_is_no_verdict_where_units_are_missing() -> None:
    won = {"control": (10_000, 3_000), "varied": (10_000, 3_600)}
    lost = judge(TWO, measured(TWO, won, exposed={"control": 10_000, "varied": 10_800}))
    assert (lost.state, lost.variant) == ("sample-ratio", "")
    assert lost.sample_ratio_p < 0.001
    right = judge(TWO, measured(TWO, won, exposed={"control": 10_000, "varied": 10_200}))
    assert right.state == "won"


def test_several_variants_share_the_error_and_the_best_wins() -> None:
    rows = {"control": (10_000, 3_000), "warm": (10_000, 3_300), "bright": (10_000, 3_500)}
    verdict = judge(THREE, measured(THREE, rows))
    assert (verdict.state, verdict.variant) == ("won", "bright")
    alone = judge(TWO, measured(TWO, {"control": rows["control"], "varied": rows["warm"]}))
    [warm, _, *_] = verdict.comparisons
    assert warm.relative.low < alone.comparisons[0].relative.low
    assert warm.p_fixed >= alone.comparisons[0].p_fixed


def test_one_variant_that_loses_is_not_the_end_for_the_other() -> None:
    rows = {"control": (10_000, 3_000), "warm": (10_000, 2_500), "bright": (10_000, 3_050)}
    assert judge(THREE, measured(THREE, rows)).state == "running"
