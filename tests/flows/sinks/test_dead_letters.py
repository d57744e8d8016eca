"""The file of dead letters: each is one JSON line, once, blanked when its shopper is erased."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from flows.sinks.dead_letters import DEAD_LETTERS_PART, DeadLetterSink
from state.dead_letters import DeadLetter, Erasure, FieldError
from state.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path


def letter(offset: int, raw: str) -> DeadLetter:
    return DeadLetter(
        failure_type="not_json",
        errors=(FieldError("$", f"{raw} is not JSON"),),
        source="events",
        partition="0",
        offset=offset,
        raw=raw,
        at=7,
    )


def line(offset: int, raw: str, message: str) -> dict[str, Any]:
    return {
        "failure_type": "not_json",
        "errors": [{"path": "$", "message": message}],
        "source": "events",
        "partition": "0",
        "offset": offset,
        "raw": raw,
        "base64": False,
        "at": 7,
        "cut": False,
    }


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in path.read_text().splitlines()]


def test_letters_are_lines_and_an_erasure_blanks_those_that_name_the_shopper(
    tmp_path: Path,
) -> None:
    path = tmp_path / "dead-letters.jsonl"
    sink = DeadLetterSink(path)
    assert sink.list_parts() == [DEAD_LETTERS_PART]
    partition = sink.build_part("dead_letters", DEAD_LETTERS_PART, None)
    partition.write_batch([[letter(1, "user=ann")], [letter(2, "user=bob"), Erasure("ann")]])
    size = partition.snapshot()
    partition.close()
    assert lines(path) == [
        line(1, "(erased)", ""),
        line(2, "user=bob", "user=bob is not JSON"),
    ]
    assert size == path.stat().st_size


def test_letters_after_the_snapshot_are_cut_off_and_written_again(tmp_path: Path) -> None:
    path = tmp_path / "dead-letters.jsonl"
    partition = DeadLetterSink(path).build_part("dead_letters", DEAD_LETTERS_PART, None)
    partition.write_batch([[letter(1, "a")]])
    size = partition.snapshot()
    partition.write_batch([[letter(2, "b")]])
    partition.close()
    resumed = DeadLetterSink(path).build_part("dead_letters", DEAD_LETTERS_PART, size)
    resumed.write_batch([[letter(2, "b"), letter(3, "c")]])
    resumed.snapshot()
    resumed.close()
    assert [entry["offset"] for entry in lines(path)] == [1, 2, 3]


def test_a_file_in_a_missing_folder_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="name another file with --dead-letters"):
        DeadLetterSink(tmp_path / "missing" / "dead-letters.jsonl")
