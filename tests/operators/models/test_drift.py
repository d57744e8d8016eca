"""The drift detector: River's ADWIN, with a state that can be stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from river import drift

from operators.models.drift import VALUES_KEPT, DriftDetector

if TYPE_CHECKING:
    from collections.abc import Callable


def steps(seed: int) -> list[float]:
    """Noise around 0, then around 3, then around 1."""
    rng = np.random.default_rng(seed)
    values = np.concatenate([rng.normal(level, 1.0, 300) for level in (0.0, 3.0, 1.0)])
    return [float(value) for value in values]


@pytest.mark.parametrize("seed", range(3))
def test_it_counts_the_drifts_upwards_that_rivers_adwin_detects(seed: int) -> None:
    detector, adwin = DriftDetector(), cast("Any", drift).ADWIN(clock=8)
    expected = []
    for value in steps(seed):
        before = adwin.estimation
        adwin.update(value)
        detector.update([value])
        if adwin.drift_detected and adwin.estimation > before:
            expected.append(value)
    assert detector.drifts == len(expected) >= 1


def test_drifts_are_given_once() -> None:
    detector = DriftDetector()
    detector.update(steps(0))
    assert (detector.take_deltas(), detector.take_deltas()) == (detector.drifts, 0)


DETECTORS: list[Callable[[], Any]] = [
    lambda: drift.ADWIN(delta=0.01),  # type: ignore[no-untyped-call]
    lambda: drift.PageHinkley(threshold=10),
    lambda: drift.KSWIN(seed=7),
]


@pytest.mark.parametrize("create", DETECTORS)
def test_any_detector_of_river_counts_rises(create: Callable[[], Any]) -> None:
    values = steps(0)
    steady, rises, falls = (DriftDetector(create) for _ in range(3))
    steady.update(values[:300])
    rises.update(values[:600])
    falls.update(values[300:])
    assert steady.drifts <= 1
    assert rises.drifts > steady.drifts
    assert falls.drifts <= 2


@pytest.mark.parametrize("create", [None, *DETECTORS])
@pytest.mark.parametrize("crash_at", [0, 310, 700])
def test_a_restored_detector_continues_in_the_same_way(
    crash_at: int, create: Callable[[], Any] | None
) -> None:
    values = steps(1)
    plain, first, second = (DriftDetector(create) for _ in range(3))
    plain.update(values)
    first.update(values[:crash_at])
    second.restore(first.arrays())
    second.update(values[crash_at:])
    assert {name: array.tolist() for name, array in plain.arrays().items()} == {
        name: array.tolist() for name, array in second.arrays().items()
    }


def test_its_memory_is_bounded() -> None:
    detector = DriftDetector()
    detector.update([0.5] * (3 * VALUES_KEPT))
    assert len(detector.arrays()["values"]) < VALUES_KEPT
