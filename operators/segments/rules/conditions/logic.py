"""`all`, `any` and `not`: conditions made of conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from operators.kernels.rule_layout import FOREVER
from operators.segments.rules.conditions.base import Condition

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from operators.segments.rules.answer_triggers import AnswerTrigger
    from operators.segments.rules.conditions.base import Answer, RuleParser
    from operators.segments.rules.instructions import InstructionWriter
    from operators.segments.rules.windows_needed import WindowUse
    from operators.segments.rules.yaml_nodes import YamlNode
    from state.shopper import RuleState, Shopper


class _Group(Condition, frozen=True):
    """Several conditions as one."""

    is_costly: ClassVar[bool] = True
    joined_by: ClassVar[str]

    parts: tuple[Condition, ...]

    def describe(self) -> str:
        return f" {self.joined_by} ".join(part.describe_as_part() for part in self.parts)

    def describe_as_part(self) -> str:
        text = self.describe()
        return f"({text})" if len(self.parts) > 1 else text

    def windows_used(self, is_positive: bool = True) -> Iterable[WindowUse]:
        for part in self.parts:
            yield from part.windows_used(is_positive)

    def features_used(self, is_positive: bool = True) -> Iterable[tuple[str, list[AnswerTrigger]]]:
        for part in self.parts:
            yield from part.features_used(is_positive)

    def explained_parts(self) -> tuple[Condition, ...]:
        return self.parts

    def emit(self, writer: InstructionWriter, is_negated: bool) -> None:
        parts = sorted(self.parts, key=lambda part: part.is_costly)
        writer.write_group(parts, is_negated, is_all=isinstance(self, All))

    def _compile_parts(self, gap_ms: int) -> list[Answer]:
        """The functions of the parts, the costly ones last."""
        parts = sorted(self.parts, key=lambda part: part.is_costly)
        return [part.compile(gap_ms) for part in parts]


class All(_Group, frozen=True, tag=True):
    """Every part holds."""

    joined_by: ClassVar[str] = "and"

    def compile(self, gap_ms: int) -> Answer:
        return all_of(self._compile_parts(gap_ms))


class Any(_Group, frozen=True, tag=True):
    """At least one part holds."""

    joined_by: ClassVar[str] = "or"

    def compile(self, gap_ms: int) -> Answer:
        return _any_of(self._compile_parts(gap_ms))


class Not(Condition, frozen=True, tag=True):
    """The opposite of its part."""

    part: Condition

    def compile(self, gap_ms: int) -> Answer:
        positive = self.part.compile(gap_ms)
        return lambda shopper_id, shopper, state, now_ms: (
            -positive(shopper_id, shopper, state, now_ms)
        )

    def emit(self, writer: InstructionWriter, is_negated: bool) -> None:
        self.part.emit(writer, not is_negated)

    def describe(self) -> str:
        return self.part.describe_negated()

    def windows_used(self, is_positive: bool = True) -> Iterable[WindowUse]:
        return self.part.windows_used(not is_positive)

    def features_used(self, is_positive: bool = True) -> Iterable[tuple[str, list[AnswerTrigger]]]:
        return self.part.features_used(not is_positive)

    def explained_parts(self) -> tuple[Condition, ...]:
        return (self.part,) if isinstance(self.part, _Group) else ()

    def describe_value(self, shopper: Shopper, state: RuleState, now_ms: int, gap_ms: int) -> str:
        if isinstance(self.part, Not):
            return ""
        return self.part.describe_value(shopper, state, now_ms, gap_ms)


def parse_all(parser: RuleParser, entry: YamlNode, fields: Mapping[str, YamlNode]) -> Condition:
    """`all: [...]`."""
    return All(_parse_parts(parser, entry, fields, "all"))


def parse_any(parser: RuleParser, entry: YamlNode, fields: Mapping[str, YamlNode]) -> Condition:
    """`any: [...]`."""
    return Any(_parse_parts(parser, entry, fields, "any"))


def parse_not(parser: RuleParser, entry: YamlNode, fields: Mapping[str, YamlNode]) -> Condition:
    """`not: ...`."""
    entry.check_keys(fields, ("not",), "`not`")
    return Not(parser.parse_node(fields["not"]))


def _parse_parts(
    parser: RuleParser, entry: YamlNode, fields: Mapping[str, YamlNode], key: str
) -> tuple[Condition, ...]:
    entry.check_keys(fields, (key,), f"`{key}`")
    parts = fields[key].items("conditions, `- ` before each")
    return tuple(parser.parse_node(part) for part in parts)


def all_of(parts: list[Answer]) -> Answer:
    """The function that answers whether all of these hold."""
    if len(parts) == 1:
        return parts[0]

    if len(parts) == 2:
        first, second = parts

        def both(shopper_id: str, shopper: Shopper, state: RuleState, now_ms: int) -> int:
            answer = first(shopper_id, shopper, state, now_ms)
            if answer < 0:
                return answer
            second_answer = second(shopper_id, shopper, state, now_ms)
            return second_answer if second_answer < answer else answer

        return both

    def every(shopper_id: str, shopper: Shopper, state: RuleState, now_ms: int) -> int:
        soonest_ms = FOREVER
        for part in parts:
            answer = part(shopper_id, shopper, state, now_ms)
            if answer < 0:
                return answer
            if answer < soonest_ms:
                soonest_ms = answer
        return soonest_ms

    return every


def _any_of(parts: list[Answer]) -> Answer:
    if len(parts) == 1:
        return parts[0]

    def some(shopper_id: str, shopper: Shopper, state: RuleState, now_ms: int) -> int:
        soonest = -FOREVER
        for part in parts:
            answer = part(shopper_id, shopper, state, now_ms)
            if answer > 0:
                return answer
            if answer > soonest:
                soonest = answer
        return soonest

    return some
