"""A shop of a few persons, and what each of them did, recounted by persons and not by ids.

`streams()` draws `Act`s: a person, and the event by which it is told, under one of the ids that stand
for that person then. `recount()` adds them up by person. Neither asks which id came when: that is what
the flow has to find out.

To extend it (refunds, currencies, consent, ...):
1. `Did` says what a person can do: add a kind there, and in `_event` the event that tells it;
2. `Figures` is what is counted of a person: add a field with a default, and in `recount` how it grows;
3. `FIELDS` says which field of the profile in Redis shows it, and as what text.
Each duplicate or repeated order is an `Act` of its own, so nothing else has to know of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from hypothesis import strategies as st

from state.events import Event, EventType, Item

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

START_MS = 1_600_000_000_000
MINUTE_MS = 60_000
GAP_MS = 30 * MINUTE_MS
BURST_MS = 4 * MINUTE_MS
"""Everything in a burst may arrive in any order: it is shorter than the allowed lateness."""
APART_MS = 50 * MINUTE_MS
"""From one burst to the next: more than the gap of sessions, and less than a wrong clock is ahead."""

Did = Literal["page_view", "item_view", "cart_add", "purchase"]
DID: tuple[Did, ...] = ("page_view", "item_view", "cart_add", "purchase")
ITEMS = tuple(
    Item(f"item {n}", category=("wear",), price=price) for n, price in enumerate((9.5, 20, 3))
)

Style = Literal["signs in", "never signs in", "same id", "server sends the cookie's id"]
STYLES: tuple[Style, ...] = (
    "signs in",
    "never signs in",
    "same id",
    "server sends the cookie's id",
)
"""How a shop tells of a person. `same id`: its app calls the device as the user is called."""


class Person(NamedTuple):
    """Whose ids these are; `name` is the one that stands for the person in the end."""

    style: Style
    name: str
    devices: tuple[str, ...]

    @classmethod
    def of(cls, number: int, style: Style, devices: int) -> Person:
        """One person of the shop."""
        own = tuple(f"device-{number}-{n}" for n in range(devices))
        if style == "never signs in":
            return cls(style, own[0], own[:1])
        name = f"user-{number}"
        return cls(style, name, (name, *own[1:]) if style == "same id" else own)

    @property
    def aliases(self) -> frozenset[str]:
        """The ids that have to lead to the person."""
        return frozenset(self.devices) - {self.name}


class Act(NamedTuple):
    """What a person did, as it was told."""

    person: int
    event: Event


class Stream(NamedTuple):
    """Persons, and their acts in the order in which they arrive."""

    persons: tuple[Person, ...]
    acts: tuple[Act, ...]

    @property
    def events(self) -> list[Event]:
        """What is sent."""
        return [act.event for act in self.acts]


@dataclass
class Figures:
    """What one person did in all."""

    events: int = 0
    views: int = 0
    carts: int = 0
    purchases: int = 0
    units: int = 0
    revenue_cents: int = 0
    first_ms: int = 1 << 62
    last_ms: int = 0
    seen: set[str] = field(default_factory=set)
    orders: set[str] = field(default_factory=set)
    at_ms: list[int] = field(default_factory=list)

    @property
    def sessions(self) -> int:
        """Runs of events with no gap above half an hour."""
        at_ms = sorted(self.at_ms)
        return sum(
            n == 0 or at - before > GAP_MS
            for n, (before, at) in enumerate(zip([0, *at_ms], at_ms, strict=False))
        )

    def add(self, event: Event) -> None:
        """One act, unless it was told before."""
        is_again = event.event_id in self.seen or event.order_id in self.orders
        self.seen.add(event.event_id)
        if is_again:
            return
        self.events += 1
        self.at_ms.append(event.event_ts)
        self.first_ms = min(self.first_ms, event.event_ts)
        self.last_ms = max(self.last_ms, event.event_ts)
        self.views += event.type == "item_view"
        self.carts += event.type == "cart_add"
        if event.type == "purchase":
            assert event.order_id is not None
            self.orders.add(event.order_id)
            self.purchases += 1
            self.units += sum(int(item.quantity) for item in event.items)
            self.revenue_cents += round((event.value or 0) * 100)


def recount(stream: Stream) -> dict[str, Figures]:
    """The figures of each person who did something, by name; in order of time."""
    found: dict[str, Figures] = {}
    for act in sorted(stream.acts, key=lambda act: act.event.event_ts):
        name = stream.persons[act.person].name
        found.setdefault(name, Figures()).add(act.event)
    return found


FIELDS: dict[str, Callable[[Figures], str | None]] = {
    "events": lambda of: str(of.events),
    "sessions": lambda of: str(of.sessions),
    "views": lambda of: str(of.views),
    "carts": lambda of: str(of.carts),
    "purchases": lambda of: str(of.purchases),
    "units": lambda of: str(of.units) if of.purchases else None,
    "revenue": lambda of: f"{of.revenue_cents / 100:.2f}",
    "first_ms": lambda of: str(of.first_ms),
    "last_ms": lambda of: str(of.last_ms),
}
"""The fields of a profile, and what they have to say; None where the field is not there."""

SEGMENTS: dict[str, tuple[str, Callable[[Figures], bool]]] = {
    "buyers": ("purchases at least 1", lambda of: of.purchases >= 1),
    "lookers": ("views at least 2", lambda of: of.views >= 2),
    "again": ("sessions at least 2", lambda of: of.sessions >= 2),
}
"""Segments by rule: what is asked, and who is in it in the end."""
RULES = "".join(f"{sid}: {{when: {rule}}}\n" for sid, (rule, _) in SEGMENTS.items())


def _event(kind: Did, number: int, at_ms: int, device: str | None, user: str | None) -> Event:
    more: dict[str, Any] = {}
    if kind != "page_view":
        more["items"] = (ITEMS[number % len(ITEMS)],)
    if kind == "purchase":
        more |= {"order_id": f"order {number}", "value": 10.0 + number, "currency": "EUR"}
    at_ms += START_MS
    return Event(f"event {number}", kind, at_ms, at_ms, device, user, **more)


def _ways(person: Person, device: str, *, is_first: bool) -> list[tuple[str | None, str | None]]:
    """The ids under which a person can be told of; `is_first`: nothing was heard of the device yet."""
    ways: list[tuple[str | None, str | None]] = [(device, None)]
    if person.style != "never signs in":
        ways += [(device, person.name), (None, person.name)]
    if person.style == "server sends the cookie's id" and not is_first:
        # A server knows of a cookie from the device, so the device was there before.
        ways.append((None, device))
    return ways


class _Teller:
    """Tells of persons, event by event, in order of time."""

    def __init__(self, draw: st.DrawFn, persons: Sequence[Person]) -> None:
        self._draw = draw
        self._persons = persons
        self._signed_in: set[str] = set()
        self.acts: list[Act] = []

    def tell(self, number: int, at_ms: int) -> None:
        """Somebody does something with some device."""
        draw = self._draw
        who = draw(st.integers(0, len(self._persons) - 1))
        person = self._persons[who]
        device = draw(st.sampled_from(person.devices))
        kind = draw(st.sampled_from(DID))
        is_first = all(act.event.anonymous_id != device for act in self.acts)
        device_id, user = draw(st.sampled_from(_ways(person, device, is_first=is_first)))
        if device_id is not None and user is not None:
            self._signed_in.add(device_id)
        self._add(who, _event(kind, number, at_ms, device_id, user))

    def again(self) -> None:
        """Something that was told is told again: the same event, or the same order by another."""
        act = self._draw(st.sampled_from(self.acts))
        self.acts.append(act)

    def sign_in(self, at_ms: int) -> None:
        """By the end of a burst everybody who has an account has signed in on what they used."""
        used = {(act.person, act.event.anonymous_id) for act in self.acts}
        for who, device in sorted(used, key=str):
            person = self._persons[who]
            if device is None or person.style == "never signs in" or device in self._signed_in:
                continue
            self._signed_in.add(device)
            kind: EventType = "identify"
            at = START_MS + at_ms
            self._add(who, Event(f"sign in of {device}", kind, at, at, device, person.name))

    def _add(self, who: int, event: Event) -> None:
        self.acts.append(Act(who, event))


@st.composite
def streams(draw: st.DrawFn, *, most: int = 12, bursts: int = 2, persons: int = 3) -> Stream:
    """Bursts of acts with a pause between them; those of one arrive in any order."""
    styles = draw(st.lists(st.sampled_from(STYLES), min_size=1, max_size=persons))
    people = tuple(
        Person.of(number, style, draw(st.integers(1, 2))) for number, style in enumerate(styles)
    )
    teller = _Teller(draw, people)
    number, arrived = 0, list[Act]()
    for burst in range(draw(st.integers(1, bursts))):
        began_ms, heard = burst * APART_MS, len(teller.acts)
        times = sorted(draw(st.lists(st.integers(0, BURST_MS - 1), min_size=1, max_size=most)))
        for offset_ms in times:
            # No two at the same time: which was first would be anybody's guess.
            teller.tell(number, began_ms + offset_ms + number)
            number += 1
        teller.sign_in(began_ms + BURST_MS)
        for _ in range(draw(st.integers(0, 3))):
            teller.again()
        arrived += draw(st.permutations(teller.acts[heard:]))
    return Stream(people, tuple(arrived))
