"""Predictions as Redis shows them: fields of profiles, and the quality of each model.

A chance is shown as the nearest of 241 steps of a tenth in log odds, an amount in steps of a
twentieth of its logarithm. So a field changes in Redis only when the change matters, and packing is
a look-up.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np
import orjson

from operators.models import model_metrics
from operators.models.model_metrics import format_metric
from operators.segments.propensity.features import VERSION
from state.resp import pack_str

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from operators.segments.propensity.amount_model import AmountModel
    from operators.segments.propensity.chance_model import ChanceModel
    from state.messages import Write

SESSION, BUYS, CHURN, VALUE = "p_buy_session", "p_buy_30d", "p_churn", "value_30d"
WEEKLY_MODELS = (BUYS, CHURN, VALUE)
"""The fields of the weekly models; SESSION is that of the open session."""
_STEPS_PER_LOGIT = 10
_LOGIT_MAX = 12
_UNLIKELY = [
    f"{1.0 / (1.0 + np.exp(-step / _STEPS_PER_LOGIT)):.2g}"
    for step in range(-_STEPS_PER_LOGIT * _LOGIT_MAX, 1)
]
# The upper half is 1 minus the lower one: chances that sum to 1 at most do so as texts too.
_CHANCES = [
    *(f"{Decimal(text):f}" for text in _UNLIKELY),
    *(f"{1 - Decimal(text):f}" for text in _UNLIKELY[-2::-1]),
]
_STEPS_PER_FOLD = 20
_AMOUNTS = [
    f"{np.exp(step / _STEPS_PER_FOLD) - 1.0:.2f}" for step in range(16 * _STEPS_PER_FOLD + 1)
]


class ProfileFieldTexts:
    """A field of the profile, with its possible values packed for the command."""

    def __init__(self, field: str, *, amounts: bool = False) -> None:
        name = pack_str(field)
        self.field = field
        self.values = _AMOUNTS if amounts else _CHANCES
        self._is_amount = amounts
        # The last one stands for no value.
        self._texts = [*(f"{name}{pack_str(shown)}" for shown in self.values), ""]

    def steps(self, values: NDArray[np.float64]) -> NDArray[np.int16]:
        """Return the nearest step of each chance or amount; -1 for nan."""
        is_missing = np.isnan(values)
        if self._is_amount:
            steps = np.log1p(np.where(is_missing, 0.0, values)) * _STEPS_PER_FOLD
            steps = np.minimum(np.rint(steps), len(_AMOUNTS) - 1)
        else:
            chances = np.where(is_missing, 0.5, np.clip(values, 1e-7, 1.0 - 1e-7))
            logits = np.clip(np.log(chances) - np.log1p(-chances), -_LOGIT_MAX, _LOGIT_MAX)
            steps = np.rint(logits * _STEPS_PER_LOGIT) + _LOGIT_MAX * _STEPS_PER_LOGIT
        steps[is_missing] = -1
        indexes: NDArray[np.int16] = steps.astype(np.int16)
        return indexes

    def value(self, step: int) -> str:
        """Return the value of a step, "" for none."""
        return "" if step < 0 else self.values[step]

    def texts(self, steps: NDArray[np.int16]) -> list[str]:
        """Return the packed field and value of each step; "" for none."""
        texts = self._texts
        return [texts[step] for step in steps.tolist()]


def model_status(model: ChanceModel | AmountModel) -> str:
    """Return the status of a model: live, or which outcomes it waits for."""
    if model.ready:
        return "live"
    no, yes = model.labels.tolist()
    if yes < model.labels_min:
        return f"learning: {yes} of {model.labels_min} outcomes that came true"
    return f"learning: {no} of {model.labels_min} outcomes that did not come true"


def chance_model_writes(name: str, model: ChanceModel, now_ms: int) -> list[Write]:
    """Return the `model` key of a model of a chance."""
    evaluation = model.evaluation
    bins = [
        [one.n, round(one.predicted, 4), round(one.observed, 4)] for one in evaluation.reliability()
    ]
    metrics = {
        "rate": evaluation.rate,
        "predicted": evaluation.predicted,
        "auc": evaluation.auc,
        "auc_of_rule": model.rule_evaluation.auc,
        "log_loss": evaluation.log_loss,
        "log_loss_of_rate": evaluation.log_loss_of_rate,
        "calibration_error": evaluation.calibration_error,
    }
    fields = {of: format_metric(value) for of, value in metrics.items()}
    more = {
        "judged": str(evaluation.labels),
        "calibration": orjson.dumps(bins).decode() if bins else "",
    }
    return _model_writes(name, "logistic regression", model, now_ms, fields | more)


def amount_model_writes(name: str, model: AmountModel, now_ms: int) -> list[Write]:
    """Return the `model` key of a model of an amount."""
    predicted, actual, error, error_of_mean = model.evaluation.means
    fields = {
        "mean_predicted": format_metric(predicted, 2),
        "mean": format_metric(actual, 2),
        "mean_error": format_metric(error, 2),
        "mean_error_of_mean": format_metric(error_of_mean, 2),
        "top_tenth": format_metric(model.evaluation.top_tenth),
    }
    return _model_writes(name, "Poisson regression", model, now_ms, fields)


def _model_writes(
    name: str,
    algorithm: str,
    model: ChanceModel | AmountModel,
    now_ms: int,
    metrics: Mapping[str, str],
) -> list[Write]:
    no, yes = model.labels.tolist()
    head: dict[str, str | int] = {
        "version": VERSION,
        "algorithm": algorithm,
        "status": model_status(model),
        "trained_ms": now_ms,
        "events": no + yes,
        "positives": yes,
    }
    return model_metrics.model_writes(name, {**head, **metrics})
