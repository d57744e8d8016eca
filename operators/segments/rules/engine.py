"""Memberships of one shard's shoppers in segments by rule, right at every moment of their clock.

A shopper's clock is how far event time has come for everybody, at least its own newest event. An answer
that changes with time alone is a timer; its change is dated when it was due, however late the batch.
Hot: it changes the shoppers' state in place.
"""

from __future__ import annotations

from bisect import bisect_right
from operator import itemgetter
from typing import TYPE_CHECKING

from operators.events.processing_errors import ProcessingErrors
from operators.segments.rules.compiler import LATEST_OF, RuleSet, merge_window
from operators.segments.rules.conditions import FOREVER, session_at
from operators.segments.rules.features import FIRST_EVENT, SESSION_START
from operators.segments.rules.window_corrections import add_refund_difference
from operators.segments.rules.windows import add_time
from operators.tables.timers import Timers
from state.shopper import RECHECK_ALL, RuleState
from state.snapshots import ShardRulesState

if TYPE_CHECKING:
    from operators.segments.rules.compiler import RulesToEvaluate
    from state.events import Event
    from state.messages import Transition
    from state.shopper import Shopper

TIMERS_PER_SHOPPER = 4
TIMERS_MIN = 100
"""With more timers than so many they are made anew, one a shopper, from what they are for."""

_BY_TIME_AND_SHOPPER = itemgetter(3, 0)


