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
from operators.segments.rules.features import INTENT, NUMBERS, SESSION, SINCE, TEXTS
from operators.segments.rules.filters import is_below
from operators.segments.rules.windows_needed import Kind, absent_kind, kind_of, step_kind
from state.money import MICROS
from state.shopper import INTENTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from operators.segments.rules.ast import Bounds, Node, Window
    from state.shopper import RuleState, Session, Shopper

    Condition = Callable[[str, Shopper, RuleState, int], int]
    """Of a shopper's id, what is known of it, what rules keep of it, and its clock (ms)."""

EVER = 1 << 62
"""An answer that stands until an event comes."""
YES, NO = EVER, -EVER


def condition(node: Node, gap_ms: int) -> Condition:
    """The function of a condition; `gap_ms` is the session gap."""
    match node:
        case All(parts):
            return _all([condition(part, gap_ms) for part in _cheap_first(parts)])
        case Any(parts):
            return _any([condition(part, gap_ms) for part in _cheap_first(parts)])
        case Not(part):
            positive = condition(part, gap_ms)
            return lambda name, shopper, state, now_ms: -positive(name, shopper, state, now_ms)
        case Number(feature, bounds):
            return _number(feature, bounds, gap_ms)
        case Text(feature, values):
            return _text(feature, values, gap_ms)
        case Sequence():
            return _sequence(node)
        case Holdout(share, salt):
            return _holdout(share, salt)
    return _window(node)


def _cheap_first(parts: tuple[Node, ...]) -> list[Node]:
    return sorted(parts, key=lambda part: isinstance(part, Holdout | Sequence | All | Any))


def _all(parts: list[Condition]) -> Condition:
    if len(parts) == 1:
        return parts[0]

    if len(parts) == 2:
        first, second = parts

        def both(name: str, shopper: Shopper, state: RuleState, now_ms: int) -> int:
            answer = first(name, shopper, state, now_ms)
            if answer < 0:
                return answer
            other = second(name, shopper, state, now_ms)
            return other if other < answer else answer

        return both

    def all_of(name: str, shopper: Shopper, state: RuleState, now_ms: int) -> int:
        least = EVER
        for part in parts:
            answer = part(name, shopper, state, now_ms)
            if answer < 0:
                return answer
            if answer < least:
                least = answer
        return least

    return all_of


def _any(parts: list[Condition]) -> Condition:
    if len(parts) == 1:
        return parts[0]

    def any_of(name: str, shopper: Shopper, state: RuleState, now_ms: int) -> int:
        most = -EVER
        for part in parts:
            answer = part(name, shopper, state, now_ms)
            if answer > 0:
                return answer
            if answer > most:
                most = answer
        return most

    return any_of


def _ends(bounds: Bounds) -> tuple[int, int]:
    low = -EVER if bounds.low is None else bounds.low
    return low, EVER if bounds.high is None else bounds.high


def _number(feature: str, bounds: Bounds, gap_ms: int) -> Condition:
    low, high = _ends(bounds)
    if feature in SINCE:
        return _since(SINCE[feature].of, low, high)
    if feature in SESSION:
        return _of_session(SESSION[feature].of, low, high, gap_ms)
    of = NUMBERS[feature].of

    def number(name: str, shopper: Shopper, state: RuleState, now_ms: int) -> int:
        value = of(shopper)
        return YES if value is not None and low <= value <= high else NO

    return number


def _since(of: Callable[[Shopper], int], low: int, high: int) -> Condition:
    def since(name: str, shopper: Shopper, state: RuleState, now_ms: int) -> int:
        at_ms = of(shopper)
        if not at_ms:
            return NO
        ago_ms = now_ms - at_ms
        if ago_ms < low:
            return -(at_ms + low)
        if ago_ms > high:
            return NO
        return EVER if high == EVER else at_ms + high + 1

    return since


def session_of(shopper: Shopper, now_ms: int, gap_ms: int) -> Session | None:
    """The session that goes on at a time."""
    if not shopper.open:
        return None
    newest = shopper.open[-1]
    return newest if newest.last_ms + gap_ms >= now_ms else None


def _of_session(of: Callable[[Session], int], low: int, high: int, gap_ms: int) -> Condition:
    def of_session(name: str, shopper: Shopper, state: RuleState, now_ms: int) -> int:
        if not shopper.open:
            return NO
        session = shopper.open[-1]
        ends_ms = session.last_ms + gap_ms
        return ends_ms + 1 if ends_ms >= now_ms and low <= of(session) <= high else NO

    return of_session


def _text(feature: str, values: tuple[str, ...], gap_ms: int) -> Condition:
    if feature == INTENT:
        intents = frozenset(INTENTS.index(value) for value in values)
        return _of_session(lambda session: session.intent in intents, 1, 1, gap_ms)
    of, wanted = TEXTS[feature].of, frozenset(values)
    if TEXTS[feature].is_path:
        return lambda name, shopper, state, now_ms: YES if is_below(of(shopper), values) else NO
    return lambda name, shopper, state, now_ms: YES if of(shopper) in wanted else NO


def _holdout(share: int, salt: str) -> Condition:
    begin = blake2b(salt.encode(), digest_size=8)

    def held_out(name: str, shopper: Shopper, state: RuleState, now_ms: int) -> int:
        own = begin.copy()
        own.update(b"\0" + name.encode())
        return YES if int.from_bytes(own.digest(), "big") % MICROS < share else NO

    return held_out


