"""Pending decisions of open sessions: added, taken with their prediction, and sampled when full."""

import numpy as np
from numpy.typing import NDArray

from operators.segments.propensity.pending_decisions import ALL, PendingDecisions


def keys(*values: int) -> NDArray[np.uint64]:
    return np.array(values, np.uint64)


def test_a_pending_decision_is_taken_once_with_its_prediction() -> None:
    pending = PendingDecisions(64, 2)
    pending.add(
        keys(7, 9), np.array([[1, 2], [3, 4]], np.float32), np.array([0.1, 0.2], np.float32)
    )
    indexes, points, predicted = pending.take(keys(5, 9))
    assert (indexes.tolist(), points.tolist(), predicted.tolist()) == (
        [1],
        [[3, 4]],
        [np.float32(0.2)],
    )
    assert len(pending.take(keys(9))[0]) == 0
    assert len(pending) == 1


def test_with_too_many_decisions_a_random_share_is_kept() -> None:
    rng = np.random.default_rng(3)
    pending = PendingDecisions(64, 1)
    drawn = rng.integers(1, ALL, 5000, np.uint64, endpoint=True)
    for start in range(0, 5000, 50):
        chunk = drawn[start : start + 50]
        pending.add(chunk, np.zeros((50, 1), np.float32), np.zeros(50, np.float32))
        assert len(pending) <= 64
    kept = np.flatnonzero(drawn <= np.uint64(pending.key_max))
    assert 16 < len(kept) <= 64
    assert pending.take(drawn)[0].tolist() == kept.tolist()


def test_restored_decisions_are_pending_still() -> None:
    pending, restored = PendingDecisions(64, 1), PendingDecisions(64, 1)
    pending.add(keys(7, 9), np.array([[1], [2]], np.float32), np.array([0.1, 0.2], np.float32))
    pending.take(keys(7))
    restored.restore(pending.arrays())
    assert [key in restored for key in (7, 9)] == [False, True]
    assert restored.take(keys(9))[1].tolist() == [[2]]
