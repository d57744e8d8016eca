"""A classifier of River in the place of ours: resume, blocks, failures, and a change of estimator."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import base, compose, linear_model, preprocessing, tree

from operators.events.processing_errors import ProcessingErrors
from operators.models.online_glm import OnlineLogisticRegression
from operators.models.river.named_classifier import CHANCE_MIN, NamedClassifier
from operators.segments.propensity.chance_model import ChanceModel

FEATURES = ("a", "b", "c")


def hat() -> Any:
    return tree.HoeffdingAdaptiveTreeClassifier(grace_period=20, seed=3)


def logistic() -> Any:
    return compose.Pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression())


def named(make: Any, block_rows: int = 1, errors: Any = None, text: str = "it") -> NamedClassifier:
    return NamedClassifier(
        make(), text, FEATURES, errors or ProcessingErrors("propensity"), block_rows
    )


def outcomes(n: int, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(n, 3))
    return points, (rng.random(n) < 1 / (1 + np.exp(-2 * points[:, 0]))).astype(np.float64)


@settings(max_examples=20, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 400), max_size=4),
    crash_at=st.integers(0, 400),
    kind=st.sampled_from([(hat, 1), (logistic, 1), (logistic, 16)]),
)
def test_a_restored_classifier_continues_in_the_same_way_however_outcomes_are_cut(
    cuts: list[int], crash_at: int, kind: tuple[Any, int]
) -> None:
    make, block_rows = kind
    points, truth = outcomes(400)
    whole, parts = named(make, block_rows), named(make, block_rows)
    whole.learn_array(points, truth)
    for part in np.split(np.arange(400), sorted([*cuts, crash_at])):
        parts.learn_array(points[part], truth[part])
        restored = named(make, block_rows)
        restored.restore(parts.arrays())
        parts = restored
    # It is saved where calls end, so only the predictions are compared.
    assert parts.predict_array(points).tolist() == pytest.approx(
        whole.predict_array(points).tolist(), abs=1e-12
    )


def test_blocks_are_learned_by_learn_many() -> None:
    points, truth = outcomes(40)
    ours = named(lambda: OnlineLogisticRegression(), 16)
    ours._learning.save = lambda: None  # type: ignore[method-assign]
    ours.learn_array(points, truth)
    expected = OnlineLogisticRegression(n_features=3)
    for start in (0, 16):
        expected.learn_array(points[start : start + 16], truth[start : start + 16])
    assert ours.predict_array(points).tolist() == expected.predict_array(points).tolist()


class Raises(base.Classifier):
    """Raises at some points, in learning as in predicting; is sure of all others."""

    def learn_one(self, x: dict[Any, float], y: Any) -> None:
        if x[0] > 0:
            raise ZeroDivisionError

    def predict_proba_one(self, x: dict[Any, float], **_: Any) -> dict[Any, float]:
        if x[1] > 0:
            raise ValueError("no chance")
        return {True: 1.0} if x[2] > 0 else {}


def test_what_raises_or_says_nothing_has_the_chance_of_the_rate(
    processing_errors: list[Any],
) -> None:
    errors = ProcessingErrors("propensity")
    model = named(Raises, errors=errors)
    model.set_base_rate(negatives=29, positives=9)
    points, truth = outcomes(40)
    model.learn_array(points, truth)
    assert model.failures == (points[:, 0] > 0).sum() > 0
    says = (points[:, 1] <= 0) & (points[:, 2] > 0)
    chances = model.predict_array(points)
    assert chances[~says].tolist() == pytest.approx([9.5 / 39] * int((~says).sum()))
    assert chances[says].tolist() == [1 - CHANCE_MIN] * int(says.sum())
    assert errors.take_counts() == {"propensity.propensity_estimator": len(processing_errors)}
    processing_errors.clear()


def test_with_another_estimator_a_model_starts_from_empty() -> None:
    points, truth = outcomes(300)

    def of(estimator: NamedClassifier | None) -> ChanceModel:
        return ChanceModel(3, 10, estimator=estimator)

    for first, second in (
        (None, named(hat)),
        (named(hat), None),
        (named(hat), named(hat, text="another")),
    ):
        learned, other = of(first), of(second)
        learned.learn(points, np.full(300, np.nan), truth, truth)
        other.restore(learned.arrays())
        assert (learned.ready, other.ready) == (True, False)
        assert np.isnan(other.predict(points)).all()
        other.learn(points, np.full(300, np.nan), truth, truth)
        assert other.ready
