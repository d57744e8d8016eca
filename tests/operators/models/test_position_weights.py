"""Weights of positions: one set for each number of items."""

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


def test_restored_weights_are_the_same() -> None:
    one, other = PositionWeights(3, 0.1), PositionWeights(3, 0.1)
    one.log_weights[1] += 0.5
    one.squares[1] += 0.25
    other.restore(one.arrays())
    assert other.log_weights.tolist() == one.log_weights.tolist()
    assert other.squares.tolist() == one.squares.tolist()
