"""What to do with an event, found once for each type of event and category: windows that it goes into,
and the rules whose answers it may change (sets as in `operators.segments.rules.compiler`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from operators.segments.rules import windows
from operators.segments.rules.filters import amount_in, event_test, is_below, keys_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from operators.segments.rules.filters import Test
    from operators.segments.rules.windows_needed import Kind
    from state.events import Event
    from state.shopper import Shopper

    Note = Callable[[dict[int, bytes], Event, bytes, int], None]
    """Notes in a shopper's windows an event, its time (packed), at the shopper's clock (ms)."""
    Turns = tuple[tuple[Callable[[Shopper], int | None], dict[int | None, int]], ...]
    """What an event counts, and which rules may change when that has come to a number."""

_PLANS_MAX = 4096


class Listener(NamedTuple):
    """Takes events of a type that pass a test, if there is one, into a window.

    `touched` are the rules that may change by the shopper's newest event, `late` those by another.
    """

    kind: Kind
    test: Test | None
    note: Note
    touched: int
    late: int


class Plan(NamedTuple):
    """What to do with an event: rules that may change by the shopper's newest one, and by another;
    windows of times that it goes into, by key and size in bytes, and others; windows that it goes
    into if it passes a test; what it counts.
    """

    touched: int
    late: int
    times: tuple[tuple[int, int], ...]
    notes: tuple[Note, ...]
    tested: tuple[tuple[Test, Note, int, int], ...]
    turns: Turns


class Plans:
    """What to do with events of one type, by the category of their items."""

    def __init__(self, touched: int, turns: Turns, listeners: list[Listener]) -> None:
        self._touched = touched
        self._turns = turns
        self._plain = [one for one in listeners if not one.kind.events.categories]
        self._waiting = [one for one in listeners if one.kind.events.categories]
        self._of_none = self._plan(self._plain)
        self._of_path: dict[tuple[str, ...], Plan] = {}

    def of(self, event: Event) -> Plan:
        """The plan of an event."""
        items = event.items
        if not self._waiting or not items:
            return self._of_none
        if len(items) == 1:
            category = items[0].category
            return self._of_path.get(category) or self._of_one(category)
        paths = ["/".join(item.category) for item in items]
        return self._plan([*self._plain, *self._waiting_for(paths)])

    def _of_one(self, category: tuple[str, ...]) -> Plan:
        """The plan of an event with one item: that it is of the category need not be tested."""
        if len(self._of_path) > _PLANS_MAX:
            self._of_path.clear()
        found = [
            one._replace(test=event_test(replace(one.kind.events, categories=())))
            for one in self._waiting_for(["/".join(category)])
        ]
        plan = self._of_path[category] = self._plan([*self._plain, *found])
        return plan

    def _waiting_for(self, paths: Iterable[str]) -> list[Listener]:
        return [
            one
            for one in self._waiting
            if any(is_below(path, one.kind.events.categories) for path in paths)
        ]

    def _plan(self, listeners: Iterable[Listener]) -> Plan:
        touched = late = self._touched
        times: list[tuple[int, int]] = []
        notes: list[Note] = []
        tested: list[tuple[Test, Note, int, int]] = []
        for kind, test, note, touches, touches_late in listeners:
            if test is not None:
                tested.append((test, note, touches, touches_late))
                continue
            touched, late = touched | touches, late | touches_late
            if kind.form == "times":
                times.append((kind.key, kind.bytes_max))
            else:
                notes.append(note)
        return Plan(touched, late, tuple(times), tuple(notes), tuple(tested), self._turns)


def listener(kind: Kind, touched: int, late: int) -> Listener:
    """The listener of a window."""
    return Listener(kind, event_test(kind.events), _noting(kind), touched, late)


def _noting(kind: Kind) -> Note:
    key, size, within_ms = kind.key, kind.bytes_max, kind.within_ms
    if kind.form == "times":
        add_time = windows.add_time

        def note_time(kept: dict[int, bytes], event: Event, packed: bytes, now_ms: int) -> None:
            kept[key] = add_time(kept.get(key, b""), packed, size)

        return note_time
    if kind.form == "keyed":
        keys_of, add_key, key_of = keys_in(kind.events, kind.what), windows.add_key, windows.key_of

        def note_keys(kept: dict[int, bytes], event: Event, packed: bytes, now_ms: int) -> None:
            window = kept.get(key, b"")
            for name in keys_of(event):
                window = add_key(window, packed, key_of(name), size)
            kept[key] = window

        return note_keys
    if kind.form == "items":
        items_of, add_items, item_key = (
            keys_in(kind.events, "items"),
            windows.add_items,
            windows.key_of,
        )

        def note_items(kept: dict[int, bytes], event: Event, packed: bytes, now_ms: int) -> None:
            found = map(item_key, items_of(event))
            kept[key] = add_items(kept.get(key, b""), packed, found, size)

        return note_items
    amount_of = amount_in(kind.events, kind.what)

    def note_amount(kept: dict[int, bytes], event: Event, packed: bytes, now_ms: int) -> None:
        amount = amount_of(event)
        kept[key] = windows.add_amount(kept.get(key, b""), packed, amount, within_ms, now_ms)

    return note_amount
