"""The kernels that learn tables of partners give what array operations give, bit for bit."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.kernels.ranking import learning as kernels
from state.arrays import NO_ROW
from tests.reference import learning as reference

FEW = settings(max_examples=100, deadline=None)
seeds = st.integers(0, 2**32 - 1)


@FEW
@given(seeds, st.integers(1, 5), st.sampled_from([1, 2, 5, 16]), st.integers(1, 60))
def test_tables_of_partners_are_equal(seed: int, rows: int, width: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    partner = np.full((rows, width), NO_ROW, np.int32)
    weight = np.zeros((rows, width), np.float32)
    for _ in range(4):
        pairs = np.sort(rng.integers(0, rows, n) << 32 | rng.integers(0, 3 * width, n))
        row, item = (pairs >> 32).astype(np.int32), (pairs & 0xFFFF).astype(np.int32)
        gain = rng.choice(np.array([0, 0.5, 1, 1.3, 7], np.float32), n)
        expected_partner, expected_weight = partner.copy(), weight.copy()
        reference.add_partners(row, item, gain, expected_partner, expected_weight)
        kernels.add_partners(row, item, gain, partner, weight)
        assert partner.tolist() == expected_partner.tolist()
        assert weight.tobytes() == expected_weight.tobytes()


@FEW
@given(seeds, st.integers(1, 20), st.integers(1, 5))
def test_transitions_are_equal(seed: int, n: int, length: int) -> None:
    rng = np.random.default_rng(seed)
    context = rng.integers(NO_ROW, 6, (n, 5)).astype(np.int32)
    item = rng.integers(0, 6, n).astype(np.int32)
    weight, scale = rng.uniform(0.1, 3, (2, n)).astype(np.float32)
    backward, most = np.float32(0.5), 2 * n * length
    row, partner = np.empty((2, most), np.int32)
    gain = np.empty(most, np.float32)
    count = kernels.transitions(context, length, item, weight, scale, backward, row, partner, gain)
    expected = reference.transitions(context, length, item, weight, scale, backward)
    assert row[:count].tolist() == expected[0].tolist()
    assert partner[:count].tolist() == expected[1].tolist()
    assert gain[:count].tobytes() == expected[2].tobytes()
