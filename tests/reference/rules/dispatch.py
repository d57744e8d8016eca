"""What to do with an event: the windows that it goes into and the rules whose answers it may
change.

Worked out once for each type of event and category of its item, because this is the hot path. Rules
are sets of bits as in `operators.segments.rules.compiler`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from operators.segments.rules import windows
from operators.segments.rules.filters import compile_event_test, is_below_any
from operators.segments.rules.measures import compile_amount, compile_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from operators.segments.rules.filters import EventTest
    from operators.segments.rules.windows_needed import WindowKind
    from state.events import Event
    from state.shopper import Shopper

    Recorder = Callable[[dict[int, bytes], Event, bytes, int], None]
    """Records in a shopper's windows an event with its time (packed), at the shopper's clock (ms)."""
    ThresholdBits = tuple[tuple[Callable[[Shopper], int | None], dict[int, int]], ...]
    """Features that the event counts up, each with the rules that may change at a number of it."""

_CACHED_PATHS_MAX = 4096


class WindowSubscriber(NamedTuple):
    """A window that takes events of one type, those that pass the test if there is one.

    `bits` are the rules that the shopper's newest event may change, `late_bits` those that an older
    one may.
    """

    kind: WindowKind
    test: EventTest | None
    record: Recorder
    bits: int
    late_bits: int


class EventDispatch(NamedTuple):
    """What to do with an event.

    `bits` are the rules that it may change if it is the shopper's newest, `late_bits` if it is not.
    `time_windows` are the windows of times that it goes into, by key and size in bytes; `recorders`
    put it into the others. `conditional` has for each window with a test: the test, the recorder,
    and the rules that may change where the event passes. `thresholds` are the features that it
    counts up.
    """

    bits: int
    late_bits: int
    time_windows: tuple[tuple[int, int], ...]
    recorders: tuple[Recorder, ...]
    conditional: tuple[tuple[EventTest, Recorder, int, int], ...]
    thresholds: ThresholdBits


class DispatchTable:
    """What to do with events of one type, by the category of their items."""

    def __init__(
        self, bits: int, thresholds: ThresholdBits, subscribers: list[WindowSubscriber]
    ) -> None:
        self._bits = bits
        self._thresholds = thresholds
        self._without_category = [
            subscriber for subscriber in subscribers if not subscriber.kind.events.categories
        ]
        self._with_category = [
            subscriber for subscriber in subscribers if subscriber.kind.events.categories
        ]
        self._default = self._build(self._without_category)
        self._by_category: dict[tuple[str, ...], EventDispatch] = {}

    def dispatch_of(self, event: Event) -> EventDispatch:
        """What to do with this event."""
        items = event.items
        if not self._with_category or not items:
            return self._default
        if len(items) == 1:
            category = items[0].category
            return self._by_category.get(category) or self._dispatch_of_category(category)
        paths = ["/".join(item.category) for item in items]
        return self._build([*self._without_category, *self._subscribers_for(paths)])

    def _dispatch_of_category(self, category: tuple[str, ...]) -> EventDispatch:
        """For events with one item of this category: the category need not be tested again."""
        if len(self._by_category) > _CACHED_PATHS_MAX:
            self._by_category.clear()
        subscribers = [
            subscriber._replace(
                test=compile_event_test(replace(subscriber.kind.events, categories=()))
            )
            for subscriber in self._subscribers_for(["/".join(category)])
        ]
        dispatch = self._by_category[category] = self._build(
            [*self._without_category, *subscribers]
        )
        return dispatch

    def _subscribers_for(self, paths: Iterable[str]) -> list[WindowSubscriber]:
        return [
            subscriber
            for subscriber in self._with_category
            if any(is_below_any(path, subscriber.kind.events.categories) for path in paths)
        ]

    def _build(self, subscribers: Iterable[WindowSubscriber]) -> EventDispatch:
        bits = late_bits = self._bits
        time_windows: list[tuple[int, int]] = []
        recorders: list[Recorder] = []
        conditional: list[tuple[EventTest, Recorder, int, int]] = []
        for kind, test, record, subscriber_bits, subscriber_late_bits in subscribers:
            if test is not None:
                conditional.append((test, record, subscriber_bits, subscriber_late_bits))
                continue
            bits, late_bits = bits | subscriber_bits, late_bits | subscriber_late_bits
            if kind.form == "times":
                time_windows.append((kind.key, kind.bytes_max))
            else:
                recorders.append(record)
        return EventDispatch(
            bits,
            late_bits,
            tuple(time_windows),
            tuple(recorders),
            tuple(conditional),
            self._thresholds,
        )


def subscribe(kind: WindowKind, bits: int, late_bits: int) -> WindowSubscriber:
    """The subscriber of a window."""
    return WindowSubscriber(kind, compile_event_test(kind.events), _recorder(kind), bits, late_bits)


def _recorder(kind: WindowKind) -> Recorder:
    """The function that puts an event into a window."""
    key, size, within_ms = kind.key, kind.bytes_max, kind.within_ms
    if kind.form == "times":
        add_time = windows.add_time

        def record_time(stored: dict[int, bytes], event: Event, packed: bytes, now_ms: int) -> None:
            stored[key] = add_time(stored.get(key, b""), packed, size)

        return record_time
    if kind.form == "keyed":
        keys_of = compile_keys(kind.events, kind.measured)
        add_key, hash_key = windows.add_key, windows.hash_key

        def record_keys(stored: dict[int, bytes], event: Event, packed: bytes, now_ms: int) -> None:
            window = stored.get(key, b"")
            for name in keys_of(event):
                window = add_key(window, packed, hash_key(name), size)
            stored[key] = window

        return record_keys
    if kind.form == "items":
        items_of = compile_keys(kind.events, "items")
        add_items, hash_key = windows.add_items, windows.hash_key

        def record_items(
            stored: dict[int, bytes], event: Event, packed: bytes, now_ms: int
        ) -> None:
            keys = map(hash_key, items_of(event))
            stored[key] = add_items(stored.get(key, b""), packed, keys, size)

        return record_items
    amount_of = compile_amount(kind.events, kind.measured)

    def record_amount(stored: dict[int, bytes], event: Event, packed: bytes, now_ms: int) -> None:
        amount = amount_of(event)
        stored[key] = windows.add_amount(stored.get(key, b""), packed, amount, within_ms, now_ms)

    return record_amount
