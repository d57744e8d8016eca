"""`purchases >= 3`, `top_category is shoes`: a feature of the profile or of the session, compared.

The features are in `operators.segments.rules.features`: to add one is a line there.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING

from msgspec.structs import replace

from operators.kernels import rule_layout as layout
from operators.kernels.rule_layout import FOREVER
from operators.segments.rules.answer_triggers import feature_triggers, intent_triggers
from operators.segments.rules.columns import number_of
from operators.segments.rules.conditions.base import NO, YES, Condition, bounded
from operators.segments.rules.conditions.logic import Not
from operators.segments.rules.features import (
    AGE_FEATURES,
    FEATURE_NAMES,
    INTENT,
    LATEST_TEXTS,
    NUMBER_FEATURES,
    SESSION_FEATURES,
    SHARE_FEATURES,
    TEXT_FEATURES,
    session_at,
)
from operators.segments.rules.filters import is_below_any, join_values
from operators.segments.rules.quantities import COUNT, DAYS, MINUTES, SHARE, parse_bounds
from operators.segments.rules.yaml_nodes import suggest
from operators.segments.rules.yaml_values import BOUNDS_EXAMPLE
from state.money import format_decimal
from state.shopper import INTENTS
from state.times import DAY_MS, MINUTE_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from operators.segments.rules.answer_triggers import AnswerTrigger
    from operators.segments.rules.conditions.base import Answer
    from operators.segments.rules.instructions import InstructionWriter
    from operators.segments.rules.quantities import Bounds
    from operators.segments.rules.yaml_nodes import YamlNode
    from state.shopper import LatestContext, RuleState, Session, Shopper

CONDITION_EXAMPLE = "`purchases >= 3` or `{event: item_view, count: at least 3, within: 24 h}`"

_COMPARISON = re.compile(
    r"(?P<feature>[a-z_.]+)\s*(?P<comparison>(?:>=|<=|==|!=|=|>|<|is\b|at\b|more\b|less\b|fewer\b"
    r"|exactly\b|between\b).*)"
)
_TEXT_COMPARISON = re.compile(r"(?:(?P<not>!=|is not\s)|=|==|is\s)\s*(?:one of\s+)?(?P<values>.+)")
_JOINED_CONDITIONS = re.compile(r"\s(and|or|&&|\|\|)\s")
_PERCENT = re.compile(r"(-?\d+(?:\.\d+)?)\s*%")


class Number(Condition, frozen=True, tag=True):
    """A number of the profile or of the session within a range; never true where there is none."""

    feature: str
    bounds: Bounds

    def compile(self, gap_ms: int) -> Answer:
        low, high = limits(self.bounds)
        if self.feature in AGE_FEATURES:
            return _age_within(AGE_FEATURES[self.feature].time_of, low, high)
        if self.feature in SESSION_FEATURES:
            value_of = SESSION_FEATURES[self.feature].value_of
            return _session_number_within(value_of, low, high, gap_ms)
        return _number_within(NUMBER_FEATURES[self.feature].value_of, low, high)

    def emit(self, writer: InstructionWriter, is_negated: bool) -> None:
        number = number_of(self.feature)
        assert number is not None
        bounds = [bounded(limit) for limit in limits(self.bounds)]
        columns = [writer.column(name) for name in number.columns]
        if number.operation == layout.SESSION_NUMBER:
            columns.append(0 if self.feature == "session_cart_value" else -1)
        elif number.operation == layout.QUOTIENT:
            columns += [*[-1] * (3 - len(columns)), number.factor]
        writer.write(number.operation, is_negated, *bounds, *columns)

    def describe(self) -> str:
        for table in (NUMBER_FEATURES, AGE_FEATURES, SESSION_FEATURES):
            if self.feature in table:
                ago = " ago" if table is AGE_FEATURES else ""
                return f"{table[self.feature].label} {self.bounds.words}{ago}"
        raise KeyError(self.feature)

    def features_used(self, is_positive: bool = True) -> Iterable[tuple[str, list[AnswerTrigger]]]:
        yield self.feature, feature_triggers(self.feature, self.bounds, is_positive)

    def describe_value(self, shopper: Shopper, state: RuleState, now_ms: int, gap_ms: int) -> str:
        if self.feature in AGE_FEATURES:
            at_ms = AGE_FEATURES[self.feature].time_of(shopper)
            return f"{(now_ms - at_ms) / DAY_MS:.1f} d ago" if at_ms else "never"
        if self.feature in SESSION_FEATURES:
            session = session_at(shopper, now_ms, gap_ms)
            if session is None:
                return "not in the shop now"
            session_feature = SESSION_FEATURES[self.feature]
            return format_amount(session_feature.value_of(session), session_feature.unit)
        number_feature = NUMBER_FEATURES[self.feature]
        value = number_feature.value_of(shopper)
        return "none yet" if value is None else format_amount(value, number_feature.unit)


class Text(Condition, frozen=True, tag=True):
    """A text of the profile or the session that is one of these."""

    feature: str
    values: tuple[str, ...]

    def compile(self, gap_ms: int) -> Answer:
        values = self.values
        if self.feature == INTENT:
            intents = frozenset(INTENTS.index(value) for value in values)
            return _session_number_within(lambda session: session.intent in intents, 1, 1, gap_ms)
        text_feature = TEXT_FEATURES[self.feature]
        text_of, wanted = text_feature.value_of, frozenset(values)
        if text_feature.is_path:
            return lambda shopper_id, shopper, state, now_ms: (
                YES if is_below_any(text_of(shopper), values) else NO
            )
        return lambda shopper_id, shopper, state, now_ms: YES if text_of(shopper) in wanted else NO

    def emit(self, writer: InstructionWriter, is_negated: bool) -> None:
        number = number_of(self.feature)
        if number is not None:
            intents = sum(1 << INTENTS.index(value) for value in self.values)
            column = writer.column(number.columns[0])
            writer.write(number.operation, is_negated, intents, 0, column)
            return
        truth = writer.truth(self, self._compile_truth())
        writer.write(layout.TRUTH, is_negated, truth, 0)

    def _compile_truth(self) -> Callable[[Shopper, LatestContext], bool]:
        text_feature, values = TEXT_FEATURES[self.feature], self.values
        text_of, wanted = text_feature.value_of, frozenset(values)
        if self.feature in LATEST_TEXTS:
            name, unknown = self.feature, (0, "")
            return lambda shopper, latest: latest.get(name, unknown)[1] in wanted
        if text_feature.is_path:
            return lambda shopper, latest: is_below_any(text_of(shopper), values)
        return lambda shopper, latest: text_of(shopper) in wanted

    def describe(self) -> str:
        return f"{TEXT_FEATURES[self.feature].label} is {join_values(self.values)}"

    def describe_negated(self) -> str:
        return f"{TEXT_FEATURES[self.feature].label} is not {join_values(self.values)}"

    def features_used(self, is_positive: bool = True) -> Iterable[tuple[str, list[AnswerTrigger]]]:
        if self.feature == INTENT:
            yield self.feature, intent_triggers(self.values)
        else:
            yield self.feature, feature_triggers(self.feature, None, is_positive)

    def describe_value(self, shopper: Shopper, state: RuleState, now_ms: int, gap_ms: int) -> str:
        if self.feature == INTENT:
            session = session_at(shopper, now_ms, gap_ms)
            return "not in the shop now" if session is None else INTENTS[session.intent]
        return TEXT_FEATURES[self.feature].value_of(shopper) or "not known"


def limits(bounds: Bounds) -> tuple[int, int]:
    """Both ends of a range as numbers."""
    low = -FOREVER if bounds.low is None else bounds.low
    return low, FOREVER if bounds.high is None else bounds.high


def format_amount(value: int, unit: int) -> str:
    """A number of this unit as people read it."""
    if unit == COUNT:
        return str(value)
    if unit == MINUTES:
        return f"{value / MINUTE_MS:.1f} min"
    return format_decimal(value)


def _number_within(value_of: Callable[[Shopper], int | None], low: int, high: int) -> Answer:
    def number(shopper_id: str, shopper: Shopper, state: RuleState, now_ms: int) -> int:
        value = value_of(shopper)
        return YES if value is not None and low <= value <= high else NO

    return number


def _age_within(time_of: Callable[[Shopper], int], low: int, high: int) -> Answer:
    def age(shopper_id: str, shopper: Shopper, state: RuleState, now_ms: int) -> int:
        at_ms = time_of(shopper)
        if not at_ms:
            return NO
        age_ms = now_ms - at_ms
        if age_ms < low:
            return -(at_ms + low)
        if age_ms > high:
            return NO
        return FOREVER if high == FOREVER else at_ms + high + 1

    return age


def _session_number_within(
    value_of: Callable[[Session], int], low: int, high: int, gap_ms: int
) -> Answer:
    def session_number(shopper_id: str, shopper: Shopper, state: RuleState, now_ms: int) -> int:
        if not shopper.open_sessions:
            return NO
        session = shopper.open_sessions[-1]
        ends_ms = session.last_ms + gap_ms
        return ends_ms + 1 if ends_ms >= now_ms and low <= value_of(session) <= high else NO

    return session_number


def parse_comparison(entry: YamlNode) -> Condition:
    """A text such as `purchases >= 3` or `top_category is shoes`. Raises ConfigurationError."""
    text = entry.text(f"a condition, as in {CONDITION_EXAMPLE}")
    parsed = _COMPARISON.fullmatch(text)
    if parsed is None:
        entry.raise_error(f"`{text}` is not a condition: write {CONDITION_EXAMPLE}")
    feature, comparison = parsed["feature"], parsed["comparison"].strip()
    if feature not in FEATURE_NAMES:
        suggestion = suggest(feature, FEATURE_NAMES)
        entry.raise_error(
            f"there is no feature `{feature}`{suggestion}: {', '.join(FEATURE_NAMES)}"
        )
    if feature in TEXT_FEATURES:
        return _parse_text(entry, feature, comparison)
    return _parse_number(entry, feature, comparison)


def _parse_number(entry: YamlNode, feature: str, comparison: str) -> Condition:
    unit = DAYS
    if feature in NUMBER_FEATURES:
        unit = NUMBER_FEATURES[feature].unit
    elif feature in SESSION_FEATURES:
        unit = SESSION_FEATURES[feature].unit
    if feature in SHARE_FEATURES:
        comparison = _PERCENT.sub(lambda percent: f"{Decimal(percent[1]) / 100:f}", comparison)
    is_negated = comparison.startswith(("!=", "is not "))
    if is_negated:
        comparison = re.sub(r"^(?:!=|is not)", "=", comparison)
    bounds = parse_bounds(comparison, unit)
    if bounds is None and (joined := _JOINED_CONDITIONS.search(comparison)):
        key = "all" if joined[1] in ("and", "&&") else "any"
        entry.raise_error(f"is more than one condition: write them as a list below `{key}:`")
    if bounds is None:
        entry.raise_error(
            f"`{comparison}` is not an amount: {BOUNDS_EXAMPLE}, or `>=`, `<=`, `>`, `<`, `=`"
        )
    if feature in SHARE_FEATURES and max(bounds.low or 0, bounds.high or 0) > SHARE:
        entry.raise_error(
            f"`{feature}` is a share of 1: write `{feature} >= 0.5` or `{feature} >= 50 %`"
        )
    if feature in AGE_FEATURES:
        if bounds.low == bounds.high:
            entry.raise_error("is exact to the ms and so never true: write `between 3 and 4`")
        bounds = replace(bounds, words=f"{bounds.words} d")
    return Not(Number(feature, bounds)) if is_negated else Number(feature, bounds)


def _parse_text(entry: YamlNode, feature: str, comparison: str) -> Condition:
    parsed = _TEXT_COMPARISON.fullmatch(comparison)
    if parsed is None:
        entry.raise_error(
            f"`{feature}` is a text: write `{feature} is ...`, `is not ...` or `is one of a, b`"
        )
    values = tuple(value.strip() for value in parsed["values"].split(",") if value.strip())
    allowed = TEXT_FEATURES[feature].values
    for value in values:
        if allowed and value not in allowed:
            entry.raise_error(f"`{feature}` is never `{value}`: it is one of {', '.join(allowed)}")
    if TEXT_FEATURES[feature].is_path:
        values = tuple(value.strip("/") for value in values)
    node = Text(feature, tuple(sorted(set(values))))
    return Not(node) if parsed["not"] else node
