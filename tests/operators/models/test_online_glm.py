"""Generalized linear models that learn in batches: the weights of River's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pytest
from river import linear_model, optim

from operators.models.online_glm import OnlineGlm

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from operators.models.online_glm import Link

    Floats = NDArray[np.float64]


def stream(seed: int, n: int, *, amounts: bool = False) -> tuple[Floats, Floats]:
    """Points with a column of ones, and their outcomes."""
    rng = np.random.default_rng(seed)
    points = np.column_stack([np.ones(n), rng.normal(size=(n, 3))])
    raw = points @ [-1.0, 1.5, -0.5, 0.0]
    if amounts:
        return points, rng.poisson(np.exp(raw)).astype(np.float64)
    return points, (rng.random(n) < 1 / (1 + np.exp(-raw))).astype(np.float64)


@pytest.mark.parametrize("link", ["logistic", "exponential"])
def test_weights_equal_rivers(link: Link) -> None:
    points, truth = stream(1, 640, amounts=link == "exponential")
    optimizer = optim.AdaGrad(0.1)
    river: Any = linear_model.LogisticRegression(optimizer, intercept_lr=0.0)
    if link == "exponential":
        river = linear_model.LinearRegression(
            optimizer, loss=optim.losses.Poisson(), intercept_lr=0.0
        )
    ours = OnlineGlm(4, link, 0.1)
    for start in range(0, len(points), 16):
        block = slice(start, start + 16)
        frame = pd.DataFrame(points[block], columns=list("abcd"))
        weight = 1.0 if start % 32 else 0.25
        river.learn_many(frame, pd.Series(truth[block]), w=weight)
        ours.learn(points[block], truth[block], weight)
    assert ours.weights.tolist() == pytest.approx([river.weights[name] for name in "abcd"])


def test_a_restored_model_continues_in_the_same_way() -> None:
    points, truth = stream(2, 200)
    one, other = OnlineGlm(4, "logistic"), OnlineGlm(4, "logistic")
    one.learn(points[:100], truth[:100])
    other.restore(one.arrays())
    for model in (one, other):
        model.learn(points[100:], truth[100:])
    assert one.predict(points).tolist() == other.predict(points).tolist()


def test_a_prediction_of_an_amount_is_finite_for_any_point() -> None:
    model = OnlineGlm(1, "exponential")
    model.restore({"weights": np.array([1e9]), "squares": np.ones(1)})
    assert np.isfinite(model.predict(np.array([[1e9], [-1e9]]))).all()
