"""Many gradient steps at once: River's AdaGrad, but for the decay of its memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from river import optim

from operators.models.sgd import SQUARES_INITIAL, adagrad_step, normalize, norms, rotate_step


def test_a_few_steps_are_those_of_rivers_adagrad() -> None:
    rng = np.random.default_rng(1)
    values, squares = np.zeros(4, np.float32), np.zeros(4, np.float32)
    optimizer = optim.AdaGrad(0.1, eps=float(SQUARES_INITIAL))
    weights: Any = dict.fromkeys(range(4), 0.0)
    for _ in range(5):
        gradient = rng.normal(size=4).astype(np.float32)
        adagrad_step(values, squares, np.arange(4, dtype=np.int32), gradient, 0.1)
        weights = optimizer.step(weights, dict(enumerate(gradient.tolist())))
    # The memory decays by .0005 a step, so the two differ by about as much.
    assert values.tolist() == pytest.approx([*weights.values()], abs=1e-4)


def test_only_the_given_rows_are_moved() -> None:
    values, squares = np.zeros(3, np.float32), np.zeros(3, np.float32)
    adagrad_step(values, squares, np.array([1], np.int32), np.ones(1, np.float32), 0.1)
    assert (values != 0).tolist() == [False, True, False]
    assert (squares != 0).tolist() == [False, True, False]


def test_a_rotated_vector_keeps_its_length_and_a_gradient_along_it_changes_nothing() -> None:
    rng = np.random.default_rng(2)
    vectors = normalize(rng.normal(size=(5, 8)).astype(np.float32))[0]
    before, squares = vectors.copy(), np.zeros(5, np.float32)
    rows = np.array([0, 3], np.int32)
    gradient = np.stack([before[0] * 7, rng.normal(size=8).astype(np.float32)])
    rotate_step(vectors, squares, rows, before[rows], gradient, 0.5)
    assert norms(vectors).ravel().tolist() == pytest.approx([1.0] * 5, rel=1e-5)
    np.testing.assert_allclose(vectors[[0, 1, 2, 4]], before[[0, 1, 2, 4]], atol=1e-5)
    assert vectors[3] @ before[3] < 0.99
