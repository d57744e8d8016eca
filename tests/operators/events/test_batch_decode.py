"""Decoding many records at once gives what decoding each by itself gives, whatever they are."""

from __future__ import annotations

import json
from copy import deepcopy
from itertools import repeat
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.events import sound_ids
from operators.events.batch_decode import decode_batch
from operators.events.decode import decode_fast
from operators.readers.records import read_canonical_lines
from state.errors import SourceError
from state.events import Event
from state.limits import Limits

NOW_MS = 1_700_000_000_000
LIMITS = Limits(900, 3)

VIEW: dict[str, Any] = {
    "event_id": "e1",
    "type": "item_view",
    "event_ts": NOW_MS - 9000,
    "received_ts": NOW_MS - 8000,
    "anonymous_id": "device-1",
    "items": [{"item_id": "mug", "category": ["a"], "price": 3.5}],
    "currency": "EUR",
}
ORDER = VIEW | {"type": "purchase", "order_id": " o-1 ", "user_id": "ann", "value": 7.0}
SEARCH = {"event_id": "e2", "type": "search", "event_ts": NOW_MS - 1, "user_id": " ann "}
ODD_FIELDS: dict[str, list[Any]] = {
    "event_id": ["", " ", " e1", 7, None, "é", "x" * 101],
    "type": ["item", "erase", "purchase", "page_view", "unheard_of", None],
    "event_ts": [0, 5, NOW_MS - 1, NOW_MS, NOW_MS + 400_000, NOW_MS + 10**9, "7", 1.5, 10**30],
    "received_ts": [0, 5, NOW_MS, NOW_MS + 1, NOW_MS - 10**9, NOW_MS + 10**9, None],
    "anonymous_id": [None, "", "null", " d ", "{{ id }}", "x" * 200, 5],
    "user_id": [None, "ann", "0", " ann", "(null)", "ann\n"],
    "items": [[], None, [{}], [{"item_id": " mug"}], [{"item_id": "a"}] * 4, [{"item_id": ""}]],
    "order_id": [None, "", " ", "o", "x" * 200],
    "value": [None, -1, 0, 1e12, 2e12, "3"],
    "props": [{}, {"a": [1]}, "[" * 5, {"deep": [[[[]]]]}, {"long": "y" * 900}],
    "left_out": [["price"]],
    "unheard_of": [{"a": [1, {"b": None}]}, "\ud83d"],
}
PRICES = [None, -1, 0.0, 1e12, 2e12, "3", True]


@st.composite
def records(draw: st.DrawFn) -> bytes:
    """A good record, with some odd fields, or bytes that are none."""
    fields = deepcopy(draw(st.sampled_from([VIEW, ORDER, SEARCH])))
    for name in draw(st.lists(st.sampled_from(sorted(ODD_FIELDS)), max_size=3)):
        fields[name] = draw(st.sampled_from(ODD_FIELDS[name]))
    if draw(st.integers(0, 5)) == 0 and isinstance(fields.get("items"), list):
        for item in fields["items"]:
            item["price"] = draw(st.sampled_from(PRICES))
    indent = draw(st.sampled_from([None, 1]))
    raw = json.dumps(fields, ensure_ascii=draw(st.booleans()), indent=indent)
    encoded = raw.encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(encoded)))
        encoded = (
            encoded[:at] + draw(st.binary(max_size=2)) + encoded[at + draw(st.integers(0, 2)) :]
        )
    return encoded


def one_by_one(raws: list[bytes], times_ms: list[int]) -> list[Event | None]:
    return [decode_fast(raw, at_ms, LIMITS) for raw, at_ms in zip(raws, times_ms, strict=True)]


@given(st.lists(records(), min_size=1, max_size=8), st.data())
def test_many_records_at_once_are_each_as_by_itself(raws: list[bytes], data: st.DataObject) -> None:
    times = st.sampled_from([NOW_MS, NOW_MS - 8500, NOW_MS + 10**9])
    times_ms = data.draw(st.lists(times, min_size=len(raws), max_size=len(raws)))
    expected = one_by_one(raws, times_ms)
    assert decode_batch(raws, times_ms, LIMITS) == expected
    # Again: the ids are known now.
    assert decode_batch(raws, times_ms, LIMITS) == expected


def test_a_record_that_is_nested_too_deep_is_refused_also_when_its_ids_are_known() -> None:
    deep = VIEW | {"props": {"a": json.loads("[" * 98 + "]" * 98)}}
    flat = VIEW | {"props": {"a": json.loads("[" * 97 + "]" * 97)}}
    raws = [json.dumps(fields).encode() for fields in (VIEW, deep, flat)]
    found = decode_batch(raws, repeat(NOW_MS), LIMITS)
    assert [event is not None for event in found] == [True, False, True]


def test_only_so_many_ids_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sound_ids, "REMEMBERED_MAX", 5)
    raws = [json.dumps(VIEW | {"anonymous_id": f"d-{n}"}).encode() for n in range(40)]
    times_ms = [NOW_MS] * len(raws)
    assert decode_batch(raws, times_ms, LIMITS) == one_by_one(raws, times_ms)
    assert len(sound_ids.sound_ids) <= 5


@pytest.mark.parametrize("good_lines", [0, 1, 255, 256, 257, 700])
def test_lines_before_an_error_are_read_before_it(good_lines: int) -> None:
    def lines() -> Any:
        yield from [json.dumps(VIEW).encode()] * good_lines
        raise SourceError("the file is damaged here")

    read: list[Any] = []
    with pytest.raises(SourceError, match="damaged here"):
        read += read_canonical_lines(lines(), source="s", now_ms=NOW_MS)
    assert len(read) == good_lines


def test_offsets_are_line_numbers_over_all_chunks() -> None:
    lines = [json.dumps(VIEW).encode() if n % 100 else b"{" for n in range(600)]
    read = [*read_canonical_lines(lines, source="s", now_ms=NOW_MS)]
    offsets = [letter.offset for letter in read if not isinstance(letter, Event)]
    assert offsets == [1, 101, 201, 301, 401, 501]
