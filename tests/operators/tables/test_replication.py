"""Rows sent, written over an older copy, give the table; what did not change is not sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from operators.recommend.candidates.popularity import Popularity
from operators.tables.replication import ChangedRows, take_rows, write_rows
from operators.tables.top_partners import TopPartners

if TYPE_CHECKING:
    from state.arrays import Rows

HOUR_MS = 3_600_000
pairs = st.tuples(st.integers(0, 9), st.integers(0, 30), st.integers(0, 200))
batches = st.lists(st.tuples(st.lists(pairs, max_size=8), st.sets(st.integers(0, 12))), max_size=6)


@given(batches, st.data())
def test_rows_sent_over_an_older_copy_give_the_table(
    batches: list[tuple[list[tuple[int, int, int]], set[int]]], data: st.DataObject
) -> None:
    table, copy = (TopPartners(3, HOUR_MS) for _ in range(2))
    for rows, removed in batches:
        if rows:
            row, partner, hours = np.array(rows).T
            weight = np.ones(len(rows), np.float32)
            table.add(row.astype(np.int32), partner.astype(np.int32), weight, hours * HOUR_MS)
        table.mark_changed(np.array(sorted(removed), np.int32))
        if data.draw(st.booleans()):
            table.remove_partners(np.array(sorted(removed), np.int32))
            table.remove_rows(np.array(sorted(removed), np.int32))
        if data.draw(st.booleans()):
            write_rows(copy, take_rows(table))
    write_rows(copy, take_rows(table))
    copy.ensure_rows(table.rows)
    assert np.array_equal(copy.partner[: copy.rows], table.partner[: table.rows])
    assert np.array_equal(copy.weight[: copy.rows], table.weight[: table.rows])
    assert not np.shares_memory(copy.partner, table.partner)


@given(st.lists(st.lists(st.integers(0, 40), max_size=5), max_size=5))
def test_changed_rows_are_those_that_were_marked_since(marks: list[list[int]]) -> None:
    changed = ChangedRows()
    assert changed.take(3).tolist() == [0, 1, 2], "at first all"
    for rows in marks:
        changed.mark(np.array(rows, np.int64))
    assert sorted(changed.take(41).tolist()) == sorted({row for rows in marks for row in rows})
    assert changed.take(41).tolist() == []
    changed.mark_all()
    assert changed.take(2).tolist() == [0, 1]


def test_a_table_that_did_not_change_sends_nothing_but_its_scalars() -> None:
    popularity = Popularity()
    take_rows(popularity)
    nothing = take_rows(popularity)
    assert (nothing.rows.tolist(), nothing.columns) == ([], ())
    rows: Rows = nothing.rows
    assert rows.dtype == np.int32
