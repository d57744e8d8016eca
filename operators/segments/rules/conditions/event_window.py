"""`event:` and `no:`: how many such events a shopper has in a span of time, or what they add up to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from operators.kernels import rule_layout as layout
from operators.kernels.rule_layout import FOREVER
from operators.segments.rules import windows
from operators.segments.rules.conditions.base import NO, YES, Condition, bounded
from operators.segments.rules.conditions.comparison import Number, format_amount, limits
from operators.segments.rules.conditions.logic import All, Not, all_of
from operators.segments.rules.digests import digest
from operators.segments.rules.filters import FILTER_KEYS, Filter, parse_filter
from operators.segments.rules.quantities import COUNT, MONEY, Bounds, format_duration
from operators.segments.rules.windows_needed import WindowKind, WindowUse
from operators.segments.rules.yaml_values import bounds_of, duration_ms_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from operators.segments.rules.conditions.base import Answer, RuleParser
    from operators.segments.rules.instructions import InstructionWriter
    from operators.segments.rules.yaml_nodes import YamlNode
    from state.shopper import RuleState, Shopper

EXACT_COUNT_MAX = 256
"""Counts up to here are exact: of each window the newest so many events are kept."""
DISTINCT_VALUES = ("items", "categories", "brands", "days")
SUM_UNITS = {"value": MONEY, "net value": MONEY, "quantity": COUNT}
MEASURE_KEYS = (
    "count",
    *(f"distinct {value}" for value in DISTINCT_VALUES),
    *(f"sum of {value}" for value in SUM_UNITS),
)
_AT_LEAST_ONE = Bounds(1, None, "at least 1")


class Window(Condition, frozen=True, tag=True):
    """What a shopper's events of the last `within_ms` come to; None stands for all events ever.

    `measure` is `count`, `distinct <what>` or `sum of <what>`.
    """

    events: Filter
    measure: str
    bounds: Bounds
    within_ms: int | None

    @property
    def kind(self) -> WindowKind:
        """The window that it needs."""
        events, measure = self.events, self.measure
        low, high = self.bounds.low or 0, self.bounds.high
        entries_max = max(low, 0 if high is None else high + 1, 1)
        if measure.startswith("distinct "):
            measured = measure.removeprefix("distinct ")
            key = digest("keyed", events, measured)
            return WindowKind(key, events, "keyed", measured, entries_max)
        if measure == "count" and entries_max <= EXACT_COUNT_MAX:
            return WindowKind(digest("times", events), events, "times", "count", entries_max)
        measured = measure.removeprefix("sum of ")
        key = digest("sums", events, measured, self.within_ms)
        return WindowKind(key, events, "sums", measured, 0, self.within_ms)

    def compile(self, gap_ms: int) -> Answer:
        kind = self.kind
        if kind.form == "sums":
            return _sum_within(kind, self.bounds)
        low, high = self.bounds.low, self.bounds.high
        entry_bytes = windows.TIME_BYTES if kind.form == "times" else windows.PAIR_BYTES
        parts: list[Answer] = []
        if low is not None and low > 0:
            parts.append(_at_least(kind.key, low, entry_bytes, self.within_ms))
        if high is not None:
            too_many: Answer = _always_yes
            if high >= 0:
                too_many = _at_least(kind.key, high + 1, entry_bytes, self.within_ms)
            parts.append(
                lambda shopper_id, shopper, state, now_ms: (
                    -too_many(shopper_id, shopper, state, now_ms)
                )
            )
        return all_of(parts or [_always_yes])

    def emit(self, writer: InstructionWriter, is_negated: bool) -> None:
        kind = self.kind
        window = writer.kinds[kind.key]
        within_ms = -1 if self.within_ms is None else self.within_ms
        low, high = self.bounds.low, self.bounds.high
        if kind.form == "sums":
            limits_of_sum = [bounded(limit) for limit in limits(self.bounds)]
            writer.write(layout.SUM, is_negated, *limits_of_sum, window, within_ms)
        elif high is None and low is not None and low > 0:
            writer.write(layout.AT_LEAST, is_negated, window, low, within_ms)
        else:
            writer.write_range(window, low, high, within_ms, is_negated)

    def describe(self) -> str:
        measured = "" if self.measure == "count" else f"{self.measure}, "
        bounds = f"({measured}{self.bounds.words})"
        return f"{self.events.describe()} {bounds} {_describe_span(self.within_ms)}"

    def describe_negated(self) -> str:
        if self.measure == "count" and self.bounds.low == 1 and not self.bounds.high:
            return f"no {self.events.describe()} {_describe_span(self.within_ms)}"
        return super().describe_negated()

    def windows_used(self, is_positive: bool = True) -> Iterable[WindowUse]:
        kind, bounds = self.kind, self.bounds
        if kind.measured == "net value" or (bounds.low is not None and bounds.high is not None):
            yield WindowUse(kind, None)
        else:
            yield WindowUse(kind, is_positive if bounds.high is None else not is_positive)

    def describe_value(self, shopper: Shopper, state: RuleState, now_ms: int, gap_ms: int) -> str:
        kind = self.kind
        window = state.windows.get(kind.key, b"")
        since_ms = -1 if self.within_ms is None else now_ms - self.within_ms
        if kind.form == "sums":
            pairs = windows.unpack_pairs(window)
            total = sum(amount for at_ms, amount in pairs if at_ms > since_ms)
            return format_amount(total, COUNT if kind.measured in ("count", "quantity") else MONEY)
        times = (
            windows.unpack_times(window)
            if kind.form == "times"
            else [at_ms for at_ms, _ in windows.unpack_pairs(window)]
        )
        count = sum(at_ms > since_ms for at_ms in times)
        # A window keeps no more events than the rule needs.
        is_full = count == kind.entries_max and len(times) == kind.entries_max
        return f"{count} or more" if is_full else str(count)


def _describe_span(within_ms: int | None) -> str:
    return "ever" if within_ms is None else f"within {format_duration(within_ms)}"


def _always_yes(shopper_id: str, shopper: Shopper, state: RuleState, now_ms: int) -> int:
    return YES


def _at_least(key: int, count: int, entry_bytes: int, within_ms: int | None) -> Answer:
    """Whether the newest `count` events all lie in the window: until the oldest of them leaves it."""
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


def _sum_within(kind: WindowKind, bounds: Bounds) -> Answer:
    low, high = limits(bounds)
    key, within_ms = kind.key, kind.within_ms

    def sum_within(shopper_id: str, shopper: Shopper, state: RuleState, now_ms: int) -> int:
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

    return sum_within


def parse_event(parser: RuleParser, entry: YamlNode, fields: Mapping[str, YamlNode]) -> Condition:
    """`event: ...` with filters, at most one measure, and `within:`."""
    entry.check_keys(fields, ("event", *FILTER_KEYS, *MEASURE_KEYS, "within"), "`event`")
    measures = [measure for measure in MEASURE_KEYS if measure in fields]
    if len(measures) > 1:
        fields[measures[1]].raise_error(
            f"only one of `{measures[0]}` and `{measures[1]}`: use `all:`"
        )
    events = parse_filter(fields, "event")
    within_ms = duration_ms_of(fields["within"]) if "within" in fields else None
    if not measures:
        return Window(events, "count", _AT_LEAST_ONE, within_ms)
    measure = measures[0]
    if measure == "sum of net value":
        if events.types != ("purchase",):
            fields[measure].raise_error("is of purchases less refunds: write `event: purchase`")
        events = replace(events, types=("purchase", "refund"))
    unit = SUM_UNITS[measure.removeprefix("sum of ")] if measure.startswith("sum") else COUNT
    bounds = bounds_of(fields[measure], unit)
    if not measure.startswith("sum"):
        _check_count(fields[measure], measure, bounds)
    return Window(events, measure, bounds, within_ms)


def _check_count(entry: YamlNode, measure: str, bounds: Bounds) -> None:
    """Refuse a count that everybody has or nobody can have, and one that is not kept."""
    if bounds.high is None and (bounds.low or 0) <= 0:
        entry.raise_error("is true for every shopper: write at least 1")
    if bounds.high is not None and bounds.high < 0:
        entry.raise_error("is true for no shopper: a count is 0 or more")
    highest = max(bounds.low or 0, bounds.high or 0)
    if measure.startswith("distinct") and highest >= EXACT_COUNT_MAX:
        entry.raise_error(f"is kept up to {EXACT_COUNT_MAX - 1}: write a smaller number")


def parse_absence(parser: RuleParser, entry: YamlNode, fields: Mapping[str, YamlNode]) -> Condition:
    """`no: ...` with filters, and `within:` or `for:`."""
    entry.check_keys(fields, ("no", *FILTER_KEYS, "within", "for"), "`no`")
    if "within" in fields and "for" in fields:
        fields["for"].raise_error("only one of `within` and `for`")
    duration = fields.get("within") or fields.get("for")
    within_ms = None if duration is None else duration_ms_of(duration)
    absent = Not(Window(parse_filter(fields, "no"), "count", _AT_LEAST_ONE, within_ms))
    if "for" not in fields or within_ms is None:
        return absent
    first_seen = Bounds(within_ms, None, f"at least {format_duration(within_ms)}")
    return All((absent, Number("first_seen_days", first_seen)))
