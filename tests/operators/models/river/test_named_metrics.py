"""Metrics of River beside ours: the values are River's, and continue after a restart."""

from typing import Any

import numpy as np
import pytest
from river import metrics

from operators.events.processing_errors import ProcessingErrors
from operators.models.river.named_metrics import NamedMetrics

MADE: dict[str, Any] = {
    "river.metrics.ROCAUC()": metrics.ROCAUC,
    "river.metrics.LogLoss()": metrics.LogLoss,
    "river.metrics.F1()": metrics.F1,
    "river.metrics.MCC()": metrics.MCC,
}


def named(texts: Any = MADE) -> NamedMetrics:
    return NamedMetrics({text: MADE[text]() for text in texts}, ProcessingErrors("propensity"))


def test_values_are_rivers_whatever_the_calls_and_after_a_restart() -> None:
    rng = np.random.default_rng(0)
    chances = rng.random(500)
    outcomes = (rng.random(500) < chances).astype(np.float64)
    ours = named()
    for part in np.array_split(np.arange(500), 7):
        ours.update(chances[part], outcomes[part])
        restored = named()
        restored.restore(ours.arrays())
        ours = restored
    expected = {}
    for text, make in MADE.items():
        metric = make()
        for chance, outcome in zip(chances.tolist(), outcomes.tolist(), strict=True):
            said = chance > 0.5 if metric.requires_labels else {False: 1 - chance, True: chance}
            metric.update(outcome > 0.5, said)
        expected[text.removeprefix("river.metrics.").removesuffix("()")] = metric.get()
    assert ours.values() == pytest.approx(expected)


def test_a_metric_that_is_new_starts_from_empty_and_the_others_continue() -> None:
    first, second, third = [*MADE][:3]
    before = named([first, second])
    before.update(np.array([0.9, 0.2, 0.6]), np.array([1.0, 0.0, 0.0]))
    after = named([first, third])
    after.restore(before.arrays())
    assert after.values()["ROCAUC"] == before.values()["ROCAUC"] > 0
    assert after.values()["F1"] == 0.0
