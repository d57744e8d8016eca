"""What rules have to remember of events: one window for all conditions that look at the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from operators.segments.rules.ast import (
    EXACT_COUNT_MAX,
    STEP_EVENTS_MAX,
    All,
    Any,
    Filter,
    Not,
    Number,
    Sequence,
    Text,
    Window,
    digest,
)
from operators.segments.rules.features import INTENT, feature_triggers, intent_triggers
from operators.segments.rules.windows import PAIR_BYTES, TIME_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from operators.segments.rules.ast import Node
    from operators.segments.rules.features import AnswerTrigger


class WindowKind(msgspec.Struct, frozen=True):
    """A window: its key in the shopper's state, which events go into it and as what.

    `form` is `times`, `keyed`, `items` or `sums`; `entries_max` is how many entries are needed.
    Sums are kept
    for `within_ms`, None for ever.
    """

    key: int
    events: Filter
    form: str
    measured: str
    entries_max: int
    within_ms: int | None = None

    @property
    def bytes_max(self) -> int:
        """How long the window may be, but for sums."""
        return self.entries_max * (TIME_BYTES if self.form == "times" else PAIR_BYTES)


def window_kind(node: Window) -> WindowKind:
    """The window that a condition needs."""
    events, measure = node.events, node.measure
    low, high = node.bounds.low or 0, node.bounds.high
    entries_max = max(low, 0 if high is None else high + 1, 1)
    if measure.startswith("distinct "):
        measured = measure.removeprefix("distinct ")
        return WindowKind(digest("keyed", events, measured), events, "keyed", measured, entries_max)
    if measure == "count" and entries_max <= EXACT_COUNT_MAX:
        return WindowKind(digest("times", events), events, "times", "count", entries_max)
    measured = measure.removeprefix("sum of ")
    key = digest("sums", events, measured, node.within_ms)
    return WindowKind(key, events, "sums", measured, 0, node.within_ms)


def step_window_kind(events: Filter, *, same_item: bool) -> WindowKind:
    """The window of a step of a sequence, by item or not."""
    form, measured = ("items", "items") if same_item else ("times", "count")
    return WindowKind(digest(form, events), events, form, measured, STEP_EVENTS_MAX)


def absent_window_kind(events: Filter, *, same_item: bool) -> WindowKind:
    """The window of what must not have come after a sequence: the newest, of each item or of all."""
    if same_item:
        return WindowKind(
            digest("keyed", events, "items"), events, "keyed", "items", STEP_EVENTS_MAX
        )
    return WindowKind(digest("times", events), events, "times", "count", 1)


class WindowUse(NamedTuple):
    """A window that a condition needs, and what an event that comes into it may do to the answer.

    `makes` is True where it can only make it yes, False where it can only make it no, None where both.
    If `only_if_late`, one that is the shopper's newest does nothing yet.
    """

    kind: WindowKind
    new_answer: bool | None
    only_if_late: bool = False


def windows_used(node: Node, is_positive: bool = True) -> Iterable[WindowUse]:
    """All windows that a condition needs; `makes` is False below a `not`."""
    match node:
        case All(parts) | Any(parts):
            for part in parts:
                yield from windows_used(part, is_positive)
        case Not(part):
            yield from windows_used(part, not is_positive)
        case Window():
            yield _window_use(node, is_positive)
        case Sequence(steps, absent, _, same_item):
            for n, step in enumerate(steps):
                kind = step_window_kind(step.events, same_item=same_item)
                yield WindowUse(kind, is_positive, only_if_late=n < len(steps) - 1)
            if absent is not None:
                yield WindowUse(
                    absent_window_kind(absent.events, same_item=same_item), not is_positive
                )


def _window_use(node: Window, is_positive: bool) -> WindowUse:
    kind, bounds = window_kind(node), node.bounds
    if kind.measured == "net value" or (bounds.low is not None and bounds.high is not None):
        return WindowUse(kind, None)
    return WindowUse(kind, is_positive if bounds.high is None else not is_positive)


def features_used(
    node: Node, is_positive: bool = True
) -> Iterable[tuple[str, list[AnswerTrigger]]]:
    """All features that a condition asks for, and what may change them; `makes` as for windows."""
    match node:
        case All(parts) | Any(parts):
            for part in parts:
                yield from features_used(part, is_positive)
        case Not(part):
            yield from features_used(part, not is_positive)
        case Number(feature, bounds):
            yield feature, feature_triggers(feature, bounds, is_positive)
        case Text(feature, values):
            is_intent = feature == INTENT
            yield (
                feature,
                intent_triggers(values)
                if is_intent
                else feature_triggers(feature, None, is_positive),
            )
