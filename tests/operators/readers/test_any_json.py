"""Any JSON, and golden records with any JSON in any field: a result for each event, none unforeseen."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.dead_letters import DeadLetter
from tests.operators.readers.records import ADAPTERS, EXAMPLES, read

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["2026-03-01T10:00:00Z", "Order Completed", "u-5", 10**400, -1, "", "1e400"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("format_name", ADAPTERS)
@given(record=JSON)
def test_any_json_gives_at_least_one_result(format_name: str, record: Any) -> None:
    results = read(format_name, record)
    assert len(results) >= 1
    assert "processing_error" not in {getattr(result, "failure_type", "") for result in results}


def slots(value: Any) -> list[tuple[Any, Any]]:
    """All (container, key) pairs of a record."""
    if not isinstance(value, dict | list):
        return []
    keys: Any = value if isinstance(value, dict) else range(len(value))
    return [slot for key in keys for slot in ((value, key), *slots(value[key]))]


def event_count(record: Any) -> int:
    """How many events a record has; a broken one counts once."""
    for name in ("batch", "events"):
        if isinstance(record, dict) and isinstance(record.get(name), list):
            return len(record[name]) or 1
    return 1


@given(data=st.data())
def test_a_golden_record_with_any_value_in_any_field_gives_one_result_an_event(
    data: st.DataObject,
) -> None:
    path = data.draw(st.sampled_from(EXAMPLES))
    record = json.loads(path.read_text())
    for _ in range(data.draw(st.integers(1, 3))):
        if not (found := slots(record)):
            break
        container, key = data.draw(st.sampled_from(found))
        container[key] = data.draw(JSON)
    results = read(path.parent.name, record)
    assert len(results) == event_count(record)
    unforeseen = [
        r for r in results if isinstance(r, DeadLetter) and r.failure_type == "processing_error"
    ]
    assert unforeseen == []
    assert results == read(path.parent.name, record)
