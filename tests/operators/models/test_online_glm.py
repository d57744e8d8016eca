"""Generalized linear models that learn in batches: the weights of River's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pytest
from river import checks, linear_model, optim

from operators.models.online_glm import (
    OnlineGlm,
    OnlineLogisticRegression,
    OnlinePoissonRegression,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def stream(seed: int, n: int, *, amounts: bool = False) -> tuple[Floats, Floats]:
    """Points with a column of ones, and their outcomes."""
    rng = np.random.default_rng(seed)
    points = np.column_stack([np.ones(n), rng.normal(size=(n, 3))])
    raw = points @ [-1.0, 1.5, -0.5, 0.0]
    if amounts:
        return points, rng.poisson(np.exp(raw)).astype(np.float64)
    return points, (rng.random(n) < 1 / (1 + np.exp(-raw))).astype(np.float64)


@pytest.mark.parametrize("model", [OnlineLogisticRegression, OnlinePoissonRegression])
def test_weights_equal_rivers(
    model: type[OnlineLogisticRegression] | type[OnlinePoissonRegression],
) -> None:
    is_amount = model is OnlinePoissonRegression
    points, truth = stream(1, 640, amounts=is_amount)
    optimizer = optim.AdaGrad(0.1)
    river: Any = linear_model.LogisticRegression(optimizer, intercept_lr=0.0)
    if is_amount:
        river = linear_model.LinearRegression(
            optimizer, loss=optim.losses.Poisson(), intercept_lr=0.0
        )
    ours: OnlineGlm = model(0.1, has_intercept=False, n_features=4)
    for start in range(0, len(points), 16):
        block = slice(start, start + 16)
        frame = pd.DataFrame(points[block], columns=list("abcd"))
        weight = 1.0 if start % 32 else 0.25
        river.learn_many(frame, pd.Series(truth[block]), w=weight)
        ours.learn_array(points[block], truth[block], weight)
    assert ours.weights.tolist() == pytest.approx([river.weights[name] for name in "abcd"])


def test_a_restored_model_continues_in_the_same_way() -> None:
    points, truth = stream(2, 200)
    one, other = (OnlineLogisticRegression(n_features=3) for _ in range(2))
    points = points[:, 1:]
    one.learn_array(points[:100], truth[:100])
    other.restore(one.arrays())
    for model in (one, other):
        model.learn_array(points[100:], truth[100:])
    assert one.predict_array(points).tolist() == other.predict_array(points).tolist()


def test_a_prediction_of_an_amount_is_finite_for_any_point() -> None:
    model = OnlinePoissonRegression(has_intercept=False, n_features=1)
    model.restore({"weights": np.array([1e9]), "squares": np.ones(1)})
    assert np.isfinite(model.predict_array(np.array([[1e9], [-1e9]]))).all()


@pytest.mark.parametrize(
    "model",
    [OnlineLogisticRegression(), OnlineLogisticRegression(0.5), OnlinePoissonRegression()],
    ids=repr,
)
def test_it_passes_the_checks_of_river_estimators(model: Any) -> None:
    checks.check_estimator(model)


@pytest.mark.parametrize("model", [OnlineLogisticRegression, OnlinePoissonRegression])
def test_dicts_frames_and_arrays_learn_and_predict_the_same(
    model: type[OnlineLogisticRegression] | type[OnlinePoissonRegression],
) -> None:
    points, truth = stream(3, 80)
    points = points[:, 1:]
    by_one, by_frame, by_array = model(), model(), model(n_features=3)
    for index, row in enumerate(points.tolist()):
        by_one.learn_one(dict(zip("abc", row, strict=True)), truth[index])
        frame = pd.DataFrame([row], columns=list("abc"))
        by_frame.learn_many(frame[["b", "a", "c"]] if index else frame, pd.Series([truth[index]]))
        by_array.learn_array(points[index : index + 1], truth[index : index + 1])
    assert by_one.weights.tolist() == by_array.weights.tolist()
    assert by_frame.weights.tolist() == by_array.weights.tolist()
    expected = by_array.predict_array(points)
    frame = pd.DataFrame(points, columns=list("abc"))[["c", "b", "a"]]
    if isinstance(by_frame, OnlineLogisticRegression):
        assert by_frame.predict_proba_many(frame)[True].tolist() == expected.tolist()
        assert by_frame.predict_many(frame).tolist() == (expected > 0.5).tolist()
    else:
        assert by_frame.predict_many(frame).tolist() == expected.tolist()
