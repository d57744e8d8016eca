"""Conditions as functions of what is remembered of a shopper.

Each gives one number: the time (ms) until which the answer stands if no event comes, negative where the
answer is no. So `and` is the least of its parts as long as none says no, and `not` is the sign.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from hashlib import blake2b
from typing import TYPE_CHECKING

from operators.segments.rules import windows
from operators.segments.rules.ast import All, Any, Holdout, Not, Number, Sequence, Text
from operators.segments.rules.features import (
    AGE_FEATURES,
    INTENT,
    NUMBER_FEATURES,
    SESSION_FEATURES,
    TEXT_FEATURES,
)
from operators.segments.rules.filters import is_below_any
from operators.segments.rules.windows_needed import (
    WindowKind,
    absent_window_kind,
    step_window_kind,
    window_kind,
)
from state.money import MICROS_PER_UNIT
from state.shopper import INTENTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from operators.segments.rules.ast import Bounds, Node, Window
    from state.shopper import RuleState, Session, Shopper

    Condition = Callable[[str, Shopper, RuleState, int], int]
    """Of a shopper's id, what is known of it, what rules keep of it, and its clock (ms)."""

FOREVER = 1 << 62
"""An answer that stands until an event comes."""
YES, NO = FOREVER, -FOREVER


def compile_condition(node: Node, gap_ms: int) -> Condition:
    """The function of a condition; `gap_ms` is the session gap."""
    match node:
        case All(parts):
            return _compile_all([compile_condition(part, gap_ms) for part in _cheap_first(parts)])
        case Any(parts):
            return _compile_any([compile_condition(part, gap_ms) for part in _cheap_first(parts)])
        case Not(part):
            positive = compile_condition(part, gap_ms)
            return lambda shopper_id, shopper, state, now_ms: (
                -positive(shopper_id, shopper, state, now_ms)
            )
        case Number(feature, bounds):
            return _compile_number(feature, bounds, gap_ms)
        case Text(feature, values):
            return _compile_text(feature, values, gap_ms)
        case Sequence():
            return _compile_sequence(node)
        case Holdout(share, salt):
            return _compile_holdout(share, salt)
    return _compile_window(node)


def _cheap_first(parts: tuple[Node, ...]) -> list[Node]:
    return sorted(parts, key=lambda part: isinstance(part, Holdout | Sequence | All | Any))


def _compile_all(parts: list[Condition]) -> Condition:
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

    def all_of(shopper_id: str, shopper: Shopper, state: RuleState, now_ms: int) -> int:
        soonest_ms = FOREVER
        for part in parts:
            answer = part(shopper_id, shopper, state, now_ms)
            if answer < 0:
                return answer
            if answer < soonest_ms:
                soonest_ms = answer
        return soonest_ms

    return all_of


def _compile_any(parts: list[Condition]) -> Condition:
    if len(parts) == 1:
        return parts[0]

    def any_of(shopper_id: str, shopper: Shopper, state: RuleState, now_ms: int) -> int:
        latest = -FOREVER
        for part in parts:
            answer = part(shopper_id, shopper, state, now_ms)
            if answer > 0:
                return answer
            if answer > latest:
                latest = answer
        return latest

    return any_of


def _limits(bounds: Bounds) -> tuple[int, int]:
    low = -FOREVER if bounds.low is None else bounds.low
    return low, FOREVER if bounds.high is None else bounds.high


def _compile_number(feature: str, bounds: Bounds, gap_ms: int) -> Condition:
    low, high = _limits(bounds)
    if feature in AGE_FEATURES:
        return _compile_age(AGE_FEATURES[feature].time_of, low, high)
    if feature in SESSION_FEATURES:
        return _compile_session_number(SESSION_FEATURES[feature].value_of, low, high, gap_ms)
    value_of = NUMBER_FEATURES[feature].value_of

    def number(shopper_id: str, shopper: Shopper, state: RuleState, now_ms: int) -> int:
        value = value_of(shopper)
        return YES if value is not None and low <= value <= high else NO

    return number


