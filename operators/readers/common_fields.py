"""The parts of an event that adapters read alike: who, when, where, and what is beside the items."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from operators.events.decode import stable_event_id
from operators.events.validation import CLOCK_SKEW_MS, usable_id
from operators.readers.fields import BadFieldError, Fields, checked_ms
from state.events import EVENT_ID_CHARS_MAX, SHOPPER_ID_CHARS_MAX, Campaign, Page

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

NAME_CHARS_MAX = 200

PURPOSES = {
    "analytics": "analytics",
    "performance": "analytics",
    "statistics": "analytics",
    "c0002": "analytics",
    "personalization": "personalization",
    "functional": "personalization",
    "preferences": "personalization",
    "c0003": "personalization",
    "advertising": "ads",
    "marketing": "ads",
    "targeting": "ads",
    "c0004": "ads",
}
"""Consent categories by name: a shop names its own, these are what consent tools begin with."""


class Told(NamedTuple):
    """What is known of an event besides its own fields: an id for it if it has none, the clock, and
    when its record came in (0: not known). Times in ms."""

    event_id: str
    now_ms: int
    received_ms: int

    def id_of(self, fields: Fields, *names: str) -> str:
        """The first of these ids that is there, else a stable one."""
        for name in names:
            if (found := fields.text(name)) is not None:
                return found if len(found) <= EVENT_ID_CHARS_MAX else stable_event_id(name, found)
        return self.event_id


def who(
    anonymous: Sequence[tuple[Fields, str]], users: Sequence[tuple[Fields, str]]
) -> tuple[str | None, str | None]:
    """The first usable anonymous id and the first usable user id, each from fields in this order.

    What stands for nobody is dropped beside a good id: the event still tells who it was.
    """
    blocked: list[BadFieldError] = []

    def first(places: Sequence[tuple[Fields, str]]) -> str | None:
        for fields, name in places:
            found = fields.identifier(name, of_person=True)
            fault = _fault_of(fields, name, found)
            if fault is not None:
                blocked.append(fault)
            elif found is not None:
                return usable_id(found)
        return None

    anonymous_id, user_id = first(anonymous), first(users)
    if anonymous_id is None and user_id is None:
        if blocked:
            raise blocked[0]
        names = " nor ".join(name for _, name in (*anonymous, *users))
        raise BadFieldError("no_identity", "$", f"neither {names}")
    return anonymous_id, user_id


def _fault_of(fields: Fields, name: str, found: str | None) -> BadFieldError | None:
    """Why an id that is there is nobody's."""
    path = fields.at(name)
    if found is None:
        if not fields.has(name):
            return None
        return BadFieldError("blocked_id", path, f"{fields.values[name]!r:.100} stands for nobody")
    if usable_id(found) is None:
        return BadFieldError("blocked_id", path, f"{found[:100]!r} stands for nobody")
    if len(found) > SHOPPER_ID_CHARS_MAX:
        fields.leave_out(name)
        message = f"{len(found)} characters; at most {SHOPPER_ID_CHARS_MAX}"
        return BadFieldError("schema_violation", path, message)
    return None


def event_times(
    fields: Fields, *, original: str, sent: str, received: str, corrected: str, told: Told
) -> tuple[int, int]:
    """When it happened and when it was received (0: not told), in ms, from the names of its fields.

    `received - (sent - original)` takes what the clock of the device is wrong out of it. Where one
    of the three is missing it is what the collector `corrected` by itself, else what the device
    said, else when it was received or sent, else when its record came in. A time that cannot be
    is as if it were missing, as long as there is another.
    """
    times = Times(fields, told.now_ms)
    received_ms = times.checked(received, times.read(received))
    sent_ms, original_ms = times.read(sent), times.read(original)
    happened_ms = None
    if original_ms is not None and sent_ms is not None and received_ms is not None:
        happened_ms = times.checked(original, received_ms - (sent_ms - original_ms))
    else:
        said_ms = times.checked(corrected, times.read(corrected))
        happened_ms = times.checked(original, original_ms) if said_ms is None else said_ms
    if happened_ms is None:
        happened_ms = times.checked(sent, sent_ms) if received_ms is None else received_ms
    if happened_ms is None:
        happened_ms = times.when_received(told.received_ms, original)
    if received_ms is not None:
        happened_ms = min(happened_ms, received_ms + CLOCK_SKEW_MS)
    return checked_ms(happened_ms, fields.at(original), told.now_ms), received_ms or 0


class Times:
    """Reads the times of an event, and remembers what was wrong until another is known."""

    def __init__(self, fields: Fields, now_ms: int) -> None:
        self._fields = fields
        self._now_ms = now_ms
        self._fault: BadFieldError | None = None

    def read(self, name: str) -> int | None:
        """A time as the sender told it; one that is none is noted."""
        if self._fields.values.get(name) is None:
            return None
        return self._noting(name, lambda: self._fields.iso_ms(name))

    def checked(self, name: str, at_ms: int | None) -> int | None:
        """That time, if an event can have it; else it is noted."""
        if at_ms is None:
            return None
        return self._noting(name, lambda: checked_ms(at_ms, self._fields.at(name), self._now_ms))

    def when_received(self, received_ms: int, name: str) -> int:
        """When the record came in, where no other time is known."""
        if received_ms:
            return received_ms
        raise self._fault or BadFieldError(
            "bad_timestamp", self._fields.at(name), "no time is told"
        )

    def _noting(self, name: str, read: Callable[[], int | None]) -> int | None:
        try:
            return read()
        except BadFieldError as fault:
            self._fault = self._fault or fault
            self._fields.leave_out(name)
            return None


def first_time(places: Sequence[tuple[Fields, str]], told: Told) -> int:
    """The first of these times, in microseconds, that an event can have, else when its record came."""
    fault: BadFieldError | None = None
    for fields, name in places:
        try:
            if (found := fields.micros_ms(name)) is not None:
                return checked_ms(found, fields.at(name), told.now_ms)
        except BadFieldError as wrong:
            fault = fault or wrong
            fields.leave_out(name)
    if told.received_ms:
        return told.received_ms
    fields, name = places[-1]
    raise fault or BadFieldError("bad_timestamp", fields.at(name), "no time is told")


def custom_props(name: str) -> msgspec.Raw:
    """What is kept of an event that has no type of its own: its name."""
    return msgspec.Raw(msgspec.json.encode({"event": name[:NAME_CHARS_MAX]}))


def page(*told: Fields, url: str, path: str, referrer: str, title: Sequence[str]) -> Page | None:
    """Where it happened, each part from the first that tells it."""
    if not any(one.values for one in told):
        return None

    def first(*names: str) -> str | None:
        return next((found for one in told if (found := one.text(*names))), None)

    found = Page(url=first(url), path=first(path), referrer=first(referrer), title=first(*title))
    return None if found == Page() else found


def campaign(told: Fields, *, prefix: str = "", name: str = "name") -> Campaign | None:
    """What brought the shopper, from names that begin with `prefix`; its own is called `name`."""
    if not told.values:
        return None
    found = Campaign(
        source=told.text(f"{prefix}source"),
        medium=told.text(f"{prefix}medium"),
        name=told.text(name),
        term=told.text(f"{prefix}term"),
        content=told.text(f"{prefix}content"),
    )
    return None if found == Campaign() else found
