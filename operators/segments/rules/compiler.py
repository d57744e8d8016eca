"""All rules of a file as one machine: which of them an event may change, and how each is answered.

A set of rules is a number with two bits for each: whether its answer may become yes, and whether it
may become no.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from operators.segments.rules import features, windows
from operators.segments.rules.ast import digest
from operators.segments.rules.conditions import compile_condition
from operators.segments.rules.dispatch import DispatchTable, WindowSubscriber, subscribe
from operators.segments.rules.features import ANY_EVENT, LATEST_TEXTS
from operators.segments.rules.filters import LATEST_TEXT_OF as LATEST_OF
from operators.segments.rules.parser import parse_rules
from operators.segments.rules.windows_needed import features_used, windows_used
from state.events import EVENT_TYPES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from operators.segments.rules.ast import Rule
    from operators.segments.rules.conditions import Condition
    from operators.segments.rules.features import AnswerTrigger
    from operators.segments.rules.windows_needed import WindowKind
    from state.config import Settings

    RulesToEvaluate = tuple[tuple[str, int, Condition, bool | None], ...]
    """Rules to ask, by id and digest. Where an event can only make the answer yes (True) or no, one
    whose answer is that already is passed over."""


_CACHED_SETS_MAX = 4096


class CompiledRule(NamedTuple):
    """A rule, ready to be asked."""

    id: str
    digest: int
    evaluate: Condition


class RuleSet:
    """The rules of a file, compiled."""

    def __init__(self, rules: tuple[Rule, ...], *, gap_ms: int) -> None:
        self.rules = rules
        self.gap_ms = gap_ms
        self.compiled_rules = tuple(
            CompiledRule(rule.id, rule.digest, compile_condition(rule.when, gap_ms))
            for rule in rules
        )
        self.bits_by_digest = {
            compiled_rule.digest: self.bits_for(n)
            for n, compiled_rule in enumerate(self.compiled_rules)
        }
        self.digests = {
            compiled_rule.id: compiled_rule.digest for compiled_rule in self.compiled_rules
        }
        self.all_bits = (1 << 2 * len(rules)) - 1
        self.window_kinds: dict[int, WindowKind] = {}
        event_names = (*EVENT_TYPES, features.SESSION_START, features.FIRST_EVENT)
        self.bits_by_event = dict.fromkeys(event_names, 0)
        threshold_bits: dict[str, dict[str, dict[int | None, int]]] = {
            name: {} for name in EVENT_TYPES
        }
        self.consent_bits = 0
        self.latest_text_bits: dict[str, int] = {}
        bits_by_window: dict[tuple[int, bool], int] = {}
        for n, rule in enumerate(rules):
            for kind, new_answer, only_if_late in windows_used(rule.when):
                known = self.window_kinds.get(kind.key, kind)
                self.window_kinds[kind.key] = replace(
                    kind, entries_max=max(kind.entries_max, known.entries_max)
                )
                window = kind.key, only_if_late
                bits_by_window[window] = bits_by_window.get(window, 0) | self.bits_for(
                    n, new_answer
                )
            for feature, triggers in features_used(rule.when):
                self._register_feature(feature, n, triggers, threshold_bits)
        self.dispatch_tables = {
            name: DispatchTable(
                self.bits_by_event[name],
                tuple(
                    (features.count_reader(feature), bits_by_number)
                    for feature, bits_by_number in threshold_bits[name].items()
                ),
                list(self._subscribers(name, bits_by_window)),
            )
            for name in EVENT_TYPES
        }
        self.reads_shopper_texts = bool(self.latest_text_bits or self.consent_bits)
        """Whether any rule asks for what an event says of the shopper itself."""
        self._cached_sets: dict[int, RulesToEvaluate] = {}

    @classmethod
    def from_text(cls, text: str, source: str, *, gap_ms: int) -> RuleSet | None:
        """The rules in a text, None where there are none. Raises UserError."""
        rules = parse_rules(text, source)
        return cls(rules, gap_ms=gap_ms) if rules else None

    def windows_needed(self) -> dict[int, int]:
        """What has to be kept of a shopper, by digest, and how many entries of it."""
        latest_text_keys = dict.fromkeys(map(latest_text_key, self.latest_text_bits), 1)
        return {key: kind.entries_max for key, kind in self.window_kinds.items()} | latest_text_keys

    def windows_needed_by(self, rule_id: str) -> set[int]:
        """What has to be kept for one rule."""
        when = next(rule.when for rule in self.rules if rule.id == rule_id)
        latest_text_keys = {
            latest_text_key(name) for name, _ in features_used(when) if name in LATEST_TEXTS
        }
        return {use.kind.key for use in windows_used(when)} | latest_text_keys

    def bits_for(self, rule: int, new_answer: bool | None = None) -> int:
        """The set of one rule that may change to an answer, or to either."""
        to_yes, to_no = 1 << rule, 1 << rule + len(self.rules)
        return to_yes | to_no if new_answer is None else to_yes if new_answer else to_no

    def rules_in(self, bits: int) -> RulesToEvaluate:
        """The rules to ask, of a set."""
        selected = self._cached_sets.get(bits)
        if selected is None:
            if len(self._cached_sets) > _CACHED_SETS_MAX:
                self._cached_sets.clear()
            to_no = bits >> len(self.rules)
            selected = self._cached_sets[bits] = tuple(
                (*compiled_rule, None if bits & to_no & 1 << n else bool(bits & 1 << n))
                for n, compiled_rule in enumerate(self.compiled_rules)
                if (bits | to_no) & 1 << n
            )
        return selected

    def _register_feature(
        self,
        feature: str,
        rule: int,
        triggers: Iterable[AnswerTrigger],
        threshold_bits: dict[str, dict[str, dict[int | None, int]]],
    ) -> None:
        if feature in LATEST_TEXTS:
            self.latest_text_bits[feature] = self.latest_text_bits.get(feature, 0) | self.bits_for(
                rule
            )
        elif feature.startswith("consent."):  # which any event may carry
            self.consent_bits |= self.bits_for(rule)
        else:
            for event_types, new_answer, thresholds in triggers:
                bits = self.bits_for(rule, new_answer)
                for name in EVENT_TYPES if ANY_EVENT in event_types else event_types:
                    if not thresholds:
                        self.bits_by_event[name] |= bits
                        continue
                    bits_by_number = threshold_bits[name].setdefault(feature, {})
                    for number in thresholds:
                        bits_by_number[number] = bits_by_number.get(number, 0) | bits

    def _subscribers(
        self, event_type: str, bits_by_window: dict[tuple[int, bool], int]
    ) -> Iterable[WindowSubscriber]:
        for key, kind in self.window_kinds.items():
            if event_type in kind.events.types or ANY_EVENT in kind.events.types:
                bits = bits_by_window.get((key, False), 0)
                yield subscribe(kind, bits, bits | bits_by_window.get((key, True), 0))


def load_rules(settings: Settings) -> RuleSet | None:
    """The rules of a configuration, None where there are none. Raises UserError."""
    gap_ms = settings.sessions.gap_ms
    return RuleSet.from_text(settings.definitions, settings.segments.file, gap_ms=gap_ms)


def latest_text_key(feature: str) -> int:
    """What names the newest text of a feature."""
    return digest("latest", feature)


def merge_window(kind: WindowKind, first: bytes, second: bytes, now_ms: int) -> bytes:
    """What two shoppers who are one have of a window."""
    if kind.form == "times":
        return windows.merge_times(first, second, kind.bytes_max)
    if kind.form == "keyed":
        return windows.merge_keys(first, second, kind.bytes_max)
    if kind.form == "items":
        return windows.merge_items(first, second, kind.bytes_max)
    return windows.merge_amounts(first, second, kind.within_ms, now_ms)


__all__ = ["LATEST_OF", "CompiledRule", "RuleSet", "features", "merge_window"]