def _compile_age(time_of: Callable[[Shopper], int], low: int, high: int) -> Condition:
    def age(shopper_id: str, shopper: Shopper, state: RuleState, now_ms: int) -> int:
        at_ms = time_of(shopper)
        if not at_ms:
            return NO
        age_ms = now_ms - at_ms
        if age_ms < low:
            return -(at_ms + low)
        if age_ms > high:
            return NO
        return FOREVER if high == FOREVER else at_ms + high + 1

    return age


def session_at(shopper: Shopper, now_ms: int, gap_ms: int) -> Session | None:
    """The session that goes on at a time."""
    if not shopper.open_sessions:
        return None
    newest = shopper.open_sessions[-1]
    return newest if newest.last_ms + gap_ms >= now_ms else None


def _compile_session_number(
    value_of: Callable[[Session], int], low: int, high: int, gap_ms: int
) -> Condition:
    def session_number(shopper_id: str, shopper: Shopper, state: RuleState, now_ms: int) -> int:
        if not shopper.open_sessions:
            return NO
        session = shopper.open_sessions[-1]
        ends_ms = session.last_ms + gap_ms
        return ends_ms + 1 if ends_ms >= now_ms and low <= value_of(session) <= high else NO

    return session_number


def _compile_text(feature: str, values: tuple[str, ...], gap_ms: int) -> Condition:
    if feature == INTENT:
        intents = frozenset(INTENTS.index(value) for value in values)
        return _compile_session_number(lambda session: session.intent in intents, 1, 1, gap_ms)
    text_of, wanted = TEXT_FEATURES[feature].value_of, frozenset(values)
    if TEXT_FEATURES[feature].is_path:
        return lambda shopper_id, shopper, state, now_ms: (
            YES if is_below_any(text_of(shopper), values) else NO
        )
    return lambda shopper_id, shopper, state, now_ms: YES if text_of(shopper) in wanted else NO


def _compile_holdout(share: int, salt: str) -> Condition:
    salt_hash = blake2b(salt.encode(), digest_size=8)

    def held_out(shopper_id: str, shopper: Shopper, state: RuleState, now_ms: int) -> int:
        shopper_hash = salt_hash.copy()
        shopper_hash.update(b"\0" + shopper_id.encode())
        return YES if int.from_bytes(shopper_hash.digest(), "big") % MICROS_PER_UNIT < share else NO

    return held_out


def _compile_window(node: Window) -> Condition:
    kind = window_kind(node)
    if kind.form == "sums":
        return _compile_sum(kind, node.bounds)
    low, high = node.bounds.low, node.bounds.high
    entry_bytes = windows.TIME_BYTES if kind.form == "times" else windows.PAIR_BYTES
    parts: list[Condition] = []
    if low is not None and low > 0:
        parts.append(_compile_at_least(kind.key, low, entry_bytes, node.within_ms))
    if high is not None:
        too_many = (
            _compile_at_least(kind.key, high + 1, entry_bytes, node.within_ms)
            if high >= 0
            else _always_yes
        )
        parts.append(
            lambda shopper_id, shopper, state, now_ms: -too_many(shopper_id, shopper, state, now_ms)
        )
    return _compile_all(parts or [_always_yes])


def _always_yes(shopper_id: str, shopper: Shopper, state: RuleState, now_ms: int) -> int:
    return YES


def _compile_at_least(key: int, count: int, entry_bytes: int, within_ms: int | None) -> Condition:
    """Whether the newest so many are all within the window: until the oldest of them leaves it."""
    size = count * entry_bytes
    end = windows.TIME_BYTES - size or None
    from_bytes = int.from_bytes

    def at_least(shopper_id: str, shopper: Shopper, state: RuleState, now_ms: int) -> int:
        window = state.windows.get(key)
        if window is None or len(window) < size:
            return NO
        if within_ms is None:
            return YES
        leaves_ms = from_bytes(window[-size:end], "big") + within_ms
        return leaves_ms if leaves_ms > now_ms else NO

    return at_least


