"""The kernels of the list rules give what array operations give."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.kernels.ranking import list_rules as kernels
from operators.tables.scored_lists import drop, exclude
from state.arrays import NO_ROW
from state.interactions import ScoredLists
from tests.reference import list_rules as reference

if TYPE_CHECKING:
    from state.arrays import Rows

ITEMS = 9
FEW = settings(max_examples=60, deadline=None)
seeds, sizes = st.integers(0, 2**32 - 1), st.integers(0, 6)


def rows_of(rng: np.random.Generator, n: int, width: int) -> Rows:
    """Items, padded anywhere."""
    return rng.integers(NO_ROW, ITEMS, (n, width)).astype(np.int32)


def lists_of(rng: np.random.Generator, n: int, width: int) -> ScoredLists:
    score = rng.uniform(0, 1, (n, width)).astype(np.float32)
    return ScoredLists(rows_of(rng, n, width), score, rows_of(rng, n, width))


def values(lists: ScoredLists) -> list[list[object]]:
    return [lists.item.tolist(), lists.score.tolist(), lists.reason_item.tolist()]


@FEW
@given(seeds, sizes, sizes, sizes)
def test_what_is_left_of_lists_is_equal(seed: int, n: int, width: int, hidden: int) -> None:
    rng = np.random.default_rng(seed)
    lists, removed = lists_of(rng, n, width), rng.random((n, width)) < 0.4
    assert values(drop(lists, removed)) == values(reference.drop(lists, removed))
    excluded = rows_of(rng, n, hidden)
    expected = reference.drop(lists, reference.contains(excluded, lists.item))
    assert values(exclude(lists, excluded)) == values(expected)


@FEW
@given(seeds, sizes, sizes)
def test_the_same_pairs_are_marked(seed: int, n: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    starts = np.append(0, rng.integers(0, 4, n).cumsum())
    pair_item = rng.integers(0, ITEMS, starts[-1]).astype(np.int32)
    counts, item = rng.random(len(pair_item)) < 0.7, rows_of(rng, n, width)
    marked = np.zeros(item.shape, np.bool_)
    kernels.mark_pairs(item, starts, pair_item, counts, marked)
    assert marked.tolist() == reference.mark_pairs(item, starts, pair_item, counts).tolist()


@FEW
@given(seeds, st.integers(1, 8), sizes)
def test_the_shares_of_repurchases_are_equal(seed: int, items: int, categories: int) -> None:
    rng = np.random.default_rng(seed)
    buyers = rng.integers(0, 50, items).astype(np.float32)
    again = np.floor(buyers * rng.random(items)).astype(np.float32)
    category = rng.integers(NO_ROW, max(categories, 0), items).astype(np.int32)
    item = rng.integers(0, items, 12).astype(np.int32)
    share = np.empty(len(item), np.float32)
    kernels.repurchase_shares(item, buyers, again, category, categories, 10.0, share)
    expected = reference.repurchase_shares(item, buyers, again, category, categories, 10.0)
    np.testing.assert_allclose(share, expected, rtol=1e-6)
