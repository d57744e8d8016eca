"""The contract of a condition: what every kind can do.

A condition is compiled into a function whose answer is one number: the time (ms) until which the
answer holds if no event comes, negative where the answer is no. So the answer of `all` is the least
of its parts as long as none says no, and `not` is the sign.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

import msgspec

from operators.kernels.rule_layout import FOREVER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from operators.segments.rules.answer_triggers import AnswerTrigger
    from operators.segments.rules.instructions import InstructionWriter
    from operators.segments.rules.windows_needed import WindowUse
    from operators.segments.rules.yaml_nodes import YamlNode
    from state.shopper import RuleState, Shopper

    Answer = Callable[[str, Shopper, RuleState, int], int]
    """Takes a shopper's id, its state, what rules keep of it, and its clock (ms)."""

YES, NO = FOREVER, -FOREVER


def bounded(number: int) -> int:
    """A bound that fits a column: no amount is larger than `FOREVER`."""
    return max(-FOREVER, min(FOREVER, number))


class Condition(msgspec.Struct, frozen=True, tag=True):
    """One condition. Its class name and its fields are part of stored digests: they must not change."""

    is_costly: ClassVar[bool] = False
    """Whether `all` and `any` ask it last."""

    def compile(self, gap_ms: int) -> Answer:
        """The function that answers it; `gap_ms` is the session gap."""
        raise NotImplementedError

    def emit(self, writer: InstructionWriter, is_negated: bool) -> None:
        """Write the instructions that answer it, or its opposite."""
        raise NotImplementedError

    def describe(self) -> str:
        """One line that says what it means."""
        raise NotImplementedError

    def describe_negated(self) -> str:
        """The same for its opposite."""
        return f"not {self.describe_as_part()}"

    def describe_as_part(self) -> str:
        """The same inside another condition."""
        return self.describe()

    def windows_used(self, is_positive: bool = True) -> Iterable[WindowUse]:
        """The windows of events that it needs; `is_positive` is False below a `not`."""
        return ()

    def features_used(self, is_positive: bool = True) -> Iterable[tuple[str, list[AnswerTrigger]]]:
        """The features that it asks for and which events may change its answer."""
        return ()

    def explained_parts(self) -> tuple[Condition, ...]:
        """The conditions that are explained below it, one by one."""
        return ()

    def describe_value(self, shopper: Shopper, state: RuleState, now_ms: int, gap_ms: int) -> str:
        """What the shopper has of what it asks for; "" where yes or no is the whole answer."""
        return ""


class RuleParser(Protocol):
    """What the parser of a kind may ask of the parser of the whole file."""

    def parse_node(self, entry: YamlNode) -> Condition:
        """Parse a condition inside this one."""

    def parse_reference(self, entry: YamlNode) -> Condition:
        """The condition of another segment, by the id that stands there."""

    def current_segment(self) -> str:
        """The id of the segment whose condition is being parsed."""


if TYPE_CHECKING:
    ParseCondition = Callable[[RuleParser, YamlNode, Mapping[str, YamlNode]], Condition]
    """Parses the mapping of one condition, given with its fields by key. Raises ConfigurationError."""
