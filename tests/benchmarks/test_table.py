"""The table says of each figure what was reached, and measures the rows that were asked for."""

from __future__ import annotations

import pytest

from benchmarks import adapters
from benchmarks.table.__main__ import PARTS, chosen
from benchmarks.table.rows import Row
from operators.readers.registry import READERS
from state.events import Event


def test_a_figure_that_should_be_small_is_held_against_both_bounds() -> None:
    row = Row("fixed", "ms", at_least=2.5, aim=1.0)
    assert [row.verdict(value) for value in (1.0, 2.5, 2.6)] == ["aim", "reached", "MISSED"]


def test_a_figure_that_should_be_large_is_held_against_both_bounds() -> None:
    row = Row("floor", "ratio", at_least=0.28, aim=0.5)
    assert [row.verdict(value) for value in (0.5, 0.28, 0.27)] == ["aim", "reached", "MISSED"]


def test_every_row_has_a_name_of_its_own_and_can_be_run_alone() -> None:
    names = [row.name for part in PARTS for row in part.rows]
    assert len(names) == len({*names})
    for name in names:
        (part,) = chosen([name], quick=False)
        assert name in {row.name for row in part.rows}


def test_a_row_that_is_not_there_is_named() -> None:
    with pytest.raises(SystemExit, match="no such row: speed; choose of busiest_of_2"):
        chosen(["cpu", "speed"], quick=False)


@pytest.mark.parametrize("format_name", adapters.MAKERS)
def test_records_of_the_adapters_are_read_whole(format_name: str) -> None:
    lines = adapters.records(format_name, 300)
    read = [*READERS[format_name](lines, source="s", now_ms=adapters.NOW_MS)]
    events = [event for event in read if isinstance(event, Event)]
    assert len(events) == len({event.event_id for event in events}) == 300
    assert {event.type for event in events} == {
        *("item_view", "page_view", "cart_add", "search", "purchase")
    }
    assert [event.left_out for event in events if event.left_out] == []
