"""The kernels of factors equal their plain reference, whose steps are those of River's AdaGrad, but
for the decay of its memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import optim

from operators.models.rng_state import load_rng
from operators.models.session_factors import SessionFactors, SessionFactorsConfig
from tests.reference.session_factors import (
    SQUARES_INITIAL,
    Block,
    adagrad_step,
    learn_block,
    normalize,
    rotate_step,
)


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
    rotate_step(vectors, squares, rows, gradient, 0.5)
    assert np.linalg.norm(vectors, axis=1).tolist() == pytest.approx([1.0] * 5, rel=1e-5)
    np.testing.assert_allclose(vectors[[0, 1, 2, 4]], before[[0, 1, 2, 4]], atol=1e-5)
    assert vectors[3] @ before[3] < 0.99


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=4), st.integers(2, 12), st.integers(0, 99))
def test_blocks_are_learned_as_in_the_reference(sizes: list[int], items: int, seed: int) -> None:
    config = SessionFactorsConfig(n_factors=5, negatives=4, context_max=3)
    rng, model = np.random.default_rng(seed), SessionFactors(config, seed)
    for size in sizes:
        rows = rng.integers(0, items, size).astype(np.int32)
        context = rng.integers(-1, items, (size, 3)).astype(np.int32)
        weights = np.ones(size, np.float32)
        # So that every item has a row: only the second call is compared.
        model.learn(np.arange(items, dtype=np.int32), np.ones(items, np.float32),
                    np.arange(items), np.full((items, 3), -1, np.int32))  # fmt: skip
        expected: dict[str, Any] = {name: one.copy() for name, one in model.arrays().items()}
        model.learn(rows, weights, np.arange(size), context)
        sampler, held = model.negative_sampler, (context >= 0).any(axis=1)
        if not held.any():
            continue
        negatives = sampler.sample(load_rng(expected["rng"]), config.negatives)
        targets = np.union1d(rows[held], negatives).astype(np.int32)
        positions = SessionFactors(config, seed).position_weights
        positions.log_weights = expected["places"].copy()
        block = Block(
            rows[held],
            weights[held],
            context[held],
            positions.weights(context[held] >= 0),
            targets,
            sampler.probabilities(targets, len(negatives), int(held.sum())),
        )
        learn_block(expected, block, config)
        learned = model.arrays()
        for name in ("vectors", "squares", "bias", "bias_squares", "places", "place_squares"):
            np.testing.assert_allclose(learned[name], expected[name], rtol=2e-3, atol=2e-4)
