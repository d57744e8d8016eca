"""All rules of a file as one machine: which of them an event may change, and how each is answered.

A set of rules is a number with two bits for each: whether its answer may become yes, and whether it
may become no.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from operators.segments.rules import features, windows
from operators.segments.rules.ast import digest
from operators.segments.rules.conditions import condition
from operators.segments.rules.dispatch import Listener, Plans, listener
from operators.segments.rules.features import ANY, LATEST
from operators.segments.rules.filters import LATEST as LATEST_OF
from operators.segments.rules.parser import read
from operators.segments.rules.windows_needed import features_in, uses_in
from state.events import EVENT_TYPES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from operators.segments.rules.ast import Rule
    from operators.segments.rules.conditions import Condition
    from operators.segments.rules.features import Touch
    from operators.segments.rules.windows_needed import Kind
    from state.config import Settings

    Asked = tuple[tuple[str, int, Condition, bool | None], ...]
    """Rules to ask, by id and digest. Where an event can only make the answer yes (True) or no, one
    whose answer is that already is passed over."""


_ASKED_MAX = 4096


class Compiled(NamedTuple):
    """A rule, ready to be asked."""

    id: str
    digest: int
    ask: Condition


class RuleSet:
    """The rules of a file, compiled."""

    def __init__(self, rules: tuple[Rule, ...], *, gap_ms: int) -> None:
        self.rules = rules
        self.gap_ms = gap_ms
        self.compiled = tuple(
            Compiled(rule.id, rule.digest, condition(rule.when, gap_ms)) for rule in rules
        )
        self.bits_of = {one.digest: self.bits(n) for n, one in enumerate(self.compiled)}
        self.digests = {one.id: one.digest for one in self.compiled}
        self.all = (1 << 2 * len(rules)) - 1
        self.kinds: dict[int, Kind] = {}
        named = (*EVENT_TYPES, features.SESSION_BEGINS, features.FIRST)
        self.touched = dict.fromkeys(named, 0)
        turns: dict[str, dict[str, dict[int | None, int]]] = {name: {} for name in EVENT_TYPES}
        self.consent = 0
        self.latest: dict[str, int] = {}
        touched: dict[tuple[int, bool], int] = {}
        for n, rule in enumerate(rules):
            for kind, makes, only_late in uses_in(rule.when):
                known = self.kinds.get(kind.key, kind)
                self.kinds[kind.key] = replace(kind, most=max(kind.most, known.most))
                place = kind.key, only_late
                touched[place] = touched.get(place, 0) | self.bits(n, makes)
            for feature, touches in features_in(rule.when):
                self._listen(feature, n, touches, turns)
        self.plans = {
            name: Plans(
                self.touched[name],
                tuple((features.counter(feature), at) for feature, at in turns[name].items()),
                list(self._listeners(name, touched)),
            )
            for name in EVENT_TYPES
        }
        self.hears = bool(self.latest or self.consent)
        """Whether any rule asks for what an event says of the shopper itself."""
        self._asked: dict[int, Asked] = {}

    @classmethod
    def of(cls, text: str, source: str, *, gap_ms: int) -> RuleSet | None:
        """The rules in a text, None where there are none. Raises UserError."""
        rules = read(text, source)
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

    def bits(self, rule: int, makes: bool | None = None) -> int:
        """The set of one rule that may change to an answer, or to either."""
        to_yes, to_no = 1 << rule, 1 << rule + len(self.rules)
        return to_yes | to_no if makes is None else to_yes if makes else to_no

    def of_bits(self, bits: int) -> Asked:
        """The rules to ask, of a set."""
        found = self._asked.get(bits)
        if found is None:
            if len(self._asked) > _ASKED_MAX:
                self._asked.clear()
            to_no = bits >> len(self.rules)
            found = self._asked[bits] = tuple(
                (*one, None if bits & to_no & 1 << n else bool(bits & 1 << n))
                for n, one in enumerate(self.compiled)
                if (bits | to_no) & 1 << n
            )
        return found

    def _listen(
        self,
        feature: str,
        rule: int,
        touches: Iterable[Touch],
        turns: dict[str, dict[str, dict[int | None, int]]],
    ) -> None:
        if feature in LATEST:
            self.latest[feature] = self.latest.get(feature, 0) | self.bits(rule)
        elif feature.startswith("consent."):  # which any event may carry
            self.consent |= self.bits(rule)
        else:
            for types, makes, numbers in touches:
                touched = self.bits(rule, makes)
                for name in EVENT_TYPES if ANY in types else types:
                    if not numbers:
                        self.touched[name] |= touched
                        continue
                    at = turns[name].setdefault(feature, {})
                    for number in numbers:
                        at[number] = at.get(number, 0) | touched

    def _listeners(
        self, event_type: str, touched: dict[tuple[int, bool], int]
    ) -> Iterable[Listener]:
        for key, kind in self.kinds.items():
            if event_type in kind.events.types or ANY in kind.events.types:
                touches = touched.get((key, False), 0)
                yield listener(kind, touches, touches | touched.get((key, True), 0))


def rule_segments(settings: Settings) -> RuleSet | None:
    """The rules of a configuration, None where there are none. Raises UserError."""
    gap_ms = settings.sessions.gap_ms
    return RuleSet.of(settings.definitions, settings.segments.file, gap_ms=gap_ms)


def latest_key(feature: str) -> int:
    """What names the newest text of a feature."""
    return digest("latest", feature)


def merge_window(kind: Kind, one: bytes, other: bytes, now_ms: int) -> bytes:
    """What two shoppers who are one have of a window."""
    if kind.form == "times":
        return windows.merge_times(one, other, kind.bytes_max)
    if kind.form == "keyed":
        return windows.merge_keys(one, other, kind.bytes_max)
    if kind.form == "items":
        return windows.merge_items(one, other, kind.bytes_max)
    return windows.merge_amounts(one, other, kind.within_ms, now_ms)


__all__ = ["LATEST_OF", "Compiled", "RuleSet", "features", "merge_window"]
