"""What readers promise: one of a record, and one of the lines of a log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from state.limits import DEFAULT, Limits

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from operators.events.decode import RecordPosition
    from state.dead_letters import DeadLetter
    from state.events import Event


class RecordReader(Protocol):
    """Reads one record into its events, in their order.

    Promises: at least one result (an empty record is a dead letter); the same record gives the same
    results, event ids included; no exception.
    """

    def __call__(
        self,
        raw: bytes,
        position: RecordPosition,
        *,
        now_ms: int,
        received_ms: int = 0,
        limits: Limits = DEFAULT,
    ) -> list[Event | DeadLetter]:
        """Read one record; `position` goes into dead letters.

        An event may be at most a day later than `now_ms`. `received_ms` is when the record was received,
        where something keeps that (Kafka does): it is the time of an event that has none.
        """


class FastReader(Protocol):
    """Reads a record of the usual shape of its format.

    Promises: either the events that the reader of the format gives, before the checks that hold for all
    formats, or an exception of any kind.
    """

    def __call__(self, raw: bytes, now_ms: int, received_ms: int) -> list[Event]:
        """Read one record; the times are those of `RecordReader`."""


class BatchDecoder(Protocol):
    """Decodes the good records among many: an event, or None for one that its reader has to read.

    Promises: an event is what the reader gives for that record.
    """

    def __call__(
        self, records: Iterable[bytes], arrivals_ms: Iterable[int], limits: Limits
    ) -> list[Event | None]:
        """Decode records that were received at these times."""


class LogReader(Protocol):
    """Reads lines, with or without their line ends: one result for each event or bad record.

    Promises: lazy and in constant memory; the same lines give the same results; no exception but
    `DataError` where the lines are of another format. A byte order mark is skipped.
    """

    def __call__(
        self, lines: Iterable[bytes], *, source: str, now_ms: int, limits: Limits = DEFAULT
    ) -> Iterator[Event | DeadLetter]:
        """Read all lines; `source` and the number of the line go into dead letters."""
