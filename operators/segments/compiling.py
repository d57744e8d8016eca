"""All rules of a file as one machine: which of them an event may change, and how each is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from operators.segments import features, windows
from operators.segments.conditions import condition
from operators.segments.features import ANY, LATEST
from operators.segments.filters import LATEST as LATEST_OF
from operators.segments.filters import amount_in, event_test, is_below, keys_in
from operators.segments.language import digest
from operators.segments.reading import read
from operators.segments.store import features_in, uses_in
from state.errors import UserError
from state.events import EVENT_TYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from operators.segments.conditions import Condition
    from operators.segments.features import Touch
    from operators.segments.filters import Test
    from operators.segments.language import Rule
    from operators.segments.store import Kind
    from state.config import Settings
    from state.events import Event
    from state.shopper import RuleState

    Asked = tuple[tuple[str, int, Condition, bool | None], ...]
    """Rules to ask, by id and digest. Where an event can only make the answer yes (True) or no, one
    whose answer is that already is passed over."""
    Note = Callable[[RuleState, Event, int, int], None]
    """Notes an event that happened at a time, at the shopper's clock (both ms)."""


_PLANS_MAX = 4096


class Compiled(NamedTuple):
    """A rule, ready to be asked."""

    id: str
    digest: int
    ask: Condition


class Touched(NamedTuple):
    """Rules whose answer may change: in any case, only from no to yes, only from yes to no."""

    both: int = 0
    to_yes: int = 0
    to_no: int = 0

    def __or__(self, other: Touched) -> Touched:
        return Touched(*(mine | theirs for mine, theirs in zip(self, other, strict=True)))


class Listener(NamedTuple):
    """Takes events of a type that pass a test into a window, and which rules may change by that.

    `late` are those that change too if the event is not the shopper's newest.
    """

    test: Test | None
    note: Note
    touched: Touched
    late: Touched


class RuleSet:
    """The rules of a file, compiled. Sets of rules are bits of a number, the first rule's the lowest."""

    def __init__(self, rules: tuple[Rule, ...], *, gap_ms: int) -> None:
        self.rules = rules
        self.compiled = tuple(
            Compiled(rule.id, rule.digest, condition(rule.when, gap_ms)) for rule in rules
        )
        self.by_digest = {one.digest: n for n, one in enumerate(self.compiled)}
        self.digests = {one.id: one.digest for one in self.compiled}
        self.all = (1 << len(rules)) - 1
        self.kinds: dict[int, Kind] = {}
        named = (*EVENT_TYPES, features.SESSION_BEGINS, features.FIRST)
        self.touched: dict[str, Touched] = dict.fromkeys(named, Touched())
        turns: dict[str, dict[str, dict[int | None, Touched]]] = {name: {} for name in EVENT_TYPES}
        self.consent = 0
        self.latest: dict[str, int] = {}
        touched: dict[tuple[int, bool], Touched] = {}
        for n, rule in enumerate(rules):
            for kind, makes, only_late in uses_in(rule.when):
                known = self.kinds.get(kind.key, kind)
                self.kinds[kind.key] = replace(kind, most=max(kind.most, known.most))
                place = kind.key, only_late
                touched[place] = touched.get(place, Touched()) | _touched(1 << n, makes)
            for feature, touches in features_in(rule.when):
                self._listen(feature, 1 << n, touches, turns)
        # By type of event: what counts it, and which rules may change when that has come to a number.
        self.turns = {
            name: tuple((features.counter(feature), at) for feature, at in counted.items())
            for name, counted in turns.items()
        }
        self.listeners: dict[str, Listeners] = {
            name: Listeners(self._listeners(name, touched)) for name in EVENT_TYPES
        }
        self._asked: dict[tuple[int, int, int], Asked] = {}

    @classmethod
    def of(cls, text: str, source: str, *, gap_ms: int) -> RuleSet | None:
        """The rules in a text, None where there are none. Raises UserError."""
        rules = read(text, source)
        digests: dict[int, str] = {}
        for rule in rules:
            if other := digests.get(rule.digest):
                raise UserError(
                    f"{source}: `{rule.id}` and `{other}` are the same segment: take one out"
                )
            digests[rule.digest] = rule.id
        return cls(rules, gap_ms=gap_ms) if rules else None

    def needs(self) -> dict[int, int]:
        """What has to be kept of a shopper, by digest, and how many entries of it."""
        latest = dict.fromkeys(map(latest_key, self.latest), 1)
        return {key: kind.most for key, kind in self.kinds.items()} | latest

    def needs_of(self, sid: str) -> set[int]:
        """What has to be kept for one rule."""
        when = next(rule.when for rule in self.rules if rule.id == sid)
        latest = {latest_key(name) for name, _ in features_in(when) if name in LATEST}
        return {use.kind.key for use in uses_in(when)} | latest

    def of_bits(self, both: int, to_yes: int = 0, to_no: int = 0) -> Asked:
        """The rules to ask, those of a set by the first of these that it is in."""
        key = both, to_yes, to_no
        found = self._asked.get(key)
        if found is None:
            if len(self._asked) > _PLANS_MAX:
                self._asked.clear()
            mixed = both | to_yes & to_no
            found = tuple(
                (*one, None if mixed >> n & 1 else bool(to_yes >> n & 1))
                for n, one in enumerate(self.compiled)
                if (both | to_yes | to_no) >> n & 1
            )
            self._asked[key] = found
        return found

    def _listen(
        self,
        feature: str,
        rule: int,
        touches: Iterable[Touch],
        turns: dict[str, dict[str, dict[int | None, Touched]]],
    ) -> None:
        if feature in LATEST:
            self.latest[feature] = self.latest.get(feature, 0) | rule
        elif feature.startswith("consent."):  # which any event may carry
            self.consent |= rule
        else:
            for types, makes, numbers in touches:
                touched = _touched(rule, makes)
                for name in EVENT_TYPES if ANY in types else types:
                    if not numbers:
                        self.touched[name] |= touched
                        continue
                    at = turns[name].setdefault(feature, {})
                    for number in numbers:
                        at[number] = at.get(number, Touched()) | touched

    def _listeners(
        self, event_type: str, touched: dict[tuple[int, bool], Touched]
    ) -> Iterable[tuple[Kind, Listener]]:
        for key, kind in self.kinds.items():
            if event_type in kind.events.types or ANY in kind.events.types:
                always = touched.get((key, False), Touched())
                late = touched.get((key, True), Touched())
                yield kind, Listener(event_test(kind.events), _noting(kind), always, late)


