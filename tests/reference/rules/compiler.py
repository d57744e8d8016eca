"""Rules with the function that answers each, and what an event may change, as sets of bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.segments.rules import features
from state.events import EVENT_TYPES
from tests.reference.rules.dispatch import DispatchTable, WindowSubscriber, subscribe

if TYPE_CHECKING:
    from collections.abc import Iterable

    from operators.segments.rules.compiler import RuleSet
    from operators.segments.rules.conditions.base import Answer

    RulesToEvaluate = tuple[tuple[str, int, Answer, bool | None], ...]
    """Rules by id and digest, with their functions. Where an event can only make the answer yes
    (True) or no (False), a rule whose answer is that already need not be evaluated."""


class ReferenceRules:
    """The rules of a set with their functions."""

    def __init__(self, rules: RuleSet) -> None:
        self.rules = rules
        self.functions = [
            (rule.id, rule.digest, rule.when.compile(rules.gap_ms)) for rule in rules.rules
        ]
        self.bits_by_digest: dict[int, int] = {}
        for n, (_, digest, _) in enumerate(self.functions):
            known_bits = self.bits_by_digest.get(digest, 0)
            self.bits_by_digest[digest] = known_bits | rules.bits_for(n)
        self.dispatch_tables = {name: self._dispatch_table(name) for name in EVENT_TYPES}

    def rules_in(self, bits: int) -> RulesToEvaluate:
        """The rules of a set."""
        to_no = bits >> len(self.functions)
        return tuple(
            (*rule, None if bits & to_no & 1 << n else bool(bits & 1 << n))
            for n, rule in enumerate(self.functions)
            if (bits | to_no) & 1 << n
        )

    def _dispatch_table(self, event_type: str) -> DispatchTable:
        rules = self.rules
        thresholds = tuple(
            (features.count_reader(feature), bits_by_number)
            for feature, bits_by_number in rules._threshold_bits[event_type].items()
        )
        subscribers = list(self._subscribers(event_type))
        return DispatchTable(rules.bits_by_event[event_type], thresholds, subscribers)

    def _subscribers(self, event_type: str) -> Iterable[WindowSubscriber]:
        for key, kind in self.rules.window_kinds.items():
            if kind.events.takes(event_type):
                yield subscribe(kind, *self.rules.window_bits(key))
