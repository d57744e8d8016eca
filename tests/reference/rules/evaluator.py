"""Evaluates the rules of shoppers: records what changes, and keeps the timers.

Where an answer changes with time alone, a timer evaluates the rule again; the change is dated when
it was due, however late the batch. This is the hot path: it changes the state of shoppers in place.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from operators.events.processing_errors import ProcessingErrors
from operators.kernels.rule_layout import FOREVER
from operators.tables.timers import Timers
from state.entries import Transition
from state.shopper import RECHECK_ALL, RuleState

if TYPE_CHECKING:
    from state.shopper import Shopper
    from tests.reference.rules.compiler import ReferenceRules, RulesToEvaluate

TIMERS_PER_SHOPPER = 4
TIMERS_MIN = 100
"""With more timers than this they are set again, one a shopper: some are of shoppers who are gone."""

_BY_TIME_AND_SHOPPER = attrgetter("at_ms", "shopper")


class ReferenceEvaluator:
    """Evaluates the rules of one shard; `transitions` are those of the current batch."""

    def __init__(self, rules: ReferenceRules) -> None:
        self.rules = rules
        self.transitions: list[Transition] = []
        self.processing_errors = ProcessingErrors("segments")
        self._timers = Timers()

    def track(self, shopper_id: str, shopper: Shopper) -> None:
        """Set the timer of a shopper that was restored."""
        state = shopper.rule_state
        if state is not None and state.next_check_ms > 0:
            self._timers.add(state.next_check_ms, shopper_id)

    def advance_all(self, rows: dict[str, Shopper], clock_ms: int) -> list[str]:
        """Advance the clock of all shoppers; returns those whose memberships changed."""
        if len(self._timers) > TIMERS_PER_SHOPPER * len(rows) + TIMERS_MIN:
            # Timers of shoppers who left, and of answers that changed since, may be due in weeks.
            self._timers = Timers()
            for shopper_id, row in rows.items():
                self.track(shopper_id, row)
        changed_ids: list[str] = []
        first = len(self.transitions)
        for shopper_id in self._timers.take_due(clock_ms + 1):
            shopper = rows.get(shopper_id)
            state = None if shopper is None else shopper.rule_state
            if shopper is None or state is None or not 0 < state.next_check_ms <= clock_ms:
                continue
            transitions_before = len(self.transitions)
            try:
                self._fire_timers(shopper_id, shopper, state, clock_ms)
            except Exception:
                self.mark_uncertain("due", shopper_id, state)
            if len(self.transitions) > transitions_before:
                changed_ids.append(shopper_id)
        # Sorted by when they were due: after a resume shoppers are evaluated in another order.
        self.transitions[first:] = sorted(self.transitions[first:], key=_BY_TIME_AND_SHOPPER)
        return changed_ids

    def advance_shopper(self, shopper_id: str, shopper: Shopper, clock_ms: int) -> None:
        """Advance the clock of one shopper, before anything of it changes at that time."""
        state = shopper.rule_state
        if state is not None and 0 < state.next_check_ms <= clock_ms:
            self._fire_timers(shopper_id, shopper, state, clock_ms)

    def evaluate_all(self, shopper_id: str, shopper: Shopper, now_ms: int) -> None:
        """Evaluate every rule for a shopper."""
        state = shopper.rule_state
        if state is None:
            state = shopper.rule_state = RuleState()
        state.next_check_ms_by_rule, state.next_check_ms = {}, 0
        self.evaluate(
            self.rules.rules_in(self.rules.rules.all_bits), shopper_id, shopper, state, now_ms
        )

    def _fire_timers(
        self, shopper_id: str, shopper: Shopper, state: RuleState, clock_ms: int
    ) -> None:
        """Evaluate the rules of a shopper that are due, in the order in which they are due."""
        rules = self.rules
        while 0 < state.next_check_ms <= clock_ms:
            now_ms, dues = state.next_check_ms, state.next_check_ms_by_rule
            bits = 0
            for digest in [digest for digest, due_ms in dues.items() if due_ms <= now_ms]:
                del dues[digest]
                bits |= rules.bits_by_digest[digest]
            state.next_check_ms = min(dues.values(), default=0)
            self.evaluate(rules.rules_in(bits), shopper_id, shopper, state, now_ms, is_timer=True)
        if state.next_check_ms:
            self._timers.add(state.next_check_ms, shopper_id)

    def evaluate(
        self,
        rules: RulesToEvaluate,
        shopper_id: str,
        shopper: Shopper,
        state: RuleState,
        now_ms: int,
        *,
        is_timer: bool = False,
    ) -> None:
        """Evaluate rules: record what changes, and set a timer where time alone will change an
        answer."""
        members, dues = state.members, state.next_check_ms_by_rule
        for segment_id, digest, evaluate, new_answer in rules:
            is_in = segment_id in members
            if is_in is new_answer:
                continue
            until_ms = evaluate(shopper_id, shopper, state, now_ms)
            if until_ms > 0:
                if not is_in:
                    members[segment_id] = now_ms
                    self.transitions.append(Transition(shopper_id, segment_id, True, now_ms))
            else:
                until_ms = -until_ms
                if is_in:
                    del members[segment_id]
                    self.transitions.append(Transition(shopper_id, segment_id, False, now_ms))
            if until_ms != FOREVER:
                due_ms = dues.get(digest)
                # A timer that is too early does no harm: it evaluates the rule and is set again.
                if due_ms is None or until_ms < due_ms:
                    dues[digest] = until_ms
                    if until_ms < state.next_check_ms or state.next_check_ms <= 0:
                        state.next_check_ms = until_ms
                        if not is_timer:
                            self._timers.add(until_ms, shopper_id)

    def mark_uncertain(self, operation: str, shopper_id: str, state: RuleState | None) -> None:
        """A rule raised outside an event: evaluate all rules again with the shopper's next event.

        The operation is part of a metric label, so `settle` and `due` keep their names.
        """
        self.processing_errors.record(operation, shopper_id)
        if state is not None:
            state.next_check_ms_by_rule, state.next_check_ms = {}, RECHECK_ALL
