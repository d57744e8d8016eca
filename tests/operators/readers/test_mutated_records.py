"""A record with any value in any field becomes an event, or a dead letter with the reason.

`processing_error` would be a fault of ours: no value that JSON can hold may lead to one.
"""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.events.decode import RecordPosition
from operators.readers.registry import READERS, RECORD_READERS
from state.dead_letters import DeadLetter
from state.limits import DEFAULT

NOW_MS = 1_790_000_000_000
ADAPTERS = Path(__file__).parents[2] / "adapters"
ODD: list[Any] = [
    None, True, False, 0, -1, 1e308, 2**63, 2**70, 1.5, 1e-320, 10**18,
    "", "0", "null", "NaN", "1,234.5", "1.234,56", "  x ", "a" * 200, "é\x00\x1b[31m", "(not set)",
    "2026-01-01", "9" * 400, "-5", "1e5", "∞", "٣", [], {}, [None], [[]], {"a": 1}, [{}], {"0": {}},
]  # fmt: skip


CANONICAL = {
    "event_id": "1",
    "type": "purchase",
    "event_ts": 1_772_359_200_000,
    "received_ts": 1_772_359_200_500,
    "anonymous_id": "d1",
    "user_id": "ann",
    "order_id": "o1",
    "value": 20.5,
    "currency": "EUR",
    "items": [
        {
            "item_id": "x",
            "category": ["a", "b"],
            "brand": "b",
            "price": 9.5,
            "quantity": 2,
            "position": 1,
        }
    ],
    "page": {"url": "/a", "title": "A"},
    "campaign": {"source": "s", "medium": "m"},
    "consent": {"analytics": True, "personalization": None, "ads": False},
    "reco": {"slot": "home", "position": 1, "propensity": 0.5},
    "country": "DE",
    "props": {"a": [1]},
}


def samples(format_name: str) -> list[dict[str, Any]]:
    """Records of the format, from the tests of adapters."""
    if format_name == "penstock":
        return [CANONICAL]
    found = []
    for path in sorted((ADAPTERS / format_name).glob("*.json")):
        if not path.name.endswith(".expected.json"):
            read = json.loads(path.read_bytes())
            found += read if isinstance(read, list) else [read]
    return [one for one in found if isinstance(one, dict)]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside a record."""
    inside: list[Any] = []
    if isinstance(value, dict):
        inside = list(value.items())
    elif isinstance(value, list):
        inside = list(enumerate(value))
    return [
        *([path] if path else []),
        *(p for key, one in inside for p in places(one, (*path, key))),
    ]


def with_odd(record: dict[str, Any], changes: list[tuple[tuple[Any, ...], Any]]) -> dict[str, Any]:
    """A copy with other values at some paths; a path inside a replaced value is skipped."""
    copy: dict[str, Any] = json.loads(json.dumps(record))
    for path, value in changes:
        inside: Any = copy
        try:
            for key in path[:-1]:
                inside = inside[key]
            inside[path[-1]] = deepcopy(value)
        except (KeyError, IndexError, TypeError):
            continue
    return copy


FORMATS = sorted({name for name in RECORD_READERS if samples(name)})


def test_every_format_of_records_has_samples() -> None:
    assert {RECORD_READERS[name] for name in FORMATS} == set(RECORD_READERS.values())


@pytest.mark.parametrize("format_name", FORMATS)
def test_one_odd_value_at_any_path(format_name: str) -> None:
    for record in samples(format_name):
        for path in places(record):
            for odd in ODD:
                read_well(format_name, with_odd(record, [(path, odd)]))


@pytest.mark.parametrize("format_name", FORMATS)
@given(st.data())
def test_odd_values_at_several_places(format_name: str, data: st.DataObject) -> None:
    record = data.draw(st.sampled_from(samples(format_name)))
    somewhere = st.tuples(st.sampled_from(places(record)), st.sampled_from(ODD))
    changes = data.draw(st.lists(somewhere, min_size=1, max_size=6))
    read_well(format_name, with_odd(record, changes))


def read_well(format_name: str, record: dict[str, Any]) -> None:
    raw = json.dumps(record).encode()
    results = RECORD_READERS[format_name](raw, RecordPosition("s", "0", 1), now_ms=NOW_MS)
    assert results, raw
    faults = [
        one
        for one in results
        if isinstance(one, DeadLetter) and one.failure_type == "processing_error"
    ]
    assert faults == [], raw


TABLES: dict[str, tuple[str, str, list[list[str]]]] = {
    "rees46": (
        "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session",
        ",",
        [
            ["2019-10-01 00:00:00 UTC", "view", "1", "2", "a.b", "x", "9.99", "7", "s1"],
            ["2019-10-01 00:01:00 UTC", "purchase", "1", "2", "", "x", "9.99", "7", "s1"],
        ],
    ),
    "retailrocket": (
        "timestamp,visitorid,event,itemid,transactionid",
        ",",
        [
            ["1433221332117", "257597", "view", "355908", ""],
            ["1433221332117", "257597", "transaction", "355908", "4000"],
        ],
    ),
    "yoochoose": ("SessionId\tItemId\tTime", "\t", [["1", "214", "1396857600.5"]]),
    "online-retail": (
        "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country",
        ",",
        [
            ["536365", "85123A", "MUG", "6", "2010-12-01 08:26:00", "2.55", "17850", "France"],
            ["C536365", "85123A", "MUG", "-6", "2010-12-01 08:26:00", "2.55", "17850", "France"],
        ],
    ),
}
CELLS = [
    *(value for value in ODD if isinstance(value, str)),
    "-9" + "9" * 400, '"', '""', "'", '"x', "2011-13-45", "-", "(null)", "a\tb", "\ufeff1", "{}",
]  # fmt: skip


@pytest.mark.parametrize("format_name", TABLES)
def test_odd_cells_of_a_table(format_name: str) -> None:
    header, separator, rows = TABLES[format_name]
    lines = [header]
    for row in rows:
        for place in range(len(row)):
            lines += [separator.join([*row[:place], odd, *row[place + 1 :]]) for odd in CELLS]
            lines += [separator.join(row[:place])]
        lines += [separator.join(row), separator.join([*row, "more"])]
    read = READERS[format_name]
    results = list(
        read((line.encode() for line in lines), source="s", now_ms=NOW_MS, limits=DEFAULT)
    )
    letters = [one for one in results if isinstance(one, DeadLetter)]
    assert [one for one in letters if one.failure_type == "processing_error"] == []
    assert len(letters) > 20
    assert len(results) > len(letters)
