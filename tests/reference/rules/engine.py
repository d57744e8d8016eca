"""Memberships of one shard's shoppers in segments by rule, exact at every moment of their clock.

The clock of a shopper is the watermark of the shard, and at least its own newest event. The engine
finds the rules whose answers an event, a merge or new rules may change; `evaluator` evaluates them,
and those that are due. This is the hot path: the engine changes the state of shoppers in place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.segments.rules import rule_changes
from operators.segments.rules.compiler import RuleSet
from operators.segments.rules.features import FIRST_EVENT, SESSION_START, session_at
from operators.segments.rules.filters import LATEST_TEXT_OF
from operators.segments.rules.retractions import RuleRetractions
from operators.segments.rules.window_corrections import add_refund_difference
from operators.segments.rules.windows import add_time
from state.entries import Transition
from state.shopper import RECHECK_ALL, RuleState
from tests.reference.rules.compiler import ReferenceRules
from tests.reference.rules.evaluator import ReferenceEvaluator

if TYPE_CHECKING:
    from operators.events.processing_errors import ProcessingErrors
    from state.events import Event
    from state.shopper import Shopper
    from state.snapshots import ShardRulesState


class ReferenceEngine:
    """Keeps the memberships of a shard; `evaluator` has the clock and the transitions of the batch."""

    def __init__(self, rules: RuleSet, stored: ShardRulesState) -> None:
        self.rules = rules
        self.compiled = ReferenceRules(rules)
        self.evaluator = ReferenceEvaluator(self.compiled)
        self._retractions = RuleRetractions()
        self._stored = stored
        self._rules_changed = stored.digests != rules.digests

    @property
    def transitions(self) -> list[Transition]:
        return self.evaluator.transitions

    @transitions.setter
    def transitions(self, transitions: list[Transition]) -> None:
        self.evaluator.transitions = transitions

    @property
    def processing_errors(self) -> ProcessingErrors:
        return self.evaluator.processing_errors

    @processing_errors.setter
    def processing_errors(self, errors: ProcessingErrors) -> None:
        self.evaluator.processing_errors = errors

    def migrate_rules(self, rows: dict[str, Shopper], clock_ms: int) -> bool:
        """Replace the rules that were stored by these, once; whether they differ.

        Rules that are new or changed are evaluated for every shopper, from what is stored. A
        shopper who is in a segment before and after keeps the time at which it entered.
        """
        if not self._rules_changed:
            return False
        rules, stored = self.rules, self._stored
        self._rules_changed = False
        changed_bits = rule_changes.changed_bits(rules, stored)
        removed_ids = stored.digests.keys() - rules.digests.keys()
        self._stored = rule_changes.updated_state(rules, stored, clock_ms)
        # Sorted: the order of rows depends on when they were stored.
        for shopper_id, shopper in sorted(rows.items()):
            if not shopper.events:
                continue
            try:
                self._migrate_shopper(shopper_id, shopper, clock_ms, removed_ids, changed_bits)
            except Exception:
                self.evaluator.mark_uncertain("settle", shopper_id, shopper.rule_state)
        return True

    def _migrate_shopper(
        self,
        shopper_id: str,
        shopper: Shopper,
        clock_ms: int,
        removed_ids: set[str],
        changed_bits: int,
    ) -> None:
        """Replace the rules for one shopper: `removed_ids` are segments, `changed_bits` rules."""
        state, rules = shopper.rule_state, self.rules
        now_ms = max(clock_ms, shopper.last_ms)
        if state is None or state.next_check_ms == RECHECK_ALL:
            self.evaluator.evaluate_all(shopper_id, shopper, now_ms)
            return
        for segment_id in sorted(removed_ids & state.members.keys()):
            del state.members[segment_id]
            self.evaluator.transitions.append(Transition(shopper_id, segment_id, False, now_ms))
        state.windows = {
            key: window for key, window in state.windows.items() if key in rules.window_kinds
        }
        state.latest_context = {
            key: text for key, text in state.latest_context.items() if key in rules.latest_text_bits
        }
        state.next_check_ms_by_rule = {
            key: ms
            for key, ms in state.next_check_ms_by_rule.items()
            if key in self.compiled.bits_by_digest
        }
        state.next_check_ms = min(state.next_check_ms_by_rule.values(), default=0)
        self.evaluator.track(shopper_id, shopper)
        self.evaluator.evaluate(
            self.compiled.rules_in(changed_bits), shopper_id, shopper, state, now_ms
        )

    def to_state(self) -> ShardRulesState:
        """What a snapshot holds besides the shoppers."""
        return self._stored

    def windows_filled_ms(self, rule_id: str) -> int:
        """Since when (ms) every window that a rule needs is full; 0 if it always was."""
        needed = self.rules.windows_needed_by(rule_id)
        return max((self._stored.windows[key][0] for key in needed), default=0)

    def advance_to(self, shopper_id: str, shopper: Shopper, now_ms: int, at_ms: int) -> bool:
        """Advance the clock of a shopper to an event of it; whether a session goes on then."""
        self.evaluator.advance_shopper(shopper_id, shopper, max(now_ms, at_ms - 1))
        newest_ms = max(now_ms, at_ms, shopper.last_ms)
        return session_at(shopper, newest_ms, self.rules.gap_ms) is not None

    def apply_event(
        self,
        shopper_id: str,
        shopper: Shopper,
        event: Event,
        clock_ms: int,
        *,
        begins_session: bool,
    ) -> None:
        """Apply an event that the profile counts already; with `begins_session` it began or joined
        one."""
        rules, at_ms, last_ms = self.rules, event.event_ts, shopper.last_ms
        now_ms = clock_ms if clock_ms > last_ms else last_ms
        state = shopper.rule_state or _new_state(shopper)
        bits, late_bits, time_windows, recorders, conditional, thresholds = (
            self.compiled.dispatch_tables[event.type].dispatch_of(event)
        )
        is_newest, windows, packed = at_ms == last_ms, state.windows, at_ms.to_bytes(8, "big")
        if not is_newest:
            bits = late_bits
        for key, size in time_windows:
            window = windows.get(key, b"")
            # No time in the window is later than that of the shopper's newest event.
            windows[key] = (
                (window + packed)[-size:] if is_newest else add_time(window, packed, size)
            )
        for record in recorders:
            record(windows, event, packed, now_ms)
        for test, record, matching_bits, matching_late_bits in conditional:
            if test(event):
                record(windows, event, packed, now_ms)
                bits |= matching_bits if is_newest else matching_late_bits
        for count_of, bits_by_number in thresholds:
            bits |= bits_by_number.get(count_of(shopper) or 0, 0)
        if begins_session:
            bits |= rules.bits_by_event[SESSION_START]
        if at_ms == shopper.first_ms:
            bits |= rules.bits_by_event[FIRST_EVENT]
        if rules.reads_shopper_texts:
            bits |= self._update_latest_texts(state, event)
        if state.next_check_ms == RECHECK_ALL:
            self.evaluator.evaluate_all(shopper_id, shopper, now_ms)
        elif bits:
            self.evaluator.evaluate(
                self.compiled.rules_in(bits), shopper_id, shopper, state, now_ms
            )

    def _update_latest_texts(self, state: RuleState, event: Event) -> int:
        """Keep the device, country and campaign of an event; returns the rules that ask for what it
        carries."""
        bits = 0 if event.consent is None else self.rules.consent_bits
        for feature, feature_bits in self.rules.latest_text_bits.items():
            if text := LATEST_TEXT_OF[feature](event):
                if state.latest_context.get(feature, (0, "")) < (event.event_ts, text):
                    state.latest_context[feature] = (event.event_ts, text)
                bits |= feature_bits
        return bits

    def evaluate_uncertain(self, shopper_id: str, shopper: Shopper, now_ms: int) -> None:
        """Evaluate every rule for a shopper that was marked so."""
        if shopper.rule_state is None or shopper.rule_state.next_check_ms == RECHECK_ALL:
            self.evaluator.evaluate_all(shopper_id, shopper, now_ms)

    def merge(
        self,
        shopper_id: str,
        shopper: Shopper,
        other: Shopper,
        clock_ms: int,
        *,
        is_same: bool = False,
    ) -> None:
        """Merge what rules keep of another shopper into this one, whose profile is merged already.

        With `is_same` both have the same id, so the shopper is in every segment that either was in.
        """
        other_state, window_kinds = other.rule_state, self.rules.window_kinds
        now_ms = max(clock_ms, shopper.last_ms)
        state = shopper.rule_state
        if state is None:
            state = shopper.rule_state = RuleState()
        if other_state is not None:
            for key, window in other_state.windows.items():
                own_window = state.windows.get(key)
                if own_window is None:
                    state.windows[key] = window
                elif key in window_kinds:
                    state.windows[key] = window_kinds[key].merge(own_window, window, now_ms)
            for feature, text in other_state.latest_context.items():
                state.latest_context[feature] = max(text, state.latest_context.get(feature, text))
            if is_same:
                state.members = other_state.members | state.members
        self.evaluator.evaluate_all(shopper_id, shopper, now_ms)

    def add_refund_difference(
        self, shopper_id: str, shopper: Shopper, amount: int, at_ms: int
    ) -> None:
        """Subtract what refunds that came before their order gave back beyond what they were
        counted with.

        Called before the order is counted; the order then evaluates every rule.
        """
        state = shopper.rule_state
        if state is not None:
            add_refund_difference(
                self.rules.window_kinds, state, amount, at_ms, max(at_ms, shopper.last_ms)
            )
            state.next_check_ms = RECHECK_ALL

    def flush(self) -> None:
        """Every event is evaluated at once."""

    def track(self, shopper_id: str, shopper: Shopper) -> None:
        self.evaluator.track(shopper_id, shopper)

    def advance_all(self, shoppers: dict[str, Shopper], clock_ms: int) -> list[str]:
        return self.evaluator.advance_all(shoppers, clock_ms)

    def evaluate_all(self, shopper_id: str, shopper: Shopper, now_ms: int) -> None:
        self.evaluator.evaluate_all(shopper_id, shopper, now_ms)

    def refresh(self, shopper_id: str, shopper: Shopper) -> None:
        """The shopper itself is read."""

    def attach_state(self, shopper_id: str, shopper: Shopper) -> None:
        """The state is always in the shopper."""

    detach_state = unload = attach_state

    def unload_at(self, shopper_id: str, shopper: Shopper, clock_ms: int) -> None:
        self.evaluator.advance_shopper(shopper_id, shopper, clock_ms)

    def remove_from_all(self, shopper_id: str, shopper: Shopper, now_ms: int) -> None:
        """Remove a shopper that is evicted or erased from every segment."""
        self.evaluator.advance_shopper(shopper_id, shopper, now_ms)
        state = shopper.rule_state
        if state is not None:
            self.evaluator.transitions += [
                Transition(shopper_id, segment_id, False, now_ms) for segment_id in state.members
            ]
            state.members, state.next_check_ms_by_rule, state.next_check_ms = {}, {}, RECHECK_ALL

    def untrack(self, shopper_id: str, shopper: Shopper) -> list[Transition]:
        """Retract the transitions of a shopper who ends in this batch.

        The list that this returns is filled by `split_off_retracted`.
        """
        state = shopper.rule_state
        if state is None:
            return []
        state.members, state.next_check_ms_by_rule, state.next_check_ms = {}, {}, RECHECK_ALL
        return self._retractions.retract(shopper_id, len(self.evaluator.transitions))

    def split_off_retracted(self) -> None:
        """Take the retracted transitions out of the batch."""
        self._retractions.split_off(self.evaluator.transitions)


def _new_state(shopper: Shopper) -> RuleState:
    state = shopper.rule_state = RuleState(next_check_ms=RECHECK_ALL)
    return state


def create_reference(rules: RuleSet | None, stored: ShardRulesState) -> ReferenceEngine | None:
    """The engine of a shard; None where there are no rules and none were stored."""
    if rules is None and not stored.digests:
        return None
    return ReferenceEngine(rules or RuleSet((), gap_ms=0), stored)
