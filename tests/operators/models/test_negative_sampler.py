"""Decayed popularity and negative samples: live items only, with known probabilities."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from operators.models.negative_sampler import NegativeSampler
from state.times import DAY_MS

START_MS = 1_700_000_000_000


def test_popularity_is_finite_after_years_without_an_event() -> None:
    sampler = NegativeSampler(half_life_ms=DAY_MS, power=0.5)
    sampler.ensure_rows(2)
    for years in (0, 1, 2, 30):
        sampler.observe(np.array([0, 1], np.int32), np.array([0, years * 365 * DAY_MS]))
    assert np.isfinite(sampler.popularity).all()
    assert sampler.popularity[1] > sampler.popularity[0]


@given(
    st.lists(st.integers(0, 8), min_size=1, max_size=40),
    st.integers(0, 2**32),
    st.sampled_from([0.0, 0.5, 1.0]),
)
def test_samples_are_live_items_with_a_probability_each(
    items: list[int], seed: int, power: float
) -> None:
    sampler = NegativeSampler(half_life_ms=DAY_MS, power=power)
    sampler.ensure_rows(9)
    rows = np.array(items, np.int32)
    sampler.observe(rows, np.full(len(rows), START_MS))
    sampled = sampler.sample(np.random.default_rng(seed), 5)
    assert len(sampled) == 5
    assert set(sampled.tolist()) <= set(items)
    probabilities = sampler.probabilities(np.unique(rows), 5, 3)
    assert (probabilities > 0).all()
    assert (probabilities <= 1).all()


def test_the_probability_is_the_share_of_samples_that_hold_an_item() -> None:
    sampler = NegativeSampler(half_life_ms=DAY_MS, power=0.5)
    sampler.ensure_rows(3)
    sampler.observe(np.array([0] * 16 + [1] * 4 + [2], np.int32), np.full(21, START_MS))
    rng = np.random.default_rng(1)
    seen = [[row in sampler.sample(rng, 3) for row in range(3)] for _ in range(4000)]
    expected = sampler.probabilities(np.arange(3, dtype=np.int32), 3, 0)
    # From the expected number of samples. They may repeat, so it is somewhat too low.
    np.testing.assert_allclose(np.mean(seen, axis=0), expected, atol=0.12)


def test_a_removed_item_is_not_sampled() -> None:
    sampler = NegativeSampler(half_life_ms=DAY_MS, power=0.5)
    sampler.ensure_rows(2)
    sampler.observe(np.array([0, 1], np.int32), np.full(2, START_MS))
    sampler.remove_items(np.array([0], np.int32))
    assert {*sampler.sample(np.random.default_rng(0), 50).tolist()} == {1}


def test_a_restored_sampler_continues_in_the_same_way() -> None:
    one, other = (NegativeSampler(half_life_ms=DAY_MS, power=0.5) for _ in range(2))
    one.ensure_rows(5)
    one.observe(np.arange(5, dtype=np.int32), START_MS + DAY_MS * np.arange(5))
    other.restore(one.arrays())
    for sampler in (one, other):
        sampler.observe(np.array([1, 2], np.int32), np.full(2, START_MS + 9 * DAY_MS))
    samples = [s.sample(np.random.default_rng(3), 20).tolist() for s in (one, other)]
    assert samples[0] == samples[1]
