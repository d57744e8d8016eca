"""What rules have to remember of events: one window for all conditions that look at the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from operators.segments.rules.ast import (
    NUMBERS_MAX,
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
from operators.segments.rules.features import INTENT, intent_touches, touches
from operators.segments.rules.windows import PAIR_BYTES, TIME_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from operators.segments.rules.ast import Node
    from operators.segments.rules.features import Touch


class Kind(msgspec.Struct, frozen=True):
    """A window: its key in the shopper's state, which events go into it and as what.

    `form` is `times`, `keyed`, `items` or `sums`; `most` is how many entries are needed. Sums are kept
    for `within_ms`, None for ever.
    """

    key: int
    events: Filter
    form: str
    what: str
    most: int
    within_ms: int | None = None

    @property
    def bytes_max(self) -> int:
        """How long the window may be, but for sums."""
        return self.most * (TIME_BYTES if self.form == "times" else PAIR_BYTES)


def kind_of(node: Window) -> Kind:
    """The window that a condition needs."""
    events, measure = node.events, node.measure
    low, high = node.bounds.low or 0, node.bounds.high
    most = max(low, 0 if high is None else high + 1, 1)
    if measure.startswith("distinct "):
        what = measure.removeprefix("distinct ")
        return Kind(digest("keyed", events, what), events, "keyed", what, most)
    if measure == "count" and most <= NUMBERS_MAX:
        return Kind(digest("times", events), events, "times", "count", most)
    what = measure.removeprefix("sum of ")
    key = digest("sums", events, what, node.within_ms)
    return Kind(key, events, "sums", what, 0, node.within_ms)


def step_kind(events: Filter, *, same_item: bool) -> Kind:
    """The window of a step of a sequence, by item or not."""
    form, what = ("items", "items") if same_item else ("times", "count")
    return Kind(digest(form, events), events, form, what, STEP_EVENTS_MAX)


def absent_kind(events: Filter, *, same_item: bool) -> Kind:
    """The window of what must not have come after a sequence: the newest, of each item or of all."""
    if same_item:
        return Kind(digest("keyed", events, "items"), events, "keyed", "items", STEP_EVENTS_MAX)
    return Kind(digest("times", events), events, "times", "count", 1)


class Use(NamedTuple):
    """A window that a condition needs, and what an event that comes into it may do to the answer.

    `makes` is True where it can only make it yes, False where it can only make it no, None where both.
    If `only_late`, one that is the shopper's newest does nothing yet.
    """

    kind: Kind
    makes: bool | None
    only_late: bool = False


def uses_in(node: Node, makes: bool = True) -> Iterable[Use]:
    """All windows that a condition needs; `makes` is False below a `not`."""
    match node:
        case All(parts) | Any(parts):
            for part in parts:
                yield from uses_in(part, makes)
        case Not(part):
            yield from uses_in(part, not makes)
        case Window():
            yield _use(node, makes)
        case Sequence(steps, absent, _, same_item):
            for n, step in enumerate(steps):
                kind = step_kind(step.events, same_item=same_item)
                yield Use(kind, makes, only_late=n < len(steps) - 1)
            if absent is not None:
                yield Use(absent_kind(absent.events, same_item=same_item), not makes)


def _use(node: Window, makes: bool) -> Use:
    kind, bounds = kind_of(node), node.bounds
    if kind.what == "net value" or (bounds.low is not None and bounds.high is not None):
        return Use(kind, None)
    return Use(kind, makes if bounds.high is None else not makes)


def features_in(node: Node, makes: bool = True) -> Iterable[tuple[str, list[Touch]]]:
    """All features that a condition asks for, and what may change them; `makes` as for windows."""
    match node:
        case All(parts) | Any(parts):
            for part in parts:
                yield from features_in(part, makes)
        case Not(part):
            yield from features_in(part, not makes)
        case Number(feature, bounds):
            yield feature, touches(feature, bounds, makes)
        case Text(feature, values):
            is_intent = feature == INTENT
            yield feature, intent_touches(values) if is_intent else touches(feature, None, makes)
