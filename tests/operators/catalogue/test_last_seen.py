"""When items were last seen, and which to evict."""

from __future__ import annotations

import numpy as np

from operators.catalogue.last_seen import LastSeen, least_recent


def test_the_newest_time_of_each_row_is_kept() -> None:
    seen = LastSeen()
    seen.update(np.array([2, 0, 2], np.int32), np.array([5, 7, 3]))
    assert seen.arrays()["at_ms"].tolist() == [7, 0, 5]
    seen.remove_items(np.array([0, 99], np.int32))
    assert seen.arrays()["at_ms"].tolist() == [0, 0, 5]


def test_rows_unseen_for_longest_are_evicted_and_one_in_twenty_more() -> None:
    rows, at_ms = np.arange(100, dtype=np.int32), np.arange(100)[::-1].copy()
    assert least_recent(rows, at_ms, limit=100).tolist() == []
    assert least_recent(rows, at_ms, limit=98).tolist() == [99, 98, 97, 96, 95, 94]


def test_rows_that_were_never_seen_are_evicted_first() -> None:
    rows = np.arange(4, dtype=np.int32)
    assert least_recent(rows, np.array([5, 3]), limit=2).tolist() == [2, 3]


def test_only_changed_rows_are_stored() -> None:
    seen = LastSeen()
    seen.update(np.array([0, 1, 2], np.int32), np.array([1, 2, 3]))
    (table,) = seen.tables()
    assert table.dirty_rows is not None
    table.dirty_rows.take_dirty(3)
    seen.update(np.array([1], np.int32), np.array([9]))
    assert table.dirty_rows.take_dirty(3).tolist() == [1]
