"""docs/adapters.md and docs/formats.md: tables name every event that has a type, and examples work."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from operators.events.decode import RecordPosition
from operators.readers import ecommerce, ga4, posthog, segment, snowplow
from operators.readers.records import RecordAdapter
from operators.readers.registry import READERS
from operators.readers.values import normalize_name
from state import keys
from state.dead_letters import DeadLetter
from state.events import Event
from tests.operators.readers.records import ADAPTERS, NOW_MS
from tests.streams import run_flow

if TYPE_CHECKING:
    import logging


DOCS = (Path(__file__).parents[3] / "docs/adapters.md").read_text()


def test_the_tables_of_the_docs_name_every_event_that_has_a_type() -> None:
    named = {normalize_name(word) for word in re.split(r"[|,;`]", DOCS)}
    known = {*ecommerce.TRACK_TYPES, *ecommerce.RECOMMENDATION_TYPES}
    known |= {
        normalize_name(name)
        for name in (
            *ga4.EVENT_TYPES,
            *snowplow.ACTIONS,
            *posthog.SYSTEM_EVENTS,
            *segment.CALL_TYPES,
        )
    }
    assert known - named == set()
    assert [name for name in ADAPTERS if f"| `{name}` |" not in DOCS] == []


def test_the_adapter_in_the_docs_reads(processing_errors: list[logging.LogRecord]) -> None:
    example: dict[str, Any] = {}
    exec(DOCS.split("```python\n")[1].split("```")[0], example)
    till = RecordAdapter("till", example["split"], example["to_event"])

    def read_sales(*sales: Any) -> list[Any]:
        raw = json.dumps({"at": "2026-03-01T10:00:00Z", "sales": sales}).encode()
        results = till(raw, RecordPosition("log", "0", 1), now_ms=NOW_MS)
        return [
            r.value if isinstance(r, Event) else (r.failure_type, r.errors[0].path) for r in results
        ]

    assert read_sales({"number": 7, "card": "ann", "gross": 12, "tax": 2}) == [10]
    assert read_sales({"number": 7, "card": "ann"}, {"card": "ann"}) == [
        None,
        ("empty_order_id", "$.sales[0].number"),
    ]
    (letter,) = till(b"{}", RecordPosition("log", "0", 1), now_ms=NOW_MS)
    assert isinstance(letter, DeadLetter)
    assert (letter.failure_type, letter.errors[0].message) == (
        "processing_error",
        "KeyError: 'sales'",
    )
    assert [record.exc_info is not None for record in processing_errors] == [True]
    processing_errors.clear()


def test_the_catalogue_example_of_the_docs_fills_a_card(redis_url: str, tmp_path: Path) -> None:
    docs = (Path(__file__).parents[3] / "docs/formats.md").read_text()
    lines = [line.encode() for line in docs.split("```json\n")[1].split("```")[0].splitlines()]
    records = list(READERS["penstock"](lines, source="log", now_ms=NOW_MS))
    rows = run_flow(records, redis_url, tmp_path)
    assert {name.decode(): value.decode() for name, value in rows[keys.card_key("mug-1")]} == {
        "name": "Blue mug",
        "category": "Kitchen/Mugs",
        "brand": "Acme",
        "price": "17.49",
        "currency": "EUR",
        "available": "0",
    }
    assert keys.profile_key("catalogue") not in rows
