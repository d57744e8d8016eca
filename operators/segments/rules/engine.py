"""Memberships of one shard's shoppers in segments by rule, right at every moment of their clock.

A shopper's clock is how far event time has come for everybody, at least its own newest event. An answer
that changes with time alone is a timer; its change is dated when it was due, however late the batch.
Hot: it changes the shoppers' state in place.
"""

from __future__ import annotations

from bisect import bisect_right
from operator import itemgetter
from typing import TYPE_CHECKING

from operators.events.processing_errors import Faults
from operators.segments.rules.compiler import LATEST_OF, RuleSet, merge_window
from operators.segments.rules.conditions import EVER, session_of
from operators.segments.rules.features import FIRST, SESSION_BEGINS
from operators.segments.rules.window_corrections import give_back
from operators.segments.rules.windows import add_time
from operators.tables.timers import Timers
from state.shopper import UNSURE, RuleState
from state.snapshots import RulesState

if TYPE_CHECKING:
    from operators.segments.rules.compiler import Asked
    from state.events import Event
    from state.messages import Transition
    from state.shopper import Shopper

TIMERS_A_ROW = 4
TIMERS_MIN = 100
"""With more timers than so many they are made anew, one a shopper, from what they are for."""

_WHEN_AND_WHO = itemgetter(3, 0)


