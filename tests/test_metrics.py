"""What a running flow tells of itself, and that it is true."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from bytewax.testing import TestingSink, run_main

from flows.personalize import build
from flows.sinks import DeadLetterSink
from flows.sources import RecordedSource
from operators.decode import decode_lines
from tests.streams import START_MS, flow_settings, view

if TYPE_CHECKING:
    from pathlib import Path

    from state.messages import Output


def test_when_each_event_was_received_arrives_with_what_it_led_to(tmp_path: Path) -> None:
    bad = next(decode_lines([b"{"], source="shop", partition="0", first_offset=1, now_ms=START_MS))
    stream = [view(0, 0, "ann"), bad, view(2, 2, "bob"), view(3, 3, None, user_id="eve")]
    settings = flow_settings(batch_events=3)
    outputs: list[tuple[str, Output]] = []
    run_main(
        build(
            RecordedSource({"shop": lambda: iter(stream)}, settings),
            TestingSink(outputs),
            DeadLetterSink(tmp_path / "dead"),
            settings,
            journals=None,
        )
    )
    received = [array("q", output.received_ms).tolist() for _, output in outputs]
    assert received == [[START_MS, 0, START_MS + 2], [START_MS + 3], []]
