"""Formats that shops already send, as canonical events: golden records, and rules for all formats.

`tests/adapters/FORMAT/NAME.json` is a record, `NAME.expected.json` all that it gives: events whole, dead
letters by what is wrong.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from operators.readers.registry import READERS, RECORD_READERS, record_reader
from state.dead_letters import DeadLetter
from state.errors import ConfigurationError
from tests.operators.readers.records import (
    ADAPTERS,
    EXAMPLES,
    NOW_MS,
    read,
    read_event,
    to_builtins,
    track_call,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_golden_record_gives_the_expected_events(path: Path) -> None:
    expected = json.loads(path.with_suffix(".expected.json").read_text())
    assert [to_builtins(result) for result in read(path.parent.name, path.read_bytes())] == expected


def test_every_adapter_has_golden_records() -> None:
    assert {*ADAPTERS, "penstock"} == set(RECORD_READERS)


def test_a_format_of_files_only_is_refused_for_records() -> None:
    with pytest.raises(
        ConfigurationError, match=r"kafka.format 'rees46' .* choose one of penstock"
    ):
        record_reader("rees46")


@pytest.mark.parametrize("format_name", sorted(RECORD_READERS))
@pytest.mark.parametrize(
    ("raw", "failure_type"),
    [
        (b"", "not_json"),
        (b"?", "not_json"),
        (b'{"a":"\xff"}', "not_json"),
        (b"[" * 200, "not_json"),
        (b"[]", "schema_violation"),
        (b'{"a":"' + b"x" * 1_048_576 + b'"}', "too_large"),
    ],
)
def test_bytes_that_are_no_record_become_one_dead_letter(
    format_name: str, raw: bytes, failure_type: str
) -> None:
    letters = read(format_name, raw)
    (letter,) = letters
    assert isinstance(letter, DeadLetter)
    assert letter.failure_type == failure_type
    assert list(READERS[format_name]([raw], source="log", now_ms=NOW_MS)) == letters


def test_event_names_are_read_in_any_case_and_with_any_separator() -> None:
    names = ("Product Viewed", "product viewed", "PRODUCT_VIEWED", "product-viewed")
    kinds = {read_event("segment", track_call(name, {"product_id": "mug"})).type for name in names}
    assert kinds == {"item_view"}
