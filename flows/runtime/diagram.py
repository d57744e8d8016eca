"""The flow as the README's diagram: `python -m flows.runtime.diagram` prints it, and a test
compares them."""

from __future__ import annotations

import re
from pathlib import Path

from bytewax.visualize import to_mermaid

from flows.personalize import FLOW_ID, build
from flows.sinks.redis import DeadLetterSink, RedisSink
from flows.sources.recorded import RecordedSource
from state.config import Settings
from state.store import Store

SHAPES = {"input": "([{}])", "stateful_batch": "[[{}]]", "output": "[({})]"}
"""How a step is drawn by its operator: where events come in, what keeps state, where results go."""

_STEP = re.compile(rf'{FLOW_ID}\.(\w+)\["\w+ \((\w+)\)"\]')
_ARROW = re.compile(rf"{FLOW_ID}\.(\w+) -- .* --> {FLOW_ID}\.(\w+)")


def diagram() -> str:
    """The flow as Mermaid text: what Bytewax draws, without its ports and long names."""
    settings = Settings()
    flow = build(
        RecordedSource({}, settings),
        RedisSink(lambda: Store("redis://", timeout_ms=1, patience_s=0)),
        DeadLetterSink(Path("dead-letters.jsonl")),
        settings,
        journals=None,
    )
    lines = ["flowchart LR"]
    for line in to_mermaid(flow).splitlines():
        if step := _STEP.fullmatch(line):
            name, operator = step.groups()
            if operator in SHAPES:
                lines.append(f"  {name}{SHAPES[operator].format(name)}")
        elif arrow := _ARROW.fullmatch(line):
            lines.append(f"  {arrow[1]} --> {arrow[2]}")
    return "\n".join(lines)


if __name__ == "__main__":
    print(diagram())