def _compile_sum(kind: WindowKind, bounds: Bounds) -> Condition:
    low, high = _limits(bounds)
    key, within_ms = kind.key, kind.within_ms

    def sum_of(shopper_id: str, shopper: Shopper, state: RuleState, now_ms: int) -> int:
        entries = windows.unpack_pairs(state.windows.get(key, b""))
        if within_ms is None:
            total = sum(amount for _, amount in entries)
            return YES if low <= total <= high else NO
        entries = [entry for entry in entries if entry[0] + within_ms > now_ms]
        total = sum(amount for _, amount in entries)
        answer, until_ms = low <= total <= high, FOREVER
        for at_ms, amount in entries:
            if at_ms + within_ms > until_ms:
                break
            total -= amount
            if (low <= total <= high) != answer:
                until_ms = at_ms + within_ms
        return until_ms if answer else -until_ms

    return sum_of


def _compile_sequence(node: Sequence) -> Condition:
    if node.same_item:
        answers_of_items = compile_answers_by_item(node)
        return lambda shopper_id, shopper, state, now_ms: max(
            answers_of_items(state, now_ms), default=NO
        )
    keys = [step_window_kind(step.events, same_item=False).key for step in node.steps]
    absent = (
        None if node.absent is None else absent_window_kind(node.absent.events, same_item=False).key
    )
    chain_answer = _compile_chain(node)

    def sequence(shopper_id: str, shopper: Shopper, state: RuleState, now_ms: int) -> int:
        packed = [state.windows.get(key, b"") for key in keys]
        newest_absent = (
            b"" if absent is None else state.windows.get(absent, b"")[-windows.TIME_BYTES :]
        )
        # What came last is what must not, or a step never came.
        if packed[-1][-windows.TIME_BYTES :] <= newest_absent or not all(packed):
            return NO
        last_ms = int.from_bytes(newest_absent, "big") if newest_absent else -1
        return chain_answer([windows.unpack_times(window) for window in packed], last_ms, now_ms)

    return sequence


def compile_answers_by_item(node: Sequence) -> Callable[[RuleState, int], list[int]]:
    """The answer for each item that all steps of a sequence had, at a time (ms)."""
    keys = [step_window_kind(step.events, same_item=True).key for step in node.steps]
    needed = {key: keys.count(key) for key in keys}
    absent = (
        None if node.absent is None else absent_window_kind(node.absent.events, same_item=True).key
    )
    chain_answer = _compile_chain(node)

    def answers(state: RuleState, now_ms: int) -> list[int]:
        times_by_item = {key: windows.times_by_key(state.windows.get(key, b"")) for key in needed}
        steps = [times_by_item[key] for key in keys]
        newest_absent = b"" if absent is None else state.windows.get(absent, b"")
        last_ms = {item: at_ms for at_ms, item in windows.unpack_pairs(newest_absent)}
        return [
            chain_answer([step[item] for step in steps], last_ms.get(item, -1), now_ms)
            for item in steps[0]
            if all(len(times_by_item[key].get(item, ())) >= times for key, times in needed.items())
        ]

    return answers


def _compile_chain(node: Sequence) -> Callable[[list[list[int]], int, int], int]:
    """The answer to a sequence: of the times of each step, when last came what must not, and now."""
    spans_ms = [step.within_ms or FOREVER for step in node.steps[1:]]
    quiet_ms = None if node.absent is None else node.absent.within_ms
    within_ms = node.within_ms

    def chain_answer(steps: list[list[int]], last_ms: int, now_ms: int) -> int:
        # Of each event of a step, when the chains that lead to it began at the latest: later ones of
        # the step before began later, and are nearer.
        ends = steps[0][bisect_right(steps[0], now_ms - within_ms) :]
        begins = ends
        for span_ms, events in zip(spans_ms, steps[1:], strict=True):
            previous_ends, previous_begins, ends, begins = ends, begins, [], []
            for at_ms in events:
                index = bisect_left(previous_ends, at_ms) - 1
                if index >= 0 and at_ms <= previous_ends[index] + span_ms:
                    ends.append(at_ms)
                    begins.append(previous_begins[index])
        if quiet_ms is None:
            return begins[-1] + within_ms if begins else NO
        soonest_ms = FOREVER
        for at_ms, begin_ms in zip(reversed(ends), reversed(begins), strict=True):
            if at_ms <= last_ms:
                break
            if at_ms + quiet_ms <= now_ms:
                return begin_ms + within_ms
            if at_ms + quiet_ms < begin_ms + within_ms:
                soonest_ms = at_ms + quiet_ms
        return -soonest_ms

    return chain_answer
