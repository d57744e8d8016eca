"""The kinds of conditions, by the key that they begin with in `segments.yaml`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.segments.rules.conditions.event_window import parse_absence, parse_event
from operators.segments.rules.conditions.holdout import parse_holdout
from operators.segments.rules.conditions.logic import parse_all, parse_any, parse_not
from operators.segments.rules.conditions.reference import parse_segment
from operators.segments.rules.conditions.sequence import parse_sequence

if TYPE_CHECKING:
    from operators.segments.rules.conditions.base import ParseCondition

CONDITION_PARSERS: dict[str, ParseCondition] = {
    "all": parse_all,
    "any": parse_any,
    "not": parse_not,
    "event": parse_event,
    "no": parse_absence,
    "sequence": parse_sequence,
    "segment": parse_segment,
    "holdout": parse_holdout,
}
