"""The time of an event, from the several times that a record may carry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.events.validation import CLOCK_SKEW_MS
from operators.readers.values import BadFieldError, check_time_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from operators.readers.common_fields import AdapterContext
    from operators.readers.fields import Fields


def read_event_times(
    fields: Fields,
    *,
    original: str,
    sent: str,
    received: str,
    corrected: str,
    context: AdapterContext,
) -> tuple[int, int]:
    """When an event happened and when it was received (0: unknown), in ms, from fields with these
    names.

    `received - (sent - original)` corrects for a wrong clock of the device. Where one of the three
    is missing, the first of these is taken: the time that the collector `corrected` itself, the
    time of the device, when it was received or sent, when its record was received. A time that no
    event can have counts as missing, as long as there is another.
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
    """Reads the times of an event, and keeps the first error until a good time is found."""

    def __init__(self, fields: Fields, now_ms: int) -> None:
        self._fields = fields
        self._now_ms = now_ms
        self._error: BadFieldError | None = None

    def read(self, name: str) -> int | None:
        """The time in a field, unchecked; None where it is no time, which is noted."""
        if self._fields.values.get(name) is None:
            return None
        return self._read_or_note(name, lambda: self._fields.time_ms(name))

    def check(self, name: str, at_ms: int | None) -> int | None:
        """The time, if an event can have it; else None, which is noted."""
        if at_ms is None:
            return None
        return self._read_or_note(
            name, lambda: check_time_ms(at_ms, self._fields.path_of(name), self._now_ms)
        )

    def received_or_raise(self, received_ms: int, name: str) -> int:
        """When the record was received, where no other time is known. Raises BadFieldError."""
        if received_ms:
            return received_ms
        raise self._error or _missing_time(self._fields, name)

    def _read_or_note(self, name: str, read: Callable[[], int | None]) -> int | None:
        try:
            return read()
        except BadFieldError as error:
            self._error = self._error or error
            self._fields.note_unreadable(name)
            return None


def read_first_time(candidates: Sequence[tuple[Fields, str]], context: AdapterContext) -> int:
    """The first of these times, in microseconds, that an event can have; else when its record was
    received."""
    first_error: BadFieldError | None = None
    for fields, name in candidates:
        try:
            if (time_ms := fields.micros_ms(name)) is not None:
                return check_time_ms(time_ms, fields.path_of(name), context.now_ms)
        except BadFieldError as error:
            first_error = first_error or error
            fields.note_unreadable(name)
    if context.received_ms:
        return context.received_ms
    raise first_error or _missing_time(*candidates[-1])


def _missing_time(fields: Fields, name: str) -> BadFieldError:
    return BadFieldError("bad_timestamp", fields.path_of(name), "no time is given")
