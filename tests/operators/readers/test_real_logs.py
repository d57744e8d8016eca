"""Public logs of real shops: the counts of their events, shoppers and broken rows."""

from __future__ import annotations

import gzip
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from operators.readers.registry import READERS
from state.events import Event
from state.limits import Limits
from tests.operators.readers.tables import NOW_MS, events, faults
from tests.shared import shared_data

if TYPE_CHECKING:
    from state.dead_letters import DeadLetter


def read_real_log(format_name: str, name: str) -> list[Event | DeadLetter]:
    limits = Limits(event_items_max=20_000)
    with gzip.open(shared_data(name)) as lines:
        return list(READERS[format_name](lines, source=name, now_ms=NOW_MS, limits=limits))


def row_count(records: list[Event | DeadLetter]) -> int:
    """The number of rows of a log with one item a row: each is an item of an event or a dead letter."""
    return sum(len(record.items) if isinstance(record, Event) else 1 for record in records)


def test_the_real_rees46_log() -> None:
    records = read_real_log("rees46", "rees46_2019-10-01.csv.gz")
    found = events(records)
    assert row_count(records) == 17_434 + 1
    assert Counter(event.type for event in found) == {
        "item_view": 17_055,
        "purchase": 214,
        "cart_add": 165,
    }
    assert len({event.user_id for event in found}) == 4_504
    assert len({item.item_id for event in found for item in event.items}) == 6_493
    assert len({event.event_id for event in found}) == 17_434
    assert faults(records) == [(17_436, "schema_violation", "$", "expected 9 columns, found 8")]


def test_the_real_online_retail_log() -> None:
    records = read_real_log("online-retail", "online_retail_2010-12_2011-07.csv.gz")
    found = events(records)
    assert row_count(records) == 285_421
    assert Counter(event.type for event in found) == {"purchase": 10_134, "refund": 2_164}
    assert len({event.order_id for event in found}) == len(found)
    assert Counter(fault[1] for fault in faults(records)) == {"no_identity": 81_030}
    assert len({event.user_id for event in found}) == 3_193


@pytest.mark.parametrize(
    ("part", "clicks", "sessions"),
    [("train", 53_254, 13_629), ("valid", 16_539, 4_084), ("test", 13_568, 3_416)],
)
def test_the_real_yoochoose_week(part: str, clicks: int, sessions: int) -> None:
    records = read_real_log("yoochoose", f"yoochoose_week/{part}.tsv.gz")
    assert len(events(records)) == len(records) == clicks
    assert len({event.anonymous_id for event in events(records)}) == sessions
