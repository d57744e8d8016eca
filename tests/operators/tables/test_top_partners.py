"""The heaviest partners of each row: exact until a row is full, and never a heavy one missed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.tables.top_partners import TopPartners
from state.arrays import NO_ROW
from state.times import DAY_MS

if TYPE_CHECKING:
    from state.arrays import Rows


def rows(values: list[int]) -> Rows:
    return np.array(values, np.int32)


def table_of(*pairs: tuple[int, int]) -> TopPartners:
    table = TopPartners(4, DAY_MS)
    row, partner = np.array(pairs, np.int32).T
    table.add(row, partner, np.ones(len(pairs), np.float32), np.zeros(len(pairs), np.int64))
    return table


@given(st.lists(st.sets(st.integers(0, 20), max_size=9), max_size=12), st.integers(1, 5))
def test_changed_rows_are_taken_in_rotation_and_none_is_lost(
    changed: list[set[int]], limit: int
) -> None:
    table = TopPartners(4, 1000)
    pending: set[int] = set()
    start = 0
    for batch in changed:
        added = rows(sorted(batch))
        table.add(added, added, np.ones(len(added), np.float32), np.zeros(len(added), np.int64))
        pending |= batch
        taken = table.take_changed(limit, start).tolist()
        rotated = sorted(pending, key=lambda row: (row < start, row))
        assert sorted(taken) == sorted(rotated[:limit])
        pending -= set(taken)
        start = taken[-1] + 1 if taken else start
    assert table.take_changed().tolist() == sorted(pending)


pairs = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 7)), max_size=60)


@settings(max_examples=60, deadline=None)
@given(pairs, st.integers(1, 20))
def test_counts_are_exact_until_a_row_is_full_whatever_the_batches(
    seen: list[tuple[int, int]], size: int
) -> None:
    table = TopPartners(8, DAY_MS)
    counted = np.zeros((5, 8))
    for start in range(0, len(seen), size):
        row, partner = np.array(seen[start : start + size], np.int32).T
        table.add(row, partner, np.ones(len(row), np.float32), np.zeros(len(row), np.int64))
        np.add.at(counted, (row, partner), 1)
    partner, weight = table.lookup(np.arange(5, dtype=np.int32))
    for row in range(5):
        stored = {
            p: w for p, w in zip(partner[row].tolist(), weight[row].tolist(), strict=True) if w
        }
        assert stored == {p: w for p, w in enumerate(counted[row].tolist()) if w}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=200))
def test_a_full_row_never_misses_a_partner_with_more_than_its_share(seen: list[int]) -> None:
    table = TopPartners(4, DAY_MS)
    for partner_row in seen:
        table.add(rows([0]), rows([partner_row]), np.ones(1, np.float32), np.zeros(1, np.int64))
    partner, weight = table.lookup(rows([0]))
    heavy = {row for row in seen if seen.count(row) > len(seen) / 4}
    assert heavy <= set(partner[0].tolist())
    assert weight.sum() == len(seen)


def test_a_batch_of_newcomers_does_not_replace_heavy_partners() -> None:
    table = TopPartners(4, DAY_MS)
    heavy = np.repeat(rows([100, 101]), 50)
    table.add(np.zeros(100, np.int32), heavy, np.ones(100, np.float32), np.zeros(100, np.int64))
    newcomers = np.arange(90, dtype=np.int32)
    table.add(np.zeros(90, np.int32), newcomers, np.ones(90, np.float32), np.zeros(90, np.int64))
    assert sorted(table.partner[0].tolist()) == [0, 1, 100, 101]


def test_weights_are_finite_after_years() -> None:
    table = TopPartners(2, DAY_MS)
    for year in (0, 1, 50, 3):
        at_ms = np.array([year * 365 * DAY_MS])
        table.add(rows([0]), rows([year]), np.ones(1, np.float32), at_ms)
    assert np.isfinite(table.weight).all()
    assert 50 in table.partner[0].tolist()


def test_rows_beyond_the_table_have_no_partners() -> None:
    partner, weight = table_of((0, 1)).lookup(rows([7, NO_ROW]))
    assert partner.tolist() == [[NO_ROW] * 4] * 2
    assert weight.tolist() == [[0.0] * 4] * 2
    assert TopPartners(2, DAY_MS).lookup(rows([0]))[0].tolist() == [[NO_ROW, NO_ROW]]


def test_removed_rows_and_partners_leave_nothing() -> None:
    table = table_of((0, 1), (0, 2), (3, 1))
    table.take_changed()
    table.mark_rows_containing(rows([2]))
    assert table.take_changed().tolist() == [0]
    table.remove_partners(rows([1]))
    assert table.are_empty(rows([0, 3])).tolist() == [False, True]
    table.remove_rows(rows([0, 99]))
    assert table.are_empty(rows([0])).tolist() == [True]
    assert table.take_changed().tolist() == []


def test_a_restored_table_continues_in_the_same_way() -> None:
    one, other = table_of((0, 1), (2, 5)), TopPartners(4, DAY_MS)
    other.restore(one.arrays())
    for table in (one, other):
        table.add(rows([0, 2]), rows([1, 6]), np.ones(2, np.float32), np.full(2, 3 * DAY_MS))
    assert {name: array.tolist() for name, array in one.arrays().items()} == {
        name: array.tolist() for name, array in other.arrays().items()
    }


@pytest.mark.parametrize("wrong", [{"width": 0}, {"half_life_ms": 0}])
def test_a_table_without_width_or_half_life_is_an_error(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be at least 1, got 0"):
        TopPartners(**{"width": 4, "half_life_ms": 1, **wrong})
