"""Which windows an event goes into, and with which key or amount.

Worked out once for each type of event and category of its item, because this is the hot path.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from operators.segments.rules.event_log import source_of_window
from operators.segments.rules.filters import compile_event_test, is_below_any
from operators.segments.rules.measures import compile_amount, compile_keys
from operators.segments.rules.windows import hash_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from operators.segments.rules.filters import EventTest
    from operators.segments.rules.windows_needed import WindowKind
    from state.events import Event

    ReadValues = Callable[[Event], Sequence[int]]
    """The keys or amounts that an event adds to a window, one for each entry."""

_CACHED_PATHS_MAX = 4096


class WindowSubscriber(NamedTuple):
    """A window that takes events of one type, those that pass the test if there is one.

    `number` is that of the window in the program. Without `read_values` it keeps times alone.
    """

    kind: WindowKind
    number: int
    test: EventTest | None
    read_values: ReadValues | None


class EventDispatch(NamedTuple):
    """What to do with an event.

    `times` are additions as in the log: the windows of times that it goes into. `valued` have values
    to be read, `conditional` a test before that; each with the number of its window and its source.
    """

    times: tuple[int, ...]
    valued: tuple[tuple[int, int, ReadValues], ...]
    conditional: tuple[tuple[EventTest, int, int, ReadValues | None], ...]

    def additions_of(self, event: Event) -> Sequence[int]:
        """The entries of an event: window, value and source of each."""
        if not (self.valued or self.conditional):
            return self.times
        additions = [*self.times]
        for number, source, read_values in self.valued:
            for value in read_values(event):
                additions += (number, value, source)
        for test, number, source, maybe_values in self.conditional:
            if test(event):
                for value in _NO_VALUE if maybe_values is None else maybe_values(event):
                    additions += (number, value, source)
        return additions


_NO_VALUE = (0,)


class DispatchTable:
    """What to do with events of one type, by the category of their items."""

    def __init__(self, subscribers: list[WindowSubscriber]) -> None:
        self._without_category = [
            subscriber for subscriber in subscribers if not subscriber.kind.events.categories
        ]
        self._with_category = [
            subscriber for subscriber in subscribers if subscriber.kind.events.categories
        ]
        self._default = _build(self._without_category)
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
        return _build([*self._without_category, *self._subscribers_for(paths)])

    def _dispatch_of_category(self, category: tuple[str, ...]) -> EventDispatch:
        """For events with one item of this category: the category need not be tested again."""
        if len(self._by_category) > _CACHED_PATHS_MAX:
            self._by_category.clear()
        subscribers = [
            subscriber._replace(
                test=compile_event_test(
                    replace(subscriber.kind.events, categories=()), has_one_item=True
                )
            )
            for subscriber in self._subscribers_for(["/".join(category)])
        ]
        dispatch = self._by_category[category] = _build([*self._without_category, *subscribers])
        return dispatch

    def _subscribers_for(self, paths: Iterable[str]) -> list[WindowSubscriber]:
        return [
            subscriber
            for subscriber in self._with_category
            if any(is_below_any(path, subscriber.kind.events.categories) for path in paths)
        ]


def subscribe(kind: WindowKind, number: int) -> WindowSubscriber:
    """The subscriber of a window that has this number in the program."""
    return WindowSubscriber(kind, number, compile_event_test(kind.events), _value_reader(kind))


def _build(subscribers: Iterable[WindowSubscriber]) -> EventDispatch:
    times: list[int] = []
    valued: list[tuple[int, int, ReadValues]] = []
    conditional: list[tuple[EventTest, int, int, ReadValues | None]] = []
    for _, number, test, read_values in subscribers:
        source = source_of_window(number)
        if test is not None:
            conditional.append((test, number, source, read_values))
        elif read_values is not None:
            valued.append((number, source, read_values))
        else:
            times += (number, 0, source)
    return EventDispatch(tuple(times), tuple(valued), tuple(conditional))


def _value_reader(kind: WindowKind) -> ReadValues | None:
    """The function that reads what an event adds to a window; None for times."""
    if kind.form == "times":
        return None
    if kind.form == "keyed" and kind.measured == "items" and not kind.events.matches_items:
        return _read_items
    if kind.form == "keyed":
        keys_of = compile_keys(kind.events, kind.measured)
        return lambda event: [_hash_number(name) for name in keys_of(event)]
    if kind.form == "items":
        items_of = compile_keys(kind.events, "items")
        return lambda event: sorted({_hash_number(name) for name in items_of(event)})
    amount_of = compile_amount(kind.events, kind.measured)
    return lambda event: (amount_of(event),)


def _read_items(event: Event) -> Sequence[int]:
    items = event.items
    if len(items) == 1:  # nearly always
        return (_hash_number(items[0].item_id),)
    return [_hash_number(item.item_id) for item in items]


@lru_cache(1 << 15)
def _hash_number(text: str) -> int:
    return int.from_bytes(hash_key(text), "big")
