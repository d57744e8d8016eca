"""Prequential evaluation: its measures equal those of scikit-learn and River."""

import math
from typing import Any

import numpy as np
import pytest
from river import metrics
from sklearn.metrics import roc_auc_score

from operators.segments.propensity.prequential import PrequentialEvaluation
from tests.operators.models.test_online_glm import stream


def test_auc_and_log_loss_equal_scikit_learn_and_calibration_is_measured() -> None:
    points, truth = stream(2, 20_000)
    chances = 1 / (1 + np.exp(-points @ [-1.0, 1.5, -0.5, 0.0]))
    evaluated = PrequentialEvaluation(half_life=1e12)
    river: Any = metrics.LogLoss()  # type: ignore[no-untyped-call]
    for start in range(0, len(truth), 700):
        evaluated.update(chances[start : start + 700], truth[start : start + 700])
    for happened, chance in zip(truth.tolist(), chances.tolist(), strict=True):
        river.update(bool(happened), chance)
    assert evaluated.auc == pytest.approx(roc_auc_score(truth, chances), abs=2e-3)
    assert evaluated.log_loss == pytest.approx(river.get(), rel=1e-6)
    assert evaluated.calibration_error < 0.02
    assert evaluated.rate == pytest.approx(truth.mean())
    overstated = PrequentialEvaluation()
    overstated.update(np.sqrt(chances), truth)
    assert overstated.calibration_error > 0.1


def test_an_evaluation_without_outcomes_is_nan() -> None:
    evaluated = PrequentialEvaluation()
    assert math.isnan(evaluated.auc)
    assert math.isnan(evaluated.log_loss)
    assert evaluated.reliability() == []