def _window(node: Window) -> Condition:
    kind = kind_of(node)
    if kind.form == "sums":
        return _sum(kind, node.bounds)
    low, high = node.bounds.low, node.bounds.high
    entry = windows.TIME_BYTES if kind.form == "times" else windows.PAIR_BYTES
    parts: list[Condition] = []
    if low is not None and low > 0:
        parts.append(_at_least(kind.key, low, entry, node.within_ms))
    if high is not None:
        too_many = _at_least(kind.key, high + 1, entry, node.within_ms) if high >= 0 else _always
        parts.append(lambda name, shopper, state, now: -too_many(name, shopper, state, now))
    return _all(parts or [_always])


def _always(name: str, shopper: Shopper, state: RuleState, now_ms: int) -> int:
    return YES


def _at_least(key: int, count: int, entry: int, within_ms: int | None) -> Condition:
    """Whether the newest so many are all within the window: until the oldest of them leaves it."""
    size = count * entry
    end = windows.TIME_BYTES - size or None
    from_bytes = int.from_bytes

    def at_least(name: str, shopper: Shopper, state: RuleState, now_ms: int) -> int:
        window = state.windows.get(key)
        if window is None or len(window) < size:
            return NO
        if within_ms is None:
            return YES
        leaves_ms = from_bytes(window[-size:end], "big") + within_ms
        return leaves_ms if leaves_ms > now_ms else NO

    return at_least


def _sum(kind: Kind, bounds: Bounds) -> Condition:
    low, high = _ends(bounds)
    key, within_ms = kind.key, kind.within_ms

    def sum_of(name: str, shopper: Shopper, state: RuleState, now_ms: int) -> int:
        entries = windows.pairs(state.windows.get(key, b""))
        if within_ms is None:
            total = sum(amount for _, amount in entries)
            return YES if low <= total <= high else NO
        entries = [entry for entry in entries if entry[0] + within_ms > now_ms]
        total = sum(amount for _, amount in entries)
        answer, until_ms = low <= total <= high, EVER
        for at_ms, amount in entries:
            if at_ms + within_ms > until_ms:
                break
            total -= amount
            if (low <= total <= high) != answer:
                until_ms = at_ms + within_ms
        return until_ms if answer else -until_ms

    return sum_of


def _sequence(node: Sequence) -> Condition:
    if node.same_item:
        of_items = answers_by_item(node)
        return lambda name, shopper, state, now_ms: max(of_items(state, now_ms), default=NO)
    keys = [step_kind(step.events, same_item=False).key for step in node.steps]
    absent = None if node.absent is None else absent_kind(node.absent.events, same_item=False).key
    chained = _chained(node)

    def sequence(name: str, shopper: Shopper, state: RuleState, now_ms: int) -> int:
        packed = [state.windows.get(key, b"") for key in keys]
        last = b"" if absent is None else state.windows.get(absent, b"")[-windows.TIME_BYTES :]
        # What came last is what must not, or a step never came.
        if packed[-1][-windows.TIME_BYTES :] <= last or not all(packed):
            return NO
        last_ms = int.from_bytes(last, "big") if last else -1
        return chained([windows.times(window) for window in packed], last_ms, now_ms)

    return sequence


def answers_by_item(node: Sequence) -> Callable[[RuleState, int], list[int]]:
    """The answer for each item that all steps of a sequence had, at a time (ms)."""
    keys = [step_kind(step.events, same_item=True).key for step in node.steps]
    needed = {key: keys.count(key) for key in keys}
    absent = None if node.absent is None else absent_kind(node.absent.events, same_item=True).key
    chained = _chained(node)

    def answers(state: RuleState, now_ms: int) -> list[int]:
        found = {key: windows.times_by_key(state.windows.get(key, b"")) for key in needed}
        steps = [found[key] for key in keys]
        last = b"" if absent is None else state.windows.get(absent, b"")
        last_ms = {item: at_ms for at_ms, item in windows.pairs(last)}
        return [
            chained([step[item] for step in steps], last_ms.get(item, -1), now_ms)
            for item in steps[0]
            if all(len(found[key].get(item, ())) >= times for key, times in needed.items())
        ]

    return answers


def _chained(node: Sequence) -> Callable[[list[list[int]], int, int], int]:
    """The answer to a sequence: of the times of each step, when last came what must not, and now."""
    spans_ms = [step.within_ms or EVER for step in node.steps[1:]]
    quiet_ms = None if node.absent is None else node.absent.within_ms
    within_ms = node.within_ms

    def chained(steps: list[list[int]], last_ms: int, now_ms: int) -> int:
        # Of each event of a step, when the chains that lead to it began at the latest: later ones of
        # the step before began later, and are nearer.
        ends = steps[0][bisect_right(steps[0], now_ms - within_ms) :]
        begins = ends
        for span_ms, events in zip(spans_ms, steps[1:], strict=True):
            before, begun, ends, begins = ends, begins, [], []
            for at_ms in events:
                place = bisect_left(before, at_ms) - 1
                if place >= 0 and at_ms <= before[place] + span_ms:
                    ends.append(at_ms)
                    begins.append(begun[place])
        if quiet_ms is None:
            return begins[-1] + within_ms if begins else NO
        soonest = EVER
        for at_ms, begin_ms in zip(reversed(ends), reversed(begins), strict=True):
            if at_ms <= last_ms:
                break
            if at_ms + quiet_ms <= now_ms:
                return begin_ms + within_ms
            if at_ms + quiet_ms < begin_ms + within_ms:
                soonest = at_ms + quiet_ms
        return -soonest

    return chained
