"""The `model` keys of propensity: the status of a model, and its quality once it has outcomes."""

import numpy as np

from operators.segments.propensity.amount_model import AmountModel
from operators.segments.propensity.chance_model import ChanceModel
from operators.segments.propensity.model_report import (
    amount_model_writes,
    chance_model_writes,
    model_status,
)
from state import keys
from state.messages import Write


def fields(writes: list[Write]) -> dict[str, str]:
    """What the only HSET sets."""
    (write,) = [one for one in writes if one[0] == "HSET"]
    return {str(k): str(v) for k, v in zip(write[2::2], write[3::2], strict=True)}


def test_a_model_says_which_outcomes_it_waits_for() -> None:
    model = ChanceModel(1, 3)
    assert model_status(model) == "learning: 0 of 3 outcomes that came true"
    points, nothing = np.zeros((5, 1)), np.full(5, np.nan)
    model.learn(points, nothing, np.array([1.0, 1, 1, 1, 0]), np.zeros(5))
    assert model_status(model) == "learning: 1 of 3 outcomes that did not come true"
    model.learn(points, nothing, np.zeros(5), np.zeros(5))
    assert model_status(model) == "live"


def test_the_report_of_a_chance_compares_it_with_a_rule_and_a_constant() -> None:
    model = ChanceModel(1, 1)
    outcomes = np.array([0.0, 1.0, 0.0, 1.0])
    model.learn(np.zeros((4, 1)), np.array([0.2, 0.8, 0.2, 0.8]), outcomes, np.full(4, 0.5))
    writes = chance_model_writes("p_churn", model, 7)
    assert {write[1] for write in writes} == {keys.model_key("p_churn")}
    assert fields(writes) == {
        "version": "2",
        "algorithm": "logistic regression",
        "status": "live",
        "trained_ms": "7",
        "events": "4",
        "positives": "2",
        "rate": "0.5000",
        "predicted": "0.5000",
        "auc": "1.0000",
        "auc_of_rule": "0.5000",
        "log_loss": "0.2231",
        "log_loss_of_rate": "0.6931",
        "calibration_error": "0.2000",
        "judged": "4",
        "calibration": "[[2,0.2,0.0],[2,0.8,1.0]]",
    }


def test_the_report_of_an_amount_compares_it_with_a_constant() -> None:
    model = AmountModel(1, 1)
    model.learn(np.zeros((2, 1)), np.full(2, np.nan), np.array([0.0, 20.0]))
    model.learn(np.zeros((2, 1)), np.array([5.0, 25.0]), np.array([0.0, 30.0]))
    assert fields(amount_model_writes("value_30d", model, 7)) == {
        "version": "2",
        "algorithm": "Poisson regression",
        "status": "live",
        "trained_ms": "7",
        "events": "4",
        "positives": "2",
        "mean_predicted": "15.00",
        "mean": "15.00",
        "mean_error": "5.00",
        "mean_error_of_mean": "15.00",
        "top_tenth": "0.2000",
    }