class Listeners:
    """Those of one type of event; who waits for a category is found by the item's.

    `plain` are those that any such event goes to.
    """

    def __init__(self, listeners: Iterable[tuple[Kind, Listener]]) -> None:
        self.plain: tuple[Listener, ...] = ()
        self._waiting: list[tuple[tuple[str, ...], Listener]] = []
        for kind, listener in listeners:
            if kind.events.categories:
                self._waiting.append((kind.events.categories, listener))
            else:
                self.plain += (listener,)
        self._of_path: dict[tuple[str, ...], tuple[Listener, ...]] = {}

    def of(self, event: Event) -> Iterable[Listener]:
        """All that may want an event."""
        if not self._waiting or not event.items:
            return self.plain
        if len(event.items) == 1:
            return self._of(event.items[0].category)
        return dict.fromkeys(one for item in event.items for one in self._of(item.category))

    def _of(self, category: tuple[str, ...]) -> tuple[Listener, ...]:
        found = self._of_path.get(category)
        if found is None:
            if len(self._of_path) > _PLANS_MAX:
                self._of_path.clear()
            path = "/".join(category)
            waiting = (one for names, one in self._waiting if is_below(path, names))
            found = self._of_path[category] = self.plain + tuple(waiting)
        return found


def _touched(rule: int, makes: bool | None) -> Touched:
    if makes is None:
        return Touched(both=rule)
    return Touched(to_yes=rule) if makes else Touched(to_no=rule)


def rule_segments(settings: Settings) -> RuleSet | None:
    """The rules of a configuration, None where there are none. Raises UserError."""
    gap_ms = settings.sessions.gap_ms
    return RuleSet.of(settings.definitions, settings.segments.file, gap_ms=gap_ms)


def _noting(kind: Kind) -> Note:
    key, most, within_ms = kind.key, kind.most, kind.within_ms
    if kind.form == "times":
        add_time, size = windows.add_time, most * windows.TIME_BYTES

        def note_time(state: RuleState, event: Event, at_ms: int, now_ms: int) -> None:
            window = state.windows.get(key, b"")
            entry = at_ms.to_bytes(8, "big")
            if entry >= window[-8:]:
                state.windows[key] = (window + entry)[-size:]
            else:
                state.windows[key] = add_time(window, at_ms, most)

        return note_time
    if kind.form == "keyed":
        keys_of = keys_in(kind.events, kind.what)

        def note_keys(state: RuleState, event: Event, at_ms: int, now_ms: int) -> None:
            window = state.windows.get(key, b"")
            for name in keys_of(event):
                window = windows.add_key(window, at_ms, windows.key_of(name), most)
            state.windows[key] = window

        return note_keys
    amount_of = amount_in(kind.events, kind.what)

    def note_amount(state: RuleState, event: Event, at_ms: int, now_ms: int) -> None:
        window = state.windows.get(key, b"")
        amount = amount_of(event)
        state.windows[key] = windows.add_amount(window, at_ms, amount, within_ms, now_ms)

    return note_amount


def latest_key(feature: str) -> int:
    """What names the newest text of a feature."""
    return digest("latest", feature)


def merge_window(kind: Kind, one: bytes, other: bytes, now_ms: int) -> bytes:
    """What two shoppers who are one have of a window."""
    if kind.form == "times":
        return windows.merge_times(one, other, kind.most)
    if kind.form == "keyed":
        return windows.merge_keys(one, other, kind.most)
    return windows.merge_amounts(one, other, kind.within_ms, now_ms)


__all__ = ["LATEST_OF", "Compiled", "Listener", "RuleSet", "features", "merge_window"]
