"""The kernels that follow sessions give what array operations give."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.kernels.ranking import session_contexts as kernels
from operators.tables.array_ops import ascending_order
from state.arrays import NO_ROW
from state.times import NEVER_SEEN_MS
from tests.reference import session_contexts as reference

FEW = settings(max_examples=100, deadline=None)
seeds = st.integers(0, 2**32 - 1)


@FEW
@given(seeds, st.integers(1, 6), st.integers(1, 5), st.integers(1, 40))
def test_the_items_before_each_event_are_equal(
    seed: int, shoppers: int, length: int, n: int
) -> None:
    rng = np.random.default_rng(seed)
    recent = np.full((shoppers, length), NO_ROW, np.int32)
    last_ms = np.full(shoppers, NEVER_SEEN_MS, np.int64)
    for _ in range(3):
        shopper = rng.integers(0, shoppers, n).astype(np.int32)
        item = rng.integers(0, 5, n).astype(np.int32)
        at_ms, start_ms = rng.integers(0, 20, (2, n))
        expected_recent, expected_ms = recent.copy(), last_ms.copy()
        expected = reference.append_items(
            shopper, item, at_ms, start_ms, expected_recent, expected_ms
        )
        context = np.empty((n, length), np.int32)
        kernels.append_items(
            ascending_order(shopper), shopper, item, at_ms, start_ms, recent, last_ms, context
        )
        assert context.tolist() == expected.tolist()
        assert recent.tolist() == expected_recent.tolist()
        assert last_ms.tolist() == expected_ms.tolist()


@FEW
@given(seeds, st.integers(1, 4), st.integers(1, 4), st.integers(1, 40))
def test_visits_are_equal(seed: int, items: int, places: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    visitor, visits = np.full((items, places), NO_ROW, np.int32), np.zeros(items, np.int64)
    for _ in range(3):
        item, shopper = rng.integers(0, items, (2, n)).astype(np.int32)
        previous = rng.integers(NO_ROW, items, (n, 2)).astype(np.int32)
        expected_visitor, expected_visits = visitor.copy(), visits.copy()
        reference.record_visits(item, shopper, previous, expected_visitor, expected_visits)
        kernels.record_visits(item, shopper, previous, visitor, visits)
        assert visitor.tolist() == expected_visitor.tolist()
        assert visits.tolist() == expected_visits.tolist()
