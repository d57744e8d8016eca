"""Why a shopper is in a segment or not: each condition, its answer, and until when the answer holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from operators.kernels.rule_layout import FOREVER
from state.shopper import RuleState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from operators.segments.rules.conditions.base import Condition
    from operators.segments.rules.rule import Rule
    from state.shopper import Shopper


class ConditionResult(NamedTuple):
    """A condition of a rule, `depth` steps below it, in words, and whether it holds.

    `until_ms` is when that changes if no event comes, None if it does not. `value` is what the
    shopper has of what the condition asks for, "" where yes or no is the whole answer.
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
    for depth, condition in _flatten(rule.when, 0):
        answer = condition.compile(gap_ms)(shopper_id, shopper, state, now_ms)
        until_ms = None if abs(answer) == FOREVER else abs(answer)
        value = condition.describe_value(shopper, state, now_ms, gap_ms)
        results.append(ConditionResult(depth, condition.describe(), answer > 0, until_ms, value))
    return results


def _flatten(condition: Condition, depth: int) -> Iterator[tuple[int, Condition]]:
    yield depth, condition
    for part in condition.explained_parts():
        yield from _flatten(part, depth + 1)
