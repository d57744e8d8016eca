"""Weights of positions: one set for each number of items, which learning changes alone."""

from __future__ import annotations

import numpy as np
import pytest

from operators.models.position_weights import LOG_DECAY_PER_POSITION, PositionWeights

KNOWN = np.array([[True, True, True], [True, False, True], [False, False, False]])


def test_weights_sum_to_1_decay_by_position_and_skip_unknown_items() -> None:
    weights = PositionWeights(3, 0.1).weights(KNOWN)
    assert weights.sum(axis=1).tolist() == pytest.approx([1.0, 1.0, 0.0])
    decay = np.exp(LOG_DECAY_PER_POSITION)
    assert weights[0, 1:] / weights[0, :-1] == pytest.approx([decay, decay], rel=1e-5)
    assert weights[1].tolist() == pytest.approx(
        [1 / (1 + decay**2), 0.0, decay**2 / (1 + decay**2)], rel=1e-5
    )


def test_a_step_lowers_positions_with_a_positive_slope_for_that_length_only() -> None:
    model = PositionWeights(3, 0.1)
    before = model.log_weights.copy()
    weights = model.weights(KNOWN[:1])
    slopes = np.array([[1.0, -2.0, 0.0]], np.float32)
    model.learn(weights, slopes, np.array([3]))
    change = np.sign(model.log_weights - before)
    assert change.tolist() == [[0, 0, 0], [0, 0, 0], [-1, 1, 0]]


def test_restored_weights_continue_in_the_same_way() -> None:
    one, other = PositionWeights(3, 0.1), PositionWeights(3, 0.1)
    slopes = np.ones((1, 3), np.float32)
    one.learn(one.weights(KNOWN[:1]), slopes, np.array([3]))
    other.restore(one.arrays())
    for model in (one, other):
        model.learn(model.weights(KNOWN[:1]), slopes, np.array([3]))
    assert one.log_weights.tolist() == other.log_weights.tolist()
