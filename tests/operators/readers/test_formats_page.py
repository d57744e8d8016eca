"""docs/formats.md: it names every format, and its example works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from operators.readers.registry import READERS
from tests.operators.readers.tables import NOW_MS, events, faults, summary

DOCS = (Path(__file__).parents[3] / "docs/formats.md").read_text()


@pytest.mark.parametrize("format_name", sorted(READERS))
def test_every_format_is_in_the_docs(format_name: str) -> None:
    assert f"| `{format_name}` |" in DOCS


def test_the_example_reader_of_the_docs_works() -> None:
    example: dict[str, Any] = {}
    exec(DOCS.split("```python\n")[1].split("```")[0], example)
    lines = [b"when;who;what", b"1600000000;ann;mocha", b"1600000000;ann"]
    records = list(example["read"](lines, source="log", now_ms=NOW_MS))
    assert [summary(event) for event in events(records)] == [
        ("item_view", 1600000000000, "ann", [("mocha", None, 1)], None, None)
    ]
    assert faults(records) == [(3, "schema_violation", "$", "expected 3 columns, found 2")]
