"""The kernel that finds pairs gives what array operations give."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.tables.bounded_pairs import BoundedPairs
from state.arrays import NO_ROW

NOW_MS = 1_700_000_000_000
HOUR_MS = 3_600_000


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0, HOUR_MS]), st.integers(0, 80))
def test_the_pairs_of_shoppers_are_equal(seed: int, half_life_ms: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    table = BoundedPairs(200, ways=4, half_life_ms=half_life_ms)
    shopper, item = rng.integers(0, 200, n), rng.integers(0, 9, n)
    at_ms = NOW_MS + rng.integers(0, 9 * HOUR_MS, n)
    weight = rng.uniform(0.1, 2, n).astype(np.float32)
    table.add(shopper.astype(np.int32), item.astype(np.int32), weight, at_ms)
    asked = rng.integers(NO_ROW, 210, 30).astype(np.int32)
    now_ms = NOW_MS + rng.integers(0, 20 * HOUR_MS, 30)

    pairs = table.lookup(asked, now_ms)

    [columns] = table.tables()
    owner, *others = (columns.columns[name] for name in ("shopper", "item", "weight", "at_ms"))
    row = asked % len(owner)
    query, way = np.nonzero((owner[row] == asked[:, None]) & (asked >= 0)[:, None])
    expected_item, expected_weight, expected_ms = (column[row[query], way] for column in others)
    if half_life_ms:
        age_ms = np.maximum(now_ms[query] - expected_ms, 0)
        expected_weight = expected_weight * np.exp2(-age_ms / half_life_ms).astype(np.float32)
    assert pairs.query.tolist() == query.tolist()
    assert pairs.item.tolist() == expected_item.tolist()
    assert pairs.at_ms.tolist() == expected_ms.tolist()
    np.testing.assert_allclose(pairs.weight, expected_weight, rtol=1e-6)