class Engine:
    """Asks the rules when there is reason to; `transitions` are those of the batch at hand."""

    def __init__(self, rules: RuleSet, stored: RulesState) -> None:
        self.rules = rules
        self.transitions: list[Transition] = []
        self._parted: dict[str, list[tuple[int, list[Transition]]]] = {}
        self.faults = Faults("segments")
        self._timers = Timers()
        self._stored = stored
        self._is_new = stored.digests != rules.digests

    def settle(self, rows: dict[str, Shopper], clock_ms: int) -> bool:
        """Go over to these rules from those that were stored, if they differ: whether that was so.

        Rules that are new or changed are asked of everybody, from what there is; who is in a segment
        before and after has been in it since it entered.
        """
        if not self._is_new:
            return False
        rules, stored = self.rules, self._stored
        self._is_new = False
        changed = 0
        for n, one in enumerate(rules.compiled):
            if stored.digests.get(one.id) != one.digest:
                changed |= rules.bits(n)
        gone = stored.digests.keys() - rules.digests.keys()
        windows = {
            key: _filled(stored.windows.get(key), most, clock_ms)
            for key, most in rules.needs().items()
        }
        self._stored = RulesState(rules.digests, windows)
        # In an order of its own: that of the rows depends on when they were stored.
        for name, shopper in sorted(rows.items()):
            if not shopper.events:
                continue
            try:
                self._go_over(name, shopper, clock_ms, gone, changed)
            except Exception:
                self._give_up_on("settle", name, shopper.rules)
        return True

    def _go_over(
        self, name: str, shopper: Shopper, clock_ms: int, gone: set[str], changed: int
    ) -> None:
        """Go over to these rules with one shopper: `gone` are segments, `changed` the bits of rules."""
        state, rules = shopper.rules, self.rules
        now_ms = max(clock_ms, shopper.last_ms)
        if state is None or state.due_ms == UNSURE:
            self.ask_all(name, shopper, now_ms)
            return
        for sid in sorted(gone & state.members.keys()):
            del state.members[sid]
            self.transitions.append((name, sid, False, now_ms))
        state.windows = {key: w for key, w in state.windows.items() if key in rules.kinds}
        state.latest = {key: w for key, w in state.latest.items() if key in rules.latest}
        state.dues = {key: ms for key, ms in state.dues.items() if key in rules.bits_of}
        state.due_ms = min(state.dues.values(), default=0)
        if state.due_ms:
            self._timers.add(state.due_ms, name)
        self._ask(rules.of_bits(changed), name, shopper, state, now_ms)

    def _give_up_on(self, what: str, name: str, state: RuleState | None) -> None:
        """A rule raised where no event is to blame: its shopper is asked anew with its next event."""
        self.faults.note(what, name)
        if state is not None:
            state.dues, state.due_ms = {}, UNSURE

    def stored(self) -> RulesState:
        """What a snapshot holds beside the shoppers."""
        return self._stored

    def filled_ms(self, sid: str) -> int:
        """Since when (ms) all that a segment's rule looks at has been kept; 0 if it always was."""
        needed = self.rules.needs_of(sid)
        return max((self._stored.windows[key][0] for key in needed), default=0)

    def follow(self, name: str, shopper: Shopper) -> None:
        """Go on with the timers of a shopper that was stored."""
        state = shopper.rules
        if state is not None and state.due_ms > 0:
            self._timers.add(state.due_ms, name)

    def due(self, rows: dict[str, Shopper], clock_ms: int) -> list[str]:
        """Let time pass for all; who changed."""
        if len(self._timers) > TIMERS_A_ROW * len(rows) + TIMERS_MIN:
            # Of those who left, and of answers that changed meanwhile, some would wait for weeks.
            self._timers = Timers()
            for known, row in rows.items():
                self.follow(known, row)
        changed: list[str] = []
        first = len(self.transitions)
        for name in self._timers.due(clock_ms + 1):
            shopper = rows.get(name)
            state = None if shopper is None else shopper.rules
            if shopper is None or state is None or not 0 < state.due_ms <= clock_ms:
                continue
            before = len(self.transitions)
            try:
                self._pass(name, shopper, state, clock_ms)
            except Exception:
                self._give_up_on("due", name, state)
            if len(self.transitions) > before:
                changed.append(name)
        # By when they were due: when somebody was asked is another matter after a resume.
        self.transitions[first:] = sorted(self.transitions[first:], key=_WHEN_AND_WHO)
        return changed

    def advance(self, name: str, shopper: Shopper, clock_ms: int) -> None:
        """Let time pass for one shopper, before anything is changed at that time."""
        state = shopper.rules
        if state is not None and 0 < state.due_ms <= clock_ms:
            self._pass(name, shopper, state, clock_ms)

    def reach(self, name: str, shopper: Shopper, now_ms: int, at_ms: int) -> bool:
        """Let time pass for a shopper of whom an event came; whether a session goes on then."""
        self.advance(name, shopper, max(now_ms, at_ms - 1))
        newest_ms = max(now_ms, at_ms, shopper.last_ms)
        return session_of(shopper, newest_ms, self.rules.gap_ms) is not None

    def count(
        self, name: str, shopper: Shopper, event: Event, clock_ms: int, *, begins: bool
    ) -> None:
        """Take in an event that the profile counts already; `begins` if a session did, or did again."""
        rules, at_ms, last_ms = self.rules, event.event_ts, shopper.last_ms
        now_ms = clock_ms if clock_ms > last_ms else last_ms
        state = shopper.rules or _new_state(shopper)
        touched, late, times, notes, tested, turns = rules.plans[event.type].of(event)
        is_newest, kept, packed = at_ms == last_ms, state.windows, at_ms.to_bytes(8, "big")
        if not is_newest:
            touched = late
        for key, size in times:
            window = kept.get(key, b"")
            # All that is kept of the shopper is as old as its newest event, or older.
            kept[key] = (window + packed)[-size:] if is_newest else add_time(window, packed, size)
        for note in notes:
            note(kept, event, packed, now_ms)
        for test, note, touches, touches_late in tested:
            if test(event):
                note(kept, event, packed, now_ms)
                touched |= touches if is_newest else touches_late
        for counted, numbers in turns:
            touched |= numbers.get(counted(shopper), 0)
        if begins:
            touched |= rules.touched[SESSION_BEGINS]
        if at_ms == shopper.first_ms:
            touched |= rules.touched[FIRST]
        if rules.hears:
            touched |= self._hear(state, event)
        if state.due_ms == UNSURE:
            self.ask_all(name, shopper, now_ms)
        elif touched:
            self._ask(rules.of_bits(touched), name, shopper, state, now_ms)

    def _hear(self, state: RuleState, event: Event) -> int:
        """Note what an event says of device, country and campaign; the rules that ask for it, and
        for what it says of consent."""
        bits = 0 if event.consent is None else self.rules.consent
        for feature, asking in self.rules.latest.items():
            if text := LATEST_OF[feature](event):
                if state.latest.get(feature, (0, "")) < (event.event_ts, text):
                    state.latest[feature] = (event.event_ts, text)
                bits |= asking
        return bits

    def ask_all(self, name: str, shopper: Shopper, now_ms: int) -> None:
        """Ask every rule, whatever was known."""
        state = shopper.rules
        if state is None:
            state = shopper.rules = RuleState()
        state.dues, state.due_ms = {}, 0
        self._ask(self.rules.of_bits(self.rules.all), name, shopper, state, now_ms)

    def ask_unsure(self, name: str, shopper: Shopper, now_ms: int) -> None:
        """Ask every rule about a shopper of whom nothing is sure."""
        if shopper.rules is None or shopper.rules.due_ms == UNSURE:
            self.ask_all(name, shopper, now_ms)

    def merge(
        self, name: str, shopper: Shopper, other: Shopper, clock_ms: int, *, is_same: bool = False
    ) -> None:
        """Take over what rules keep of another shopper; the profiles are one already.

        Of one of the same name all is told under that name: it is in what either was in.
        """
        theirs, kinds = other.rules, self.rules.kinds
        now_ms = max(clock_ms, shopper.last_ms)
        state = shopper.rules
        if state is None:
            state = shopper.rules = RuleState()
        if theirs is not None:
            for key, window in theirs.windows.items():
                own = state.windows.get(key)
                if own is None:
                    state.windows[key] = window
                elif key in kinds:
                    state.windows[key] = merge_window(kinds[key], own, window, now_ms)
            for feature, said in theirs.latest.items():
                state.latest[feature] = max(said, state.latest.get(feature, said))
            if is_same:
                state.members = theirs.members | state.members
        self.ask_all(name, shopper, now_ms)

    def give_back(self, shopper: Shopper, amount: int, at_ms: int) -> None:
        """An order that came, and is about to be counted, gave back so much more than its refunds told
        before it; every rule is asked then."""
        state = shopper.rules
        if state is not None:
            give_back(self.rules.kinds, state, amount, at_ms, max(at_ms, shopper.last_ms))
            state.due_ms = UNSURE

    def leave_all(self, name: str, shopper: Shopper, now_ms: int) -> None:
        """Take a shopper that is no longer here out of every segment."""
        self.advance(name, shopper, now_ms)
        state = shopper.rules
        if state is not None:
            self.transitions += [(name, sid, False, now_ms) for sid in state.members]
            state.members, state.dues, state.due_ms = {}, {}, UNSURE

    def part_with(self, name: str, state: RuleState) -> list[Transition]:
        """A shopper is no more: what was told of it in this batch is taken back, and is in what this
        gives after `settle_parted`."""
        told: list[Transition] = []
        self._parted.setdefault(name, []).append((len(self.transitions), told))
        state.members, state.dues, state.due_ms = {}, {}, UNSURE
        return told

    def settle_parted(self) -> None:
        """Take out what was told of shoppers before they were no more, in one pass over the batch."""
        if not self._parted:
            return
        kept: list[Transition] = []
        for n, one in enumerate(self.transitions):
            parted = self._parted.get(one[0], ())
            first = bisect_right(parted, n, key=itemgetter(0))
            (parted[first][1] if first < len(parted) else kept).append(one)
        self.transitions[:] = kept
        self._parted.clear()

    def _pass(self, name: str, shopper: Shopper, state: RuleState, clock_ms: int) -> None:
        rules = self.rules
        while 0 < state.due_ms <= clock_ms:
            now_ms, dues = state.due_ms, state.dues
            bits = 0
            for digest in [digest for digest, due_ms in dues.items() if due_ms <= now_ms]:
                del dues[digest]
                bits |= rules.bits_of[digest]
            state.due_ms = min(dues.values(), default=0)
            self._ask(rules.of_bits(bits), name, shopper, state, now_ms, is_passing=True)
        if state.due_ms:
            self._timers.add(state.due_ms, name)

    def _ask(
        self,
        asked: Asked,
        name: str,
        shopper: Shopper,
        state: RuleState,
        now_ms: int,
        *,
        is_passing: bool = False,
    ) -> None:
        members, dues = state.members, state.dues
        for sid, digest, ask, makes in asked:
            is_in = sid in members
            if is_in is makes:
                continue
            until_ms = ask(name, shopper, state, now_ms)
            if until_ms > 0:
                if not is_in:
                    members[sid] = now_ms
                    self.transitions.append((name, sid, True, now_ms))
            else:
                until_ms = -until_ms
                if is_in:
                    del members[sid]
                    self.transitions.append((name, sid, False, now_ms))
            if until_ms != EVER:
                due_ms = dues.get(digest)
                # A timer that is too early does no harm: it asks, and is set anew.
                if due_ms is None or until_ms < due_ms:
                    dues[digest] = until_ms
                    if until_ms < state.due_ms or state.due_ms <= 0:
                        state.due_ms = until_ms
                        if not is_passing:
                            self._timers.add(until_ms, name)


def _new_state(shopper: Shopper) -> RuleState:
    state = shopper.rules = RuleState(due_ms=UNSURE)
    return state


def engine_of(rules: RuleSet | None, stored: RulesState) -> Engine | None:
    """The engine of a shard, None where there are no rules and were none."""
    if rules is None and not stored.digests:
        return None
    return Engine(rules or RuleSet((), gap_ms=0), stored)


def _filled(stored: tuple[int, int] | None, most: int, clock_ms: int) -> tuple[int, int]:
    """Since when a window is full: one that was kept with fewer entries may have lost what is needed."""
    if stored is None:
        return clock_ms, most
    since_ms, kept = stored
    return (since_ms if kept >= most else clock_ms), most
