"""Values of a YAML entry as a rule needs them: texts, spans of time, ranges.

Errors say what to write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.segments.rules.quantities import parse_bounds, parse_duration_ms

if TYPE_CHECKING:
    from operators.segments.rules.quantities import Bounds
    from operators.segments.rules.yaml_nodes import YamlNode

DURATION_EXAMPLE = "write `30 min`, `24 h` or `60 d`"
BOUNDS_EXAMPLE = (
    "write `at least 3`, `at most 3`, `more than 3`, `less than 3` or `between 3 and 5`"
)


def texts_of(entry: YamlNode, expected: str) -> tuple[str, ...]:
    """A text or a list of texts, sorted, each once."""
    entries = entry.items(expected) if entry.is_list else [entry]
    return tuple(sorted({text_entry.text(expected) for text_entry in entries}))


def duration_ms_of(entry: YamlNode) -> int:
    """A span of time, in ms."""
    text = entry.text(DURATION_EXAMPLE)
    duration_ms = parse_duration_ms(text)
    if duration_ms is None:
        entry.raise_error(
            f"`{text}` is not a span of time (of at most ten years): {DURATION_EXAMPLE}"
        )
    return duration_ms


def bounds_of(entry: YamlNode, unit: int) -> Bounds:
    """A range of numbers in this unit."""
    text = entry.text(BOUNDS_EXAMPLE)
    bounds = parse_bounds(text, unit)
    if bounds is None:
        entry.raise_error(f"`{text}` is not an amount: {BOUNDS_EXAMPLE}")
    return bounds
