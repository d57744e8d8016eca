"""What the models say, as Redis is told: fields of profiles, and how good each model is.

A chance is shown as the nearest of 241 steps of a tenth in log odds, an amount in steps of a twentieth:
so it changes in Redis only when it changed enough to matter, and packing it is a look-up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import orjson

from operators.propensity.features import VERSION
from state import keys
from state.resp import bulk

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from operators.propensity.amounts import AmountModel
    from operators.propensity.model import ChanceModel
    from state.messages import Write

SESSION, BUYS, CHURN, VALUE = "p_buy_session", "p_buy_30d", "p_churn", "value_30d"
MODELS_OF_LATER = (BUYS, CHURN, VALUE)
"""What says something of the weeks to come; SESSION does of the running one."""
_STEPS_A_LOGIT = 10
_LOGIT_MAX = 12
_CHANCES = [
    f"{1.0 / (1.0 + np.exp(-step / _STEPS_A_LOGIT)):.2g}"
    for step in range(-_STEPS_A_LOGIT * _LOGIT_MAX, _STEPS_A_LOGIT * _LOGIT_MAX + 1)
]
_STEPS_A_FOLD = 20
_AMOUNTS = [f"{np.exp(step / _STEPS_A_FOLD) - 1.0:.2f}" for step in range(16 * _STEPS_A_FOLD + 1)]


class Shown:
    """A field of the profile and its values, as they go into the command."""

    def __init__(self, field: str, *, amounts: bool = False) -> None:
        name = bulk(field)
        self._is_amount = amounts
        self._texts = [f"{name}{bulk(shown)}" for shown in (_AMOUNTS if amounts else _CHANCES)]
        self._texts.append(f"{name}{bulk('0')}")

    def texts(self, values: NDArray[np.float64]) -> list[str]:
        """Field and value of each chance or amount; nan is none at all, which is 0."""
        none = np.isnan(values)
        if self._is_amount:
            steps = np.log1p(np.where(none, 0.0, values)) * _STEPS_A_FOLD
            steps = np.minimum(np.rint(steps), len(_AMOUNTS) - 1)
        else:
            sure = np.where(none, 0.5, np.clip(values, 1e-7, 1.0 - 1e-7))
            logits = np.clip(np.log(sure) - np.log1p(-sure), -_LOGIT_MAX, _LOGIT_MAX)
            steps = np.rint((logits + _LOGIT_MAX) * _STEPS_A_LOGIT)
        steps[none] = len(self._texts) - 1
        texts = self._texts
        return [texts[step] for step in steps.astype(np.intp).tolist()]


def status(model: ChanceModel | AmountModel) -> str:
    """Whether a model says anything yet, and what it waits for."""
    if model.ready:
        return "live"
    no, yes = model.labels.tolist()
    if yes < model.labels_min:
        return f"learning: {yes} of {model.labels_min} outcomes that came true"
    return f"learning: {no} of {model.labels_min} outcomes that did not come true"


def chances(name: str, model: ChanceModel, now_ms: int) -> Write:
    """The `model` key of one that says a chance."""
    judge = model.judge
    bins = [[one.n, round(one.predicted, 4), round(one.observed, 4)] for one in judge.reliability()]
    return (
        *_head(name, "logistic regression", model, now_ms),
        "judged",
        judge.labels,
        "rate",
        f"{judge.rate:.4f}",
        "auc",
        f"{judge.auc:.4f}",
        "auc_of_rule",
        f"{model.rule.auc:.4f}",
        "log_loss",
        f"{judge.log_loss:.4f}",
        "log_loss_of_rate",
        f"{judge.log_loss_of_rate:.4f}",
        "calibration_error",
        f"{judge.calibration_error:.4f}",
        "calibration",
        orjson.dumps(bins).decode(),
    )


def amounts(name: str, model: AmountModel, now_ms: int) -> Write:
    """The `model` key of one that says an amount."""
    said, came, error, error_of_mean = model.judge.means
    return (
        *_head(name, "Poisson regression", model, now_ms),
        "mean_predicted",
        f"{said:.2f}",
        "mean",
        f"{came:.2f}",
        "mean_error",
        f"{error:.2f}",
        "mean_error_of_mean",
        f"{error_of_mean:.2f}",
        "top_tenth",
        f"{model.judge.top_tenth:.4f}",
    )


def _head(name: str, algorithm: str, model: ChanceModel | AmountModel, now_ms: int) -> Write:
    no, yes = model.labels.tolist()
    head = ("HSET", keys.model_key(name), "version", VERSION, "algorithm", algorithm)
    return (
        *head,
        "status",
        status(model),
        "trained_ms",
        now_ms,
        "events",
        no + yes,
        "positives",
        yes,
    )
