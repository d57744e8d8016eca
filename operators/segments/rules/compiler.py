"""All rules of a file, compiled: which of them an event may change, and the function that answers
each.

A set of rules is a number with two bits for each rule: whether its answer may become yes, and
whether it may become no.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from operators.segments.rules import features
from operators.segments.rules.columns import number_of
from operators.segments.rules.digests import digest
from operators.segments.rules.dispatch import DispatchTable, subscribe
from operators.segments.rules.features import ANY_EVENT, LATEST_TEXTS
from operators.segments.rules.parser import parse_rules
from state.events import EVENT_TYPES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from operators.segments.rules.answer_triggers import AnswerTrigger
    from operators.segments.rules.rule import Rule
    from operators.segments.rules.windows_needed import WindowKind
    from state.config import Settings
    from state.events import Event


class CompiledRule(NamedTuple):
    """The id of a rule, and the digest of its condition."""

    id: str
    digest: int


class RuleSet:
    """The rules of a file, compiled."""

    def __init__(self, rules: tuple[Rule, ...], *, gap_ms: int) -> None:
        self.rules = rules
        self.gap_ms = gap_ms
        self.compiled_rules = tuple(CompiledRule(rule.id, rule.digest) for rule in rules)
        self.digests = {rule.id: rule.digest for rule in self.compiled_rules}
        self.all_bits = (1 << 2 * len(rules)) - 1
        self.window_kinds: dict[int, WindowKind] = {}
        event_names = (*EVENT_TYPES, features.SESSION_START, features.FIRST_EVENT)
        self.bits_by_event = dict.fromkeys(event_names, 0)
        self.consent_bits = 0
        self.latest_text_bits: dict[str, int] = {}
        self._threshold_bits: dict[str, dict[str, dict[int, int]]] = {
            event_type: {} for event_type in EVENT_TYPES
        }
        self._bits_by_window: dict[tuple[int, bool], int] = {}
        for n, rule in enumerate(rules):
            self._register_windows(n, rule)
            for feature, triggers in rule.when.features_used():
                self._register_feature(n, feature, triggers)
        self.dispatch_tables = {
            event_type: self._dispatch_table(event_type) for event_type in EVENT_TYPES
        }
        self.reads_shopper_texts = bool(self.latest_text_bits or self.consent_bits)
        """Whether any rule asks for a text or a consent that any event may carry."""

    @classmethod
    def from_text(cls, text: str, source: str, *, gap_ms: int) -> RuleSet | None:
        """The rules in a text, None where there are none. Raises ConfigurationError."""
        rules = parse_rules(text, source)
        return cls(rules, gap_ms=gap_ms) if rules else None

    def windows_needed(self) -> dict[int, int]:
        """What has to be kept of a shopper, by digest, and how many entries of it."""
        latest_text_keys = dict.fromkeys(map(latest_text_key, self.latest_text_bits), 1)
        return {key: kind.entries_max for key, kind in self.window_kinds.items()} | latest_text_keys

    def windows_needed_by(self, rule_id: str) -> set[int]:
        """What has to be kept of a shopper for one rule, by digest."""
        when = next(rule.when for rule in self.rules if rule.id == rule_id)
        latest_text_keys = {
            latest_text_key(name) for name, _ in when.features_used() if name in LATEST_TEXTS
        }
        return {use.kind.key for use in when.windows_used()} | latest_text_keys

    def bits_for(self, rule: int, new_answer: bool | None = None) -> int:
        """The set of one rule whose answer may become this one, or either (None)."""
        to_yes, to_no = 1 << rule, 1 << rule + len(self.rules)
        return to_yes | to_no if new_answer is None else to_yes if new_answer else to_no

    def _register_windows(self, n: int, rule: Rule) -> None:
        """Note the windows that rule number `n` needs; each keeps as many entries as any rule needs."""
        for kind, new_answer, only_if_late in rule.when.windows_used():
            known = self.window_kinds.get(kind.key, kind)
            entries_max = max(kind.entries_max, known.entries_max)
            self.window_kinds[kind.key] = replace(kind, entries_max=entries_max)
            window = kind.key, only_if_late
            known_bits = self._bits_by_window.get(window, 0)
            self._bits_by_window[window] = known_bits | self.bits_for(n, new_answer)

    def _register_feature(self, n: int, feature: str, triggers: Iterable[AnswerTrigger]) -> None:
        """Note which events may change a feature that rule number `n` asks for."""
        if feature in LATEST_TEXTS:
            known_bits = self.latest_text_bits.get(feature, 0)
            self.latest_text_bits[feature] = known_bits | self.bits_for(n)
            return
        if feature.startswith("consent."):  # which any event may carry
            self.consent_bits |= self.bits_for(n)
            return
        for event_types, new_answer, thresholds in triggers:
            bits = self.bits_for(n, new_answer)
            for event_type in EVENT_TYPES if ANY_EVENT in event_types else event_types:
                if not thresholds:
                    self.bits_by_event[event_type] |= bits
                    continue
                bits_by_number = self._threshold_bits[event_type].setdefault(feature, {})
                for number in thresholds:
                    bits_by_number[number] = bits_by_number.get(number, 0) | bits

    def thresholds(self, event_type: str) -> Iterable[tuple[str, int, int]]:
        """Counts that such an event adds to, with a number and the rules that may change at it."""
        for feature, bits_by_number in self._threshold_bits[event_type].items():
            number = number_of(feature)
            assert number is not None
            for threshold, bits in bits_by_number.items():
                yield number.columns[0], threshold, bits

    def window_bits(self, key: int) -> tuple[int, int]:
        """The rules that an event in this window may change, if it is the newest, and if it is not."""
        bits = self._bits_by_window.get((key, False), 0)
        return bits, bits | self._bits_by_window.get((key, True), 0)

    def additions_of(self, events: Iterable[Event]) -> list[Sequence[int]]:
        """For each event the windows that it goes into, as additions of the log."""
        tables = self.dispatch_tables
        return [tables[event.type].dispatch_of(event).additions_of(event) for event in events]

    def _dispatch_table(self, event_type: str) -> DispatchTable:
        return DispatchTable(
            [
                subscribe(kind, number)
                for number, kind in enumerate(self.window_kinds.values())
                if kind.events.takes(event_type)
            ]
        )


def load_rules(settings: Settings) -> RuleSet | None:
    """The rules of a configuration, None where there are none. Raises ConfigurationError."""
    gap_ms = settings.sessions.gap_ms
    return RuleSet.from_text(settings.segment_rules_text, settings.segments.file, gap_ms=gap_ms)


def latest_text_key(feature: str) -> int:
    """The digest under which the newest text of a feature is stored."""
    return digest("latest", feature)
