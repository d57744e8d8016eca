"""The kernels of chances and scaling equal their plain references."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.kernels.training import chances as kernels
from operators.kernels.training import scaling
from tests.reference import chances as reference
from tests.reference.scaling import Scaler

FEATURES = 4


def points_of(rng: np.random.Generator, n: int) -> reference.Floats:
    """Points of columns on different scales; one column is constant."""
    points = rng.lognormal(0.0, 1.0, (n, FEATURES)) * (1.0, 1e3, 1e-3, 1.0)
    points[:, 3] = 7.0
    return points


@given(st.lists(st.integers(1, 40), max_size=4), st.sampled_from([0.0, 5.0, 1e4]), st.integers(0))
def test_rows_are_merged_as_in_the_reference(sizes: list[int], half_life: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    plain = Scaler(np.zeros(FEATURES), np.zeros(FEATURES))
    mean, squares, std, inverse = np.zeros((4, FEATURES))
    weight, sums = 0.0, np.empty((2, FEATURES))
    for size in sizes:
        rows = points_of(rng, size)
        weight = scaling.learn_rows(rows, half_life, weight, mean, squares, std, inverse, sums)
        plain.learn(rows, half_life)
        np.testing.assert_allclose(weight, plain.weight)
        for ours, theirs in (
            (mean, plain.mean),
            (squares, plain.squares),
            (std, plain.std),
            (inverse, plain.inverse_std),
        ):
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(1, 50), st.booleans()), max_size=5), st.integers(0))
def test_outcomes_are_learned_as_in_the_reference(lots: list[tuple[int, bool]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    zeros = np.zeros(FEATURES)
    plain = reference.Chances(
        Scaler(zeros.copy(), zeros.copy()), np.zeros(1 + FEATURES), np.zeros(1 + FEATURES)
    )
    mean, scaler_squares, std, inverse = np.zeros((4, FEATURES))
    weights, squares = np.zeros((2, 1 + FEATURES))
    labels, recent, weight = np.zeros(2, np.int64), np.zeros(3), 0.0
    for size, is_young in lots:
        points, outcomes = points_of(rng, size), (rng.random(size) < 0.3).astype(np.float64)
        weight = kernels.learn_chances(
            points,
            outcomes,
            reference.BLOCK,
            is_young,
            100.0,
            reference.SCORE_MAX,
            reference.RAW_MAX,
            reference.RATE,
            weight,
            mean,
            scaler_squares,
            std,
            inverse,
            weights,
            squares,
            labels,
            recent,
        )
        plain.learn(points, outcomes, 100.0, is_young=is_young)
        assert labels.tolist() == plain.labels.tolist()
        for ours, theirs in ((weights, plain.weights), (recent, plain.recent)):
            np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-9)
        estimated = np.empty(size)
        kernels.estimate_chances(
            points, weights, mean, inverse, reference.SCORE_MAX, reference.RAW_MAX, 0.7, estimated
        )
        np.testing.assert_allclose(estimated, plain.estimate(points, 0.7), rtol=1e-8)


@given(
    st.lists(
        st.lists(st.tuples(st.floats(0.0, 1.0) | st.just(float("nan")), st.booleans()), min_size=1),
        max_size=4,
    ),
    st.sampled_from([3.0, 1e5]),
)
def test_chances_are_evaluated_as_in_the_reference(
    lots: list[list[tuple[float, bool]]], half_life: float
) -> None:
    sums, expected = np.zeros((3, 16)), np.zeros((3, 16))
    loss = expected_loss = 0.0
    for lot in lots:
        chances, outcomes = (np.array(column, np.float64) for column in zip(*lot, strict=True))
        loss = kernels.evaluate_chances(chances, outcomes, half_life, 8.0, loss, *sums)
        expected_loss = reference.evaluate(
            chances, outcomes, half_life, 8.0, expected, expected_loss
        )
        np.testing.assert_allclose(sums, expected, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(loss, expected_loss, rtol=1e-12)
