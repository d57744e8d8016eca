"""What shops already emit, as canonical events."""

from __future__ import annotations

import pytest

from operators.readers import READERS
from operators.readers.records import RECORDS, record_reader
from state.deadletters import DeadLetter
from state.errors import UserError

NOW_MS = 1_790_000_000_000


def test_a_format_of_files_is_none_of_records() -> None:
    with pytest.raises(UserError, match=r"kafka.format 'rees46' .* choose one of penstock"):
        record_reader("rees46")


@pytest.mark.parametrize("format_name", sorted(RECORDS))
def test_every_record_format_is_one_of_files_too(format_name: str) -> None:
    letters = record_reader(format_name)(b"?", source="log", partition="0", offset=1, now_ms=NOW_MS)
    (letter,) = letters
    assert isinstance(letter, DeadLetter)
    assert letter.failure_type == "not_json"
    assert list(READERS[format_name]([b"?"], source="log", now_ms=NOW_MS)) == letters
