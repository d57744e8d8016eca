"""The quality of each model, as the `model` keys in Redis show it. Field names are public."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from operators.models import model_metrics
from operators.models.model_metrics import format_metric
from operators.segments.propensity.features import VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from operators.segments.propensity.amount_model import AmountModel
    from operators.segments.propensity.chance_model import ChanceModel
    from state.messages import Write


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
    fields = {field: format_metric(value) for field, value in metrics.items()}
    more = {
        "judged": str(evaluation.labels),
        "calibration": orjson.dumps(bins).decode() if bins else "",
    }
    for field, value in model.metrics.values().items():
        more[field] = format_metric(value)
    if model.failures:
        more["failures"] = str(model.failures)
    return _model_writes(name, model.algorithm, model, now_ms, fields | more)


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
