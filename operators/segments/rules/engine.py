"""Memberships of one shard's shoppers in segments by rule, exact at every moment of their clock.

The clock of a shopper is the watermark of the shard, and at least its own newest event. Where an answer
changes with time alone, a timer evaluates the rule again; the change is dated when it was due, however
late the batch.

The engine notes what happens in a log (`event_log`); `flush` has kernels work it off, at the end of a
batch or before anything reads or removes what rules keep of a shopper. Merges, corrections and new rules
work on `Shopper.rule_state` in Python.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np

from operators.events.processing_errors import ProcessingErrors
from operators.kernels import rule_layout as layout
from operators.kernels import rule_log
from operators.segments.rules import rule_changes
from operators.segments.rules.compiler import RuleSet
from operators.segments.rules.event_log import TYPE_NUMBERS, EventLog
from operators.segments.rules.features import session_at
from operators.segments.rules.folded_operations import FoldedOperations
from operators.segments.rules.latest_texts import LatestTexts
from operators.segments.rules.program import compiled
from operators.segments.rules.retractions import RuleRetractions
from operators.segments.rules.rule_rows import RuleRows
from operators.segments.rules.window_corrections import add_refund_difference
from state.entries import Transition
from state.shopper import RECHECK_ALL, RuleState

if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence

    from operators.kernels.shopper_columns import Cells
    from operators.segments.rules.folded_operations import CountedEvents
    from state.events import Event
    from state.shopper import Shopper
    from state.snapshots import ShardRulesState

_BY_TIME_AND_SHOPPER = attrgetter("at_ms", "shopper")
_TRANSITIONS_MIN = 256


class RuleEngine:
    """Keeps the memberships of a shard; `transitions` are those of the current batch."""

    def __init__(self, rules: RuleSet, stored: ShardRulesState) -> None:
        self.rules = rules
        self.transitions: list[Transition] = []
        self.processing_errors = ProcessingErrors("segments")
        self._program = compiled(rules, rule_changes.changed_bits(rules, stored))
        self._latest_texts = LatestTexts(rules.latest_text_bits)
        self._rows = RuleRows(self._program)
        self._log = EventLog(self._program.numbers_logged)
        self._scratch = np.zeros(self._program.scratch_size, np.int64)
        transitions = max(_TRANSITIONS_MIN, 4 * len(rules.rules))
        self._room = np.zeros((transitions, layout.TRANSITION_SIZE), np.int64)
        self._timers_ms = 0
        self._retractions = RuleRetractions()
        self._stored = stored
        self._rules_changed = stored.digests != rules.digests

    def migrate_rules(self, shoppers: MutableMapping[str, Shopper], clock_ms: int) -> bool:
        """Replace the rules that were stored by these, once; whether they differ.

        Rules that are new or changed are evaluated for every shopper, from what is stored. A
        shopper who is in a segment before and after keeps the time at which it entered.
        """
        if not self._rules_changed:
            return False
        rules, stored = self.rules, self._stored
        self._rules_changed = False
        removed_ids = stored.digests.keys() - rules.digests.keys()
        self._stored = rule_changes.updated_state(rules, stored, clock_ms)
        # Sorted: the order of rows depends on when they were stored.
        for shopper_id, shopper in sorted(shoppers.items()):
            if not shopper.events:
                continue
            try:
                self._migrate_shopper(shopper_id, shopper, clock_ms, removed_ids)
            except Exception:
                self.processing_errors.record("settle", shopper_id)
                self._recheck_later(shopper_id, shopper)
        self.flush()
        return True

    def _migrate_shopper(
        self, shopper_id: str, shopper: Shopper, clock_ms: int, removed_ids: set[str]
    ) -> None:
        """Replace the rules for one shopper; `removed_ids` are segments."""
        state, now_ms = shopper.rule_state, max(clock_ms, shopper.last_ms)
        if state is None or state.next_check_ms == RECHECK_ALL:
            self.evaluate_all(shopper_id, shopper, now_ms)
            return
        for segment_id in sorted(removed_ids & state.members.keys()):
            del state.members[segment_id]
            self.transitions.append(Transition(shopper_id, segment_id, False, now_ms))
        rule_changes.drop_unused(self.rules, state)
        row = self._rows.load(shopper_id, shopper)
        columns = self._rows.read(row, shopper)
        self._log.add(layout.EVALUATE_CHANGED, row, now_ms, columns)
        self.flush()

    def _recheck_later(self, shopper_id: str, shopper: Shopper) -> None:
        """A rule raised outside an event: evaluate all rules again with the shopper's next event."""
        self._rows.release(shopper_id)
        state = shopper.rule_state
        if state is not None:
            state.next_check_ms_by_rule, state.next_check_ms = {}, RECHECK_ALL

    def to_state(self) -> ShardRulesState:
        """What a snapshot holds besides the shoppers."""
        return self._stored

    def windows_filled_ms(self, rule_id: str) -> int:
        """Since when (ms) every window that a rule needs is full; 0 if it always was."""
        needed = self.rules.windows_needed_by(rule_id)
        return max((self._stored.windows[key][0] for key in needed), default=0)

    def track(self, shopper_id: str, shopper: Shopper) -> None:
        """Keep the timer of a shopper that comes from a snapshot or from another shard."""
        state = shopper.rule_state
        if state is not None and state.next_check_ms > 0:
            self._rows.track(shopper_id, state.next_check_ms)

    def advance_all(self, shoppers: MutableMapping[str, Shopper], clock_ms: int) -> list[str]:
        """Advance the clock of all shoppers; returns those whose memberships changed."""
        rows = self._rows
        for shopper_id in rows.due_elsewhere(clock_ms):
            try:
                rows.load(shopper_id, shoppers[shopper_id])
            except Exception:
                self.processing_errors.record("due", shopper_id)
                self._recheck_later(shopper_id, shoppers[shopper_id])
        first, block = len(self.transitions), 0
        while block < len(rows.earliest):
            block = rule_log.advance_rows(
                self._program.numbers,
                rows.rows,
                rows.next_check,
                rows.earliest,
                rows.pool,
                rows.heap,
                clock_ms,
                block,
                self._room,
                self._scratch,
            )
            self._take_transitions()
        # Sorted by when they were due: after a resume shoppers are evaluated in another order.
        fired = sorted(self.transitions[first:], key=_BY_TIME_AND_SHOPPER)
        self.transitions[first:] = fired
        return [*dict.fromkeys(transition.shopper for transition in fired)]

    def advance_to(self, shopper_id: str, shopper: Shopper, now_ms: int, at_ms: int) -> bool:
        """Prepare a shopper for an event of it; whether a session goes on then.

        Called before the event changes the shopper: its timers see what was before.
        """
        if shopper.rule_state is not None or shopper_id not in self._rows.row_of:
            self._rows.load(shopper_id, shopper)
        self._timers_ms = max(now_ms, at_ms - 1)
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
        """Note an event that the profile counts; with `begins_session` it began or joined one."""
        rules, rows, log = self.rules, self._rows, self._log
        row, additions_before = rows.row_of[shopper_id], len(log.additions)
        try:
            dispatch = rules.dispatch_tables[event.type].dispatch_of(event)
            log.additions += dispatch.additions_of(event)
            flags = layout.BEGINS_SESSION if begins_session else 0
            if rules.reads_shopper_texts:
                latest = rows.latest[row]
                assert latest is not None
                flags |= self._latest_texts.update(latest, event)
            log.add_event(
                row,
                event.event_ts,
                clock_ms,
                flags,
                TYPE_NUMBERS[event.type],
                rows.read(row, shopper),
            )
        except Exception:
            del log.additions[additions_before:]
            raise

    @property
    def fold_columns(self) -> Cells:
        """The columns that the fold writes of a shopper with each event."""
        return self._program.fold_columns

    def is_loaded(self, shopper_id: str) -> bool:
        """Whether a shopper's state is here; else `load` it before its events are folded."""
        return self._rows.is_loaded(shopper_id)

    def load(self, shopper_id: str, shopper: Shopper) -> None:
        """Take the state out of a shopper."""
        self._rows.load(shopper_id, shopper)

    def begin(self, shopper_ids: list[str]) -> None:
        """Make rows of new shoppers."""
        self._rows.begin(shopper_ids)

    @property
    def asks_truths(self) -> bool:
        """Whether a rule asks for a text or a consent of shoppers."""
        return bool(self._program.truths)

    def operations_of(
        self, counted: CountedEvents, numbers: Sequence[int]
    ) -> FoldedOperations | None:
        """What `log_folded` takes of events that the fold has counted."""
        errors = self.processing_errors
        try:
            operations = FoldedOperations(
                self._program, self._rows, self._latest_texts, counted, numbers, errors
            )
        except Exception:
            errors.record("settle")
            self._rows.recheck(counted.names)
            return None
        self._rows.recheck(operations.failed_names)
        return operations

    def log_folded(self, operations: FoldedOperations, number: int) -> None:
        """Note those of the folded events before a number."""
        operations.append_until(self._log, number)

    def refresh(self, shopper_id: str, shopper: Shopper) -> None:
        """Note that a profile changed without an event: later timers see it."""
        row = self._rows.row_of.get(shopper_id)
        if row is not None and self._rows.latest[row] is not None:
            self._log.add(layout.REFRESH, row, 0, self._rows.read(row, shopper))

    def evaluate_all(self, shopper_id: str, shopper: Shopper, now_ms: int) -> None:
        """Evaluate every rule for a shopper."""
        row = self._rows.load(shopper_id, shopper)
        self._log.add(layout.EVALUATE_ALL, row, now_ms, self._rows.read(row, shopper))

    def evaluate_uncertain(self, shopper_id: str, shopper: Shopper, now_ms: int) -> None:
        """Evaluate every rule for a shopper whose rules have to be evaluated."""
        row = self._rows.load(shopper_id, shopper)
        self.flush()
        if self._rows.next_check[row] == RECHECK_ALL:
            self.evaluate_all(shopper_id, shopper, now_ms)

    def flush(self) -> None:
        """Work off the log."""
        if not self._log:
            return
        rows, position, (log, additions) = self._rows, 0, self._log.take()
        while position < len(log):
            if rows.heap[layout.HEAP_TOP] + self._program.slots_per_event > len(rows.pool):
                rows.grow_pool()
            position = rule_log.process_log(
                self._program.numbers,
                rows.rows,
                rows.next_check,
                rows.earliest,
                rows.pool,
                rows.heap,
                log,
                additions,
                position,
                self._room,
                self._scratch,
            )
            self._take_transitions()

    def _take_transitions(self) -> None:
        count = self._rows.heap[layout.HEAP_TRANSITIONS]
        names, ids = self._rows.names, self._program.ids
        self.transitions += [
            Transition(names[row], ids[rule], entered == 1, at_ms)
            for row, rule, entered, at_ms in self._room[:count].tolist()
        ]
        self._rows.heap[layout.HEAP_TRANSITIONS] = 0

    def attach_state(self, shopper_id: str, shopper: Shopper) -> None:
        """Put what is stored of a shopper into its `rule_state`; `detach_state` takes it out again."""
        self.flush()
        state = self._rows.store(shopper_id)
        if state is not None:
            shopper.rule_state = state

    def detach_state(self, shopper_id: str, shopper: Shopper) -> None:
        """Take a state out of a shopper that is in a row."""
        row = self._rows.row_of.get(shopper_id)
        if row is not None and self._rows.latest[row] is not None:
            shopper.rule_state = None

    def unload(self, shopper_id: str, shopper: Shopper) -> None:
        """Put the state of a shopper that is changed elsewhere or goes away into its `rule_state`."""
        self.attach_state(shopper_id, shopper)
        self._rows.release(shopper_id)

    def unload_at(self, shopper_id: str, shopper: Shopper, clock_ms: int) -> None:
        """The same, after its clock is advanced."""
        row = self._rows.load(shopper_id, shopper)
        self._log.add(layout.ADVANCE, row, clock_ms)
        self.unload(shopper_id, shopper)

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
        self.evaluate_all(shopper_id, shopper, now_ms)

    def add_refund_difference(
        self, shopper_id: str, shopper: Shopper, amount: int, at_ms: int
    ) -> None:
        """Subtract what refunds that came before their order gave back beyond what they were
        counted with.

        Called before the order is counted; the order then evaluates every rule. Timers that are due
        before it see what was before.
        """
        self.unload_at(shopper_id, shopper, self._timers_ms)
        state = shopper.rule_state
        if state is not None:
            add_refund_difference(
                self.rules.window_kinds, state, amount, at_ms, max(at_ms, shopper.last_ms)
            )
            state.next_check_ms = RECHECK_ALL
        self._rows.load(shopper_id, shopper)

    def remove_from_all(self, shopper_id: str, shopper: Shopper, now_ms: int) -> None:
        """Remove a shopper that is evicted from every segment."""
        if shopper.rule_state is None and shopper_id not in self._rows.row_of:
            return
        self.unload_at(shopper_id, shopper, now_ms)
        state = shopper.rule_state
        if state is not None:
            self.transitions += [
                Transition(shopper_id, segment_id, False, now_ms) for segment_id in state.members
            ]
            state.members, state.next_check_ms_by_rule, state.next_check_ms = {}, {}, RECHECK_ALL

    def untrack(self, shopper_id: str, shopper: Shopper) -> list[Transition]:
        """Retract the transitions of a shopper who ends in this batch.

        The list that this returns is filled by `split_off_retracted`.
        """
        self.unload(shopper_id, shopper)
        state = shopper.rule_state
        if state is None:
            return []
        state.members, state.next_check_ms_by_rule, state.next_check_ms = {}, {}, RECHECK_ALL
        return self._retractions.retract(shopper_id, len(self.transitions))

    def split_off_retracted(self) -> None:
        """Take the retracted transitions out of the batch."""
        self._retractions.split_off(self.transitions)


def create_engine(rules: RuleSet | None, stored: ShardRulesState) -> RuleEngine | None:
    """The engine of a shard; None where there are no rules and none were stored."""
    if rules is None and not stored.digests:
        return None
    return RuleEngine(rules or RuleSet((), gap_ms=0), stored)
