"""How far event time has come for a step that sees all of a batch. Times in ms of event time."""

from __future__ import annotations


class EventClock:
    """The clock that all parts of a step share; it never goes back.

    `newest_event_ms` is the newest event time seen. `event_time_ms` is what all partitions of the
    source have reached: segments age by it. Events may be older than it by the allowed lateness.
    """

    def __init__(self, allowed_lateness_ms: int) -> None:
        self.newest_event_ms = 0
        self.event_time_ms = 0
        self._allowed_lateness_ms = allowed_lateness_ms

    @property
    def reporting_time_ms(self) -> int:
        """The time that statistics are of: in an idle shop it goes on without events."""
        return max(self.newest_event_ms, self.event_time_ms)

    def observe(self, at_ms: int) -> None:
        """An event of this time was seen."""
        self.newest_event_ms = max(self.newest_event_ms, at_ms)

    def advance(self, watermark_ms: int) -> None:
        """The source has come this far; 0 where not all partitions have been read yet."""
        if watermark_ms > 0:
            self.event_time_ms = max(self.event_time_ms, watermark_ms + self._allowed_lateness_ms)