class RuleEngine:
    """Asks the rules when there is reason to; `transitions` are those of the batch at hand."""

    def __init__(self, rules: RuleSet, stored: ShardRulesState) -> None:
        self.rules = rules
        self.transitions: list[Transition] = []
        self._untracked: dict[str, list[tuple[int, list[Transition]]]] = {}
        self.processing_errors = ProcessingErrors("segments")
        self._timers = Timers()
        self._stored = stored
        self._rules_changed = stored.digests != rules.digests

    def migrate_rules(self, rows: dict[str, Shopper], clock_ms: int) -> bool:
        """Go over to these rules from those that were stored, if they differ: whether that was so.

        Rules that are new or changed are asked of everybody, from what there is; who is in a segment
        before and after has been in it since it entered.
        """
        if not self._rules_changed:
            return False
        rules, stored = self.rules, self._stored
        self._rules_changed = False
        changed_bits = 0
        for n, rule in enumerate(rules.compiled_rules):
            if stored.digests.get(rule.id) != rule.digest:
                changed_bits |= rules.bits_for(n)
        removed_ids = stored.digests.keys() - rules.digests.keys()
        windows = {
            key: _filled_since(stored.windows.get(key), entries_max, clock_ms)
            for key, entries_max in rules.windows_needed().items()
        }
        self._stored = ShardRulesState(rules.digests, windows)
        # In an order of its own: that of the rows depends on when they were stored.
        for shopper_id, shopper in sorted(rows.items()):
            if not shopper.events:
                continue
            try:
                self._migrate_shopper(shopper_id, shopper, clock_ms, removed_ids, changed_bits)
            except Exception:
                self._mark_uncertain("settle", shopper_id, shopper.rule_state)
        return True

    def _migrate_shopper(
        self,
        shopper_id: str,
        shopper: Shopper,
        clock_ms: int,
        removed_ids: set[str],
        changed_bits: int,
    ) -> None:
        """Go over to these rules with one shopper: `removed_ids` are segments, `changed` the bits
        of rules."""
        state, rules = shopper.rule_state, self.rules
        now_ms = max(clock_ms, shopper.last_ms)
        if state is None or state.next_check_ms == RECHECK_ALL:
            self.evaluate_all(shopper_id, shopper, now_ms)
            return
        for segment_id in sorted(removed_ids & state.members.keys()):
            del state.members[segment_id]
            self.transitions.append((shopper_id, segment_id, False, now_ms))
        state.windows = {
            key: window for key, window in state.windows.items() if key in rules.window_kinds
        }
        state.latest_context = {
            key: text for key, text in state.latest_context.items() if key in rules.latest_text_bits
        }
        state.next_check_ms_by_rule = {
            key: ms
            for key, ms in state.next_check_ms_by_rule.items()
            if key in rules.bits_by_digest
        }
        state.next_check_ms = min(state.next_check_ms_by_rule.values(), default=0)
        if state.next_check_ms:
            self._timers.add(state.next_check_ms, shopper_id)
        self._evaluate(rules.rules_in(changed_bits), shopper_id, shopper, state, now_ms)

    def _mark_uncertain(self, operation: str, shopper_id: str, state: RuleState | None) -> None:
        """A rule raised where no event is to blame: its shopper is asked anew with its next event."""
        self.processing_errors.record(operation, shopper_id)
        if state is not None:
            state.next_check_ms_by_rule, state.next_check_ms = {}, RECHECK_ALL

    def to_state(self) -> ShardRulesState:
        """What a snapshot holds beside the shoppers."""
        return self._stored

    def windows_filled_ms(self, rule_id: str) -> int:
        """Since when (ms) all that a segment's rule looks at has been kept; 0 if it always was."""
        needed = self.rules.windows_needed_by(rule_id)
        return max((self._stored.windows[key][0] for key in needed), default=0)

    def track(self, shopper_id: str, shopper: Shopper) -> None:
        """Go on with the timers of a shopper that was stored."""
        state = shopper.rule_state
        if state is not None and state.next_check_ms > 0:
            self._timers.add(state.next_check_ms, shopper_id)

    def advance_all(self, rows: dict[str, Shopper], clock_ms: int) -> list[str]:
        """Let time pass for all; who changed."""
        if len(self._timers) > TIMERS_PER_SHOPPER * len(rows) + TIMERS_MIN:
            # Of those who left, and of answers that changed meanwhile, some would wait for weeks.
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
                self._mark_uncertain("due", shopper_id, state)
            if len(self.transitions) > transitions_before:
                changed_ids.append(shopper_id)
        # By when they were due: when somebody was asked is another matter after a resume.
        self.transitions[first:] = sorted(self.transitions[first:], key=_BY_TIME_AND_SHOPPER)
        return changed_ids

    def advance_shopper(self, shopper_id: str, shopper: Shopper, clock_ms: int) -> None:
        """Let time pass for one shopper, before anything is changed at that time."""
        state = shopper.rule_state
        if state is not None and 0 < state.next_check_ms <= clock_ms:
            self._fire_timers(shopper_id, shopper, state, clock_ms)

    def advance_to(self, shopper_id: str, shopper: Shopper, now_ms: int, at_ms: int) -> bool:
        """Let time pass for a shopper of whom an event came; whether a session goes on then."""
        self.advance_shopper(shopper_id, shopper, max(now_ms, at_ms - 1))
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
        """Take in an event that the profile counts already; `begins_session` if a session did, or
        did again."""
        rules, at_ms, last_ms = self.rules, event.event_ts, shopper.last_ms
        now_ms = clock_ms if clock_ms > last_ms else last_ms
        state = shopper.rule_state or _new_state(shopper)
        bits, late_bits, time_windows, recorders, conditional, thresholds = rules.dispatch_tables[
            event.type
        ].dispatch_of(event)
        is_newest, windows, packed = at_ms == last_ms, state.windows, at_ms.to_bytes(8, "big")
        if not is_newest:
            bits = late_bits
        for key, size in time_windows:
            window = windows.get(key, b"")
            # All that is kept of the shopper is as old as its newest event, or older.
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
            bits |= bits_by_number.get(count_of(shopper), 0)
        if begins_session:
            bits |= rules.bits_by_event[SESSION_START]
        if at_ms == shopper.first_ms:
            bits |= rules.bits_by_event[FIRST_EVENT]
        if rules.reads_shopper_texts:
            bits |= self._update_latest_texts(state, event)
        if state.next_check_ms == RECHECK_ALL:
            self.evaluate_all(shopper_id, shopper, now_ms)
        elif bits:
            self._evaluate(rules.rules_in(bits), shopper_id, shopper, state, now_ms)

    def _update_latest_texts(self, state: RuleState, event: Event) -> int:
        """Note what an event says of device, country and campaign; the rules that ask for it, and
        for what it says of consent."""
        bits = 0 if event.consent is None else self.rules.consent_bits
        for feature, feature_bits in self.rules.latest_text_bits.items():
            if text := LATEST_OF[feature](event):
                if state.latest_context.get(feature, (0, "")) < (event.event_ts, text):
                    state.latest_context[feature] = (event.event_ts, text)
                bits |= feature_bits
        return bits

    def evaluate_all(self, shopper_id: str, shopper: Shopper, now_ms: int) -> None:
        """Ask every rule, whatever was known."""
        state = shopper.rule_state
        if state is None:
            state = shopper.rule_state = RuleState()
        state.next_check_ms_by_rule, state.next_check_ms = {}, 0
        self._evaluate(self.rules.rules_in(self.rules.all_bits), shopper_id, shopper, state, now_ms)

    def evaluate_uncertain(self, shopper_id: str, shopper: Shopper, now_ms: int) -> None:
        """Ask every rule about a shopper of whom nothing is sure."""
        if shopper.rule_state is None or shopper.rule_state.next_check_ms == RECHECK_ALL:
            self.evaluate_all(shopper_id, shopper, now_ms)

    def merge(
        self,
        shopper_id: str,
        shopper: Shopper,
        other: Shopper,
        clock_ms: int,
        *,
        is_same: bool = False,
    ) -> None:
        """Take over what rules keep of another shopper; the profiles are one already.

        Of one of the same name all is told under that name: it is in what either was in.
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
                    state.windows[key] = merge_window(window_kinds[key], own_window, window, now_ms)
            for feature, text in other_state.latest_context.items():
                state.latest_context[feature] = max(text, state.latest_context.get(feature, text))
            if is_same:
                state.members = other_state.members | state.members
        self.evaluate_all(shopper_id, shopper, now_ms)

    def add_refund_difference(self, shopper: Shopper, amount: int, at_ms: int) -> None:
        """An order that came, and is about to be counted, gave back so much more than its refunds told
        before it; every rule is asked then."""
        state = shopper.rule_state
        if state is not None:
            add_refund_difference(
                self.rules.window_kinds, state, amount, at_ms, max(at_ms, shopper.last_ms)
            )
            state.next_check_ms = RECHECK_ALL

    def remove_from_all(self, shopper_id: str, shopper: Shopper, now_ms: int) -> None:
        """Take a shopper that is no longer here out of every segment."""
        self.advance_shopper(shopper_id, shopper, now_ms)
        state = shopper.rule_state
        if state is not None:
            self.transitions += [
                (shopper_id, segment_id, False, now_ms) for segment_id in state.members
            ]
            state.members, state.next_check_ms_by_rule, state.next_check_ms = {}, {}, RECHECK_ALL

    def untrack(self, shopper_id: str, state: RuleState) -> list[Transition]:
        """A shopper is no more: what was told of it in this batch is taken back, and is in what this
        gives after `split_off_retracted`."""
        retracted: list[Transition] = []
        self._untracked.setdefault(shopper_id, []).append((len(self.transitions), retracted))
        state.members, state.next_check_ms_by_rule, state.next_check_ms = {}, {}, RECHECK_ALL
        return retracted

    def split_off_retracted(self) -> None:
        """Take out what was told of shoppers before they were no more, in one pass over the batch."""
        if not self._untracked:
            return
        remaining: list[Transition] = []
        for n, transition in enumerate(self.transitions):
            untracked = self._untracked.get(transition[0], ())
            first = bisect_right(untracked, n, key=itemgetter(0))
            (untracked[first][1] if first < len(untracked) else remaining).append(transition)
        self.transitions[:] = remaining
        self._untracked.clear()

    def _fire_timers(
        self, shopper_id: str, shopper: Shopper, state: RuleState, clock_ms: int
    ) -> None:
        rules = self.rules
        while 0 < state.next_check_ms <= clock_ms:
            now_ms, dues = state.next_check_ms, state.next_check_ms_by_rule
            bits = 0
            for digest in [digest for digest, due_ms in dues.items() if due_ms <= now_ms]:
                del dues[digest]
                bits |= rules.bits_by_digest[digest]
            state.next_check_ms = min(dues.values(), default=0)
            self._evaluate(rules.rules_in(bits), shopper_id, shopper, state, now_ms, is_timer=True)
        if state.next_check_ms:
            self._timers.add(state.next_check_ms, shopper_id)

    def _evaluate(
        self,
        rules: RulesToEvaluate,
        shopper_id: str,
        shopper: Shopper,
        state: RuleState,
        now_ms: int,
        *,
        is_timer: bool = False,
    ) -> None:
        members, dues = state.members, state.next_check_ms_by_rule
        for segment_id, digest, evaluate, new_answer in rules:
            is_in = segment_id in members
            if is_in is new_answer:
                continue
            until_ms = evaluate(shopper_id, shopper, state, now_ms)
            if until_ms > 0:
                if not is_in:
                    members[segment_id] = now_ms
                    self.transitions.append((shopper_id, segment_id, True, now_ms))
            else:
                until_ms = -until_ms
                if is_in:
                    del members[segment_id]
                    self.transitions.append((shopper_id, segment_id, False, now_ms))
            if until_ms != FOREVER:
                due_ms = dues.get(digest)
                # A timer that is too early does no harm: it asks, and is set anew.
                if due_ms is None or until_ms < due_ms:
                    dues[digest] = until_ms
                    if until_ms < state.next_check_ms or state.next_check_ms <= 0:
                        state.next_check_ms = until_ms
                        if not is_timer:
                            self._timers.add(until_ms, shopper_id)


def _new_state(shopper: Shopper) -> RuleState:
    state = shopper.rule_state = RuleState(next_check_ms=RECHECK_ALL)
    return state


def create_engine(rules: RuleSet | None, stored: ShardRulesState) -> RuleEngine | None:
    """The engine of a shard, None where there are no rules and were none."""
    if rules is None and not stored.digests:
        return None
    return RuleEngine(rules or RuleSet((), gap_ms=0), stored)


def _filled_since(
    stored: tuple[int, int] | None, entries_max: int, clock_ms: int
) -> tuple[int, int]:
    """Since when a window is full: one that was kept with fewer entries may have lost what is needed."""
    if stored is None:
        return clock_ms, entries_max
    since_ms, stored_entries = stored
    return (since_ms if stored_entries >= entries_max else clock_ms), entries_max
