"""Why a shopper is in a segment or is not: each condition, its answer, and until when that stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from operators.segments.conditions import EVER, condition
from operators.segments.language import All, Any, Not
from operators.segments.words import in_words
from state.shopper import RuleState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from operators.segments.language import Node, Rule
    from state.shopper import Shopper


class Reason(NamedTuple):
    """A condition of a rule, `depth` steps below it, in words, and whether it holds.

    `until_ms` is when that changes if no event comes, None if it does not.
    """

    depth: int
    words: str
    holds: bool
    until_ms: int | None


def why(rule: Rule, name: str, shopper: Shopper, now_ms: int, *, gap_ms: int) -> list[Reason]:
    """The whole rule first, then its parts, for a shopper at a moment of its clock."""
    state = shopper.rules or RuleState()
    found = []
    for depth, node in _parts(rule.when, 0):
        answer = condition(node, gap_ms)(name, shopper, state, now_ms)
        until_ms = None if abs(answer) == EVER else abs(answer)
        found.append(Reason(depth, in_words(node), answer > 0, until_ms))
    return found


def _parts(node: Node, depth: int) -> Iterator[tuple[int, Node]]:
    yield depth, node
    match node:
        case All(parts) | Any(parts):
            for part in parts:
                yield from _parts(part, depth + 1)
        case Not(All() | Any() as part):
            yield from _parts(part, depth + 1)
