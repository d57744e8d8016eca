"""Records of shops: golden ones, a `track` call of Segment, and short ways to read one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from operators.events.decode import RecordPosition
from operators.readers.registry import RECORD_READERS
from state.dead_letters import DeadLetter
from state.events import Event

NOW_MS = 1_790_000_000_000
GOLDEN = Path(__file__).parents[2] / "adapters"
EXAMPLES = sorted(p for p in GOLDEN.glob("*/*.json") if not p.name.endswith(".expected.json"))
ADAPTERS = sorted({path.parent.name for path in EXAMPLES})
AT = {
    "originalTimestamp": "2026-03-01T10:00:00Z",
    "sentAt": "2026-03-01T10:00:05Z",
    "receivedAt": "2026-03-01T12:00:06Z",
}
TEN_MS = 1_772_359_200_000
TWELVE_MS = TEN_MS + 2 * 3_600_000


def read(format_name: str, record: Any, **more: Any) -> list[Event | DeadLetter]:
    raw = record if isinstance(record, bytes) else json.dumps(record).encode()
    return RECORD_READERS[format_name](raw, RecordPosition("log", "0", 1), now_ms=NOW_MS, **more)


def read_event(format_name: str, record: Any, **more: Any) -> Event:
    (event,) = read(format_name, record, **more)
    assert isinstance(event, Event), event
    return event


def read_error(format_name: str, record: Any) -> tuple[str, str, str]:
    (letter,) = read(format_name, record)
    assert isinstance(letter, DeadLetter), letter
    return letter.failure_type, letter.errors[0].path, letter.errors[0].message


def to_builtins(result: Event | DeadLetter) -> Any:
    if isinstance(result, Event):
        return json.loads(msgspec.json.encode(result))
    return {
        "failure_type": result.failure_type,
        "errors": json.loads(msgspec.json.encode(result.errors)),
    }


def track_call(event: str, properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "type": "track",
        "event": event,
        "messageId": "m",
        "anonymousId": "ann",
        **AT,
        "properties": properties,
        **more,
    }


def minute_times(minute: int) -> dict[str, str]:
    time = f"2026-03-01T10:{minute:02}:00Z"
    return {
        "originalTimestamp": time,
        "sentAt": "2026-03-01T11:00:00Z",
        "receivedAt": "2026-03-01T11:00:00Z",
    }
