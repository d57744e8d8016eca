"""When what is not published with every batch is due: aggregates, and the reports of models."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

RECORDED_EVENTS_MIN = 2_048
"""Events of a recording between two reports, in whole batches. Its event time passes far faster than the
clock: in small batches every one would be due, and cost more than its events."""


class ReportTimer:
    """Due every `every_ms` of the reporting time, in a live run also with the first batch.

    `last_ms` is the reporting time at which it was due last; its owner stores it. `batch_numbers` says
    how many batches came from each partition, with this one: a recording that resumes reports with the
    same batches.
    """

    def __init__(
        self,
        *,
        batch_numbers: Mapping[str, int],
        batch_events: int,
        every_ms: int,
        last_ms: int = 0,
    ) -> None:
        self.last_ms = last_ms
        self._batch_numbers = batch_numbers
        self._every_batches = -(-RECORDED_EVENTS_MIN // batch_events)
        self._every_ms = every_ms

    def take_due(self, now_ms: int, *, live: bool, first: bool, last: bool) -> bool:
        """Whether a report is due now; then it is not due again for a while.

        `first`: nothing was reported yet in this run.
        """
        is_due = now_ms - self.last_ms >= self._every_ms
        if live:
            is_due = is_due or first
        elif sum(self._batch_numbers.values()) % self._every_batches:
            is_due = False
        if not is_due and not last:
            return False
        self.last_ms = now_ms
        return True
