"""The parts of an event that adapters read alike: who, when, where, and what is beside the items."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from operators.events.decode import stable_event_id
from operators.events.validation import CLOCK_SKEW_MS, normalize_id
from operators.readers.fields import BadFieldError, Fields, check_time_ms
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


class AdapterContext(NamedTuple):
    """What is known of an event besides its own fields: an id for it if it has none, the clock, and
    when its record came in (0: not known). Times in ms."""

    event_id: str
    now_ms: int
    received_ms: int

    def event_id_from(self, fields: Fields, *names: str) -> str:
        """The first of these ids that is there, else a stable one."""
        for name in names:
            if (event_id := fields.text(name)) is not None:
                return (
                    event_id
                    if len(event_id) <= EVENT_ID_CHARS_MAX
                    else stable_event_id(name, event_id)
                )
        return self.event_id


def read_identity(
    anonymous: Sequence[tuple[Fields, str]], users: Sequence[tuple[Fields, str]]
) -> tuple[str | None, str | None]:
    """The first usable anonymous id and the first usable user id, each from fields in this order.

    What stands for nobody is dropped beside a good id: the event still tells who it was.
    """
    faults: list[BadFieldError] = []

    def first_usable(candidates: Sequence[tuple[Fields, str]]) -> str | None:
        for fields, name in candidates:
            identifier = fields.identifier(name, is_person=True)
            fault = _identity_fault(fields, name, identifier)
            if fault is not None:
                faults.append(fault)
            elif identifier is not None:
                return normalize_id(identifier)
        return None

    anonymous_id, user_id = first_usable(anonymous), first_usable(users)
    if anonymous_id is None and user_id is None:
        if faults:
            raise faults[0]
        names = " nor ".join(name for _, name in (*anonymous, *users))
        raise BadFieldError("no_identity", "$", f"neither {names}")
    return anonymous_id, user_id


def _identity_fault(fields: Fields, name: str, identifier: str | None) -> BadFieldError | None:
    """Why an id that is there is nobody's."""
    path = fields.path_of(name)
    if identifier is None:
        if not fields.has(name):
            return None
        return BadFieldError("blocked_id", path, f"{fields.values[name]!r:.100} stands for nobody")
    if normalize_id(identifier) is None:
        return BadFieldError("blocked_id", path, f"{identifier[:100]!r} stands for nobody")
    if len(identifier) > SHOPPER_ID_CHARS_MAX:
        fields.note_unreadable(name)
        message = f"{len(identifier)} characters; at most {SHOPPER_ID_CHARS_MAX}"
        return BadFieldError("schema_violation", path, message)
    return None


def event_times(
    fields: Fields,
    *,
    original: str,
    sent: str,
    received: str,
    corrected: str,
    context: AdapterContext,
) -> tuple[int, int]:
    """When it happened and when it was received (0: not told), in ms, from the names of its fields.

    `received - (sent - original)` takes what the clock of the device is wrong out of it. Where one
    of the three is missing it is what the collector `corrected` by itself, else what the device
    said, else when it was received or sent, else when its record came in. A time that cannot be
    is as if it were missing, as long as there is another.
    """
    times = TimeReader(fields, context.now_ms)
    received_ms = times.check(received, times.read(received))
    sent_ms, original_ms = times.read(sent), times.read(original)
    happened_ms = None
    if original_ms is not None and sent_ms is not None and received_ms is not None:
        happened_ms = times.check(original, received_ms - (sent_ms - original_ms))
    else:
        corrected_ms = times.check(corrected, times.read(corrected))
        happened_ms = times.check(original, original_ms) if corrected_ms is None else corrected_ms
    if happened_ms is None:
        happened_ms = times.check(sent, sent_ms) if received_ms is None else received_ms
    if happened_ms is None:
        happened_ms = times.received_or_raise(context.received_ms, original)
    if received_ms is not None:
        happened_ms = min(happened_ms, received_ms + CLOCK_SKEW_MS)
    return check_time_ms(happened_ms, fields.path_of(original), context.now_ms), received_ms or 0


class TimeReader:
    """Reads the times of an event, and remembers what was wrong until another is known."""

    def __init__(self, fields: Fields, now_ms: int) -> None:
        self._fields = fields
        self._now_ms = now_ms
        self._fault: BadFieldError | None = None

    def read(self, name: str) -> int | None:
        """A time as the sender told it; one that is none is noted."""
        if self._fields.values.get(name) is None:
            return None
        return self._read_or_note(name, lambda: self._fields.time_ms(name))

    def check(self, name: str, at_ms: int | None) -> int | None:
        """That time, if an event can have it; else it is noted."""
        if at_ms is None:
            return None
        return self._read_or_note(
            name, lambda: check_time_ms(at_ms, self._fields.path_of(name), self._now_ms)
        )

    def received_or_raise(self, received_ms: int, name: str) -> int:
        """When the record came in, where no other time is known."""
        if received_ms:
            return received_ms
        raise self._fault or BadFieldError(
            "bad_timestamp", self._fields.path_of(name), "no time is told"
        )

    def _read_or_note(self, name: str, read: Callable[[], int | None]) -> int | None:
        try:
            return read()
        except BadFieldError as fault:
            self._fault = self._fault or fault
            self._fields.note_unreadable(name)
            return None


def read_first_time(candidates: Sequence[tuple[Fields, str]], context: AdapterContext) -> int:
    """The first of these times, in microseconds, that an event can have, else when its record came."""
    fault: BadFieldError | None = None
    for fields, name in candidates:
        try:
            if (time_ms := fields.micros_ms(name)) is not None:
                return check_time_ms(time_ms, fields.path_of(name), context.now_ms)
        except BadFieldError as error:
            fault = fault or error
            fields.note_unreadable(name)
    if context.received_ms:
        return context.received_ms
    fields, name = candidates[-1]
    raise fault or BadFieldError("bad_timestamp", fields.path_of(name), "no time is told")


def custom_props(name: str) -> msgspec.Raw:
    """What is kept of an event that has no type of its own: its name."""
    return msgspec.Raw(msgspec.json.encode({"event": name[:NAME_CHARS_MAX]}))


def read_page(
    *sources: Fields, url: str, path: str, referrer: str, title: Sequence[str]
) -> Page | None:
    """Where it happened, each part from the first that tells it."""
    if not any(source.values for source in sources):
        return None

    def first_text(*names: str) -> str | None:
        return next((text for source in sources if (text := source.text(*names))), None)

    result = Page(
        url=first_text(url),
        path=first_text(path),
        referrer=first_text(referrer),
        title=first_text(*title),
    )
    return None if result == Page() else result


def read_campaign(source: Fields, *, prefix: str = "", name: str = "name") -> Campaign | None:
    """What brought the shopper, from names that begin with `prefix`; its own is called `name`."""
    if not source.values:
        return None
    result = Campaign(
        source=source.text(f"{prefix}source"),
        medium=source.text(f"{prefix}medium"),
        name=source.text(name),
        term=source.text(f"{prefix}term"),
        content=source.text(f"{prefix}content"),
    )
    return None if result == Campaign() else result
