"""Why a shopper is in a segment or is not: each condition, its answer, and until when that stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from operators.segments.rules import windows
from operators.segments.rules.ast import All, Any, Not, Number, Sequence, Text, Window
from operators.segments.rules.conditions import (
    FOREVER,
    compile_answers_by_item,
    compile_condition,
    session_at,
)
from operators.segments.rules.describe import describe_condition
from operators.segments.rules.features import (
    AGE_FEATURES,
    INTENT,
    NUMBER_FEATURES,
    SESSION_FEATURES,
    TEXT_FEATURES,
)
from operators.segments.rules.quantities import COUNT, MINUTES, MONEY
from operators.segments.rules.windows_needed import window_kind
from state.money import format_decimal
from state.shopper import INTENTS, RuleState
from state.times import DAY_MS, MINUTE_MS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from operators.segments.rules.ast import Node, Rule
    from state.shopper import Shopper


class ConditionResult(NamedTuple):
    """A condition of a rule, `depth` steps below it, in words, and whether it holds.

    `until_ms` is when that changes if no event comes, None if it does not; `found` is what there is of
    what it asks for, "" where yes or no says it all.
    """

    depth: int
    words: str
    holds: bool
    until_ms: int | None
    value: str = ""


def explain(
    rule: Rule, shopper_id: str, shopper: Shopper, now_ms: int, *, gap_ms: int
) -> list[ConditionResult]:
    """The whole rule first, then its parts, for a shopper at a moment of its clock."""
    state = shopper.rule_state or RuleState()
    results = []
    for depth, node in _flatten(rule.when, 0):
        answer = compile_condition(node, gap_ms)(shopper_id, shopper, state, now_ms)
        until_ms = None if abs(answer) == FOREVER else abs(answer)
        inner = node.part if isinstance(node, Not) else node
        value = _describe_value(inner, shopper, state, now_ms, gap_ms)
        results.append(
            ConditionResult(depth, describe_condition(node), answer > 0, until_ms, value)
        )
    return results


def _flatten(node: Node, depth: int) -> Iterator[tuple[int, Node]]:
    yield depth, node
    match node:
        case All(parts) | Any(parts):
            for part in parts:
                yield from _flatten(part, depth + 1)
        case Not(All() | Any() as part):
            yield from _flatten(part, depth + 1)


def _describe_value(
    node: Node, shopper: Shopper, state: RuleState, now_ms: int, gap_ms: int
) -> str:
    match node:
        case Number(feature) if feature in AGE_FEATURES:
            at_ms = AGE_FEATURES[feature].time_of(shopper)
            return f"{(now_ms - at_ms) / DAY_MS:.1f} d ago" if at_ms else "never"
        case Number(feature) if feature in SESSION_FEATURES:
            session = session_at(shopper, now_ms, gap_ms)
            session_feature = SESSION_FEATURES[feature]
            if session is None:
                return "not in the shop now"
            return _format_amount(session_feature.value_of(session), session_feature.unit)
        case Number(feature):
            feature_read = NUMBER_FEATURES[feature]
            value = feature_read.value_of(shopper)
            return "none yet" if value is None else _format_amount(value, feature_read.unit)
        case Text(feature) if feature == INTENT:
            session = session_at(shopper, now_ms, gap_ms)
            return "not in the shop now" if session is None else INTENTS[session.intent]
        case Text(feature):
            return TEXT_FEATURES[feature].value_of(shopper) or "not known"
        case Sequence(same_item=True):
            items = sum(answer > 0 for answer in compile_answers_by_item(node)(state, now_ms))
            return f"of {items} item{'' if items == 1 else 's'}"
        case Window():
            return _describe_window(node, state, now_ms)
    return ""


def _describe_window(node: Window, state: RuleState, now_ms: int) -> str:
    kind = window_kind(node)
    window = state.windows.get(kind.key, b"")
    since_ms = -1 if node.within_ms is None else now_ms - node.within_ms
    if kind.form == "sums":
        total = sum(amount for at_ms, amount in windows.unpack_pairs(window) if at_ms > since_ms)
        return _format_amount(total, COUNT if kind.measured in ("count", "quantity") else MONEY)
    entries = windows.unpack_times(window) if kind.form == "times" else windows.unpack_pairs(window)
    count = sum((entry if isinstance(entry, int) else entry[0]) > since_ms for entry in entries)
    # Of what is counted no more is kept than the rule needs.
    return (
        f"{count} or more"
        if count == kind.entries_max and len(entries) == kind.entries_max
        else str(count)
    )


def _format_amount(value: int, unit: int) -> str:
    if unit == COUNT:
        return str(value)
    if unit == MINUTES:
        return f"{value / MINUTE_MS:.1f} min"
    return format_decimal(value)
