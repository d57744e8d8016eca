"""Why a shopper is in a segment or is not: each condition, its answer, and until when that stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from operators.segments.rules import windows
from operators.segments.rules.ast import All, Any, Not, Number, Sequence, Text, Window
from operators.segments.rules.conditions import EVER, answers_by_item, condition, session_of
from operators.segments.rules.describe import in_words
from operators.segments.rules.features import INTENT, NUMBERS, SESSION, SINCE, TEXTS
from operators.segments.rules.quantities import COUNT, MINUTES, MONEY
from operators.segments.rules.windows_needed import kind_of
from state.money import decimal
from state.shopper import INTENTS, RuleState
from state.times import DAY_MS, MINUTE_MS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from operators.segments.rules.ast import Node, Rule
    from state.shopper import Shopper


class Reason(NamedTuple):
    """A condition of a rule, `depth` steps below it, in words, and whether it holds.

    `until_ms` is when that changes if no event comes, None if it does not; `found` is what there is of
    what it asks for, "" where yes or no says it all.
    """

    depth: int
    words: str
    holds: bool
    until_ms: int | None
    found: str = ""


def why(rule: Rule, name: str, shopper: Shopper, now_ms: int, *, gap_ms: int) -> list[Reason]:
    """The whole rule first, then its parts, for a shopper at a moment of its clock."""
    state = shopper.rules or RuleState()
    found = []
    for depth, node in _parts(rule.when, 0):
        answer = condition(node, gap_ms)(name, shopper, state, now_ms)
        until_ms = None if abs(answer) == EVER else abs(answer)
        asked = node.part if isinstance(node, Not) else node
        there = _found(asked, shopper, state, now_ms, gap_ms)
        found.append(Reason(depth, in_words(node), answer > 0, until_ms, there))
    return found


def _parts(node: Node, depth: int) -> Iterator[tuple[int, Node]]:
    yield depth, node
    match node:
        case All(parts) | Any(parts):
            for part in parts:
                yield from _parts(part, depth + 1)
        case Not(All() | Any() as part):
            yield from _parts(part, depth + 1)


def _found(node: Node, shopper: Shopper, state: RuleState, now_ms: int, gap_ms: int) -> str:
    match node:
        case Number(feature) if feature in SINCE:
            at_ms = SINCE[feature].of(shopper)
            return f"{(now_ms - at_ms) / DAY_MS:.1f} d ago" if at_ms else "never"
        case Number(feature) if feature in SESSION:
            session = session_of(shopper, now_ms, gap_ms)
            of_session = SESSION[feature]
            if session is None:
                return "not in the shop now"
            return _amount(of_session.of(session), of_session.unit)
        case Number(feature):
            number = NUMBERS[feature]
            value = number.of(shopper)
            return "none yet" if value is None else _amount(value, number.unit)
        case Text(feature) if feature == INTENT:
            session = session_of(shopper, now_ms, gap_ms)
            return "not in the shop now" if session is None else INTENTS[session.intent]
        case Text(feature):
            return TEXTS[feature].of(shopper) or "not known"
        case Sequence(same_item=True):
            items = sum(answer > 0 for answer in answers_by_item(node)(state, now_ms))
            return f"of {items} item{'' if items == 1 else 's'}"
        case Window():
            return _in_window(node, state, now_ms)
    return ""


def _in_window(node: Window, state: RuleState, now_ms: int) -> str:
    kind = kind_of(node)
    window = state.windows.get(kind.key, b"")
    since_ms = -1 if node.within_ms is None else now_ms - node.within_ms
    if kind.form == "sums":
        total = sum(amount for at_ms, amount in windows.pairs(window) if at_ms > since_ms)
        return _amount(total, COUNT if kind.what in ("count", "quantity") else MONEY)
    entries = windows.times(window) if kind.form == "times" else windows.pairs(window)
    count = sum((entry if isinstance(entry, int) else entry[0]) > since_ms for entry in entries)
    # Of what is counted no more is kept than the rule needs.
    return f"{count} or more" if count == kind.most and len(entries) == kind.most else str(count)


def _amount(value: int, unit: int) -> str:
    if unit == COUNT:
        return str(value)
    if unit == MINUTES:
        return f"{value / MINUTE_MS:.1f} min"
    return decimal(value)
