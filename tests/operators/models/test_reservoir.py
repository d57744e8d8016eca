"""The bounded sample of a stream: its size, and how old its points are."""

from __future__ import annotations

import numpy as np
import pytest

from operators.models.reservoir import Reservoir


def filled(half_life_points: float | None, points: int, block: int = 100) -> Reservoir:
    """A reservoir that was offered the numbers 0, 1, ... in blocks."""
    reservoir = Reservoir(1000, 1, half_life_points)
    rng = np.random.default_rng(3)
    for start in range(0, points, block):
        reservoir.offer(np.arange(start, start + block, dtype=np.float64)[:, None], start, rng)
    return reservoir


def test_all_points_are_kept_until_it_is_full() -> None:
    assert filled(None, 1000).points.ravel().tolist() == [float(n) for n in range(1000)]


@pytest.mark.parametrize("half_life_points", [None, 2000.0])
def test_once_it_was_full_three_quarters_are_kept(half_life_points: float | None) -> None:
    for points in (1100, 5000, 20_000):
        assert 750 <= len(filled(half_life_points, points).points) <= 1000


def test_without_a_half_life_every_part_of_the_stream_has_the_same_share() -> None:
    shares = np.histogram(filled(None, 40_000).points, bins=4, range=(0, 40_000))[0]
    np.testing.assert_allclose(shares / shares.sum(), 0.25, atol=0.05)


def test_a_point_that_is_a_half_life_older_is_half_as_likely() -> None:
    points = np.concatenate([filled(2000.0, 40_000, block).points for block in (50, 80, 100, 160)])
    newest, older = ((points > 40_000 - edge).sum() for edge in (2000, 4000))
    assert newest / (older - newest) == pytest.approx(2.0, rel=0.15)


def test_a_restored_sample_continues_in_the_same_way() -> None:
    one = filled(500.0, 3000)
    other = Reservoir(1000, 1, 500.0)
    other.restore(one.points, one.keys, one.threshold)
    more = np.arange(3000, 4000, dtype=np.float64)[:, None]
    for reservoir in (one, other):
        reservoir.offer(more, 3000, np.random.default_rng(9))
    assert one.points.tolist() == other.points.tolist()
    assert (one.keys.tolist(), one.threshold) == (other.keys.tolist(), other.threshold)
