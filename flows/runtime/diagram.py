"""The README's diagram of the flow: `python -m flows.runtime.diagram` prints it, a test compares."""

from __future__ import annotations

import re
from pathlib import Path

from bytewax.visualize import to_mermaid

from flows.dataflow import Sinks, StateStores, build
from flows.sinks.dead_letters import DeadLetterSink
from flows.sinks.redis import RedisSink
from flows.sources.recorded import RecordedSource
from flows.steps import FLOW_ID
from state.config import Settings
from state.store import Store

SHAPES = {"input": "([{}])", "stateful_batch": "[[{}]]", "output": "[({})]"}
"""The shape of a step by its Bytewax operator: inputs, steps with state, outputs."""

_STEP = re.compile(rf'{FLOW_ID}\.(\w+)\["\w+ \((\w+)\)"\]')
_ARROW = re.compile(rf"{FLOW_ID}\.(\w+) -- .* --> {FLOW_ID}\.(\w+)")


def diagram() -> str:
    """The flow as Mermaid text: Bytewax's drawing without ports and long names."""
    settings = Settings()
    sinks = Sinks(
        RedisSink(lambda: Store("redis://", timeout_ms=1, patience_s=0)),
        DeadLetterSink(Path("dead-letters.jsonl")),
    )
    flow = build(RecordedSource({}, settings), sinks, settings, StateStores())
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
