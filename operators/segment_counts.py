"""What happened in each segment, by minute and by hour of event time: entered, left, orders, revenue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from state.times import HOUR_MS, MINUTE_MS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from operators.learners.table import Arrays

    Counted = NDArray[np.int64]

ENTERED, LEFT, ORDERS, REVENUE_MICROS = range(4)
_COLUMNS = 4
MINUTES_KEPT = 6
HOURS_KEPT = 25

_FORMER = {"entered": ENTERED, "left": LEFT, "orders": ORDERS, "revenue_micros": REVENUE_MICROS}


class Counts:
    """int64[segments, 4] by minute and by hour; segments may be added."""

    def __init__(self) -> None:
        self.minutes: dict[int, Counted] = {}
        self.hours: dict[int, Counted] = {}

    def bump(self, column: int, segment: int, at_ms: int, by: int = 1) -> None:
        """Count something that happened in a segment."""
        for table, unit_ms in ((self.minutes, MINUTE_MS), (self.hours, HOUR_MS)):
            at = at_ms // unit_ms
            counts = table.get(at)
            if counts is None:
                counts = table[at] = np.zeros((segment + 1, _COLUMNS), np.int64)
            elif len(counts) <= segment:
                counts = table[at] = _widened(counts, segment + 1)
            counts[segment, column] += by

    def since(self, now_ms: int, segments: int) -> tuple[Counted, Counted]:
        """Sums of the last 5 minutes and of the last 24 hours, each int64[segments, 4]."""
        return (
            _sum(self.minutes, now_ms // MINUTE_MS - MINUTES_KEPT + 1, segments),
            _sum(self.hours, now_ms // HOUR_MS - HOURS_KEPT + 1, segments),
        )

    def forget(self, now_ms: int) -> None:
        """Let go of what is older than anybody asks for."""
        for table, first in (
            (self.minutes, now_ms // MINUTE_MS - MINUTES_KEPT),
            (self.hours, now_ms // HOUR_MS - HOURS_KEPT),
        ):
            for at in [at for at in table if at < first]:
                del table[at]

    def small(self) -> Arrays:
        """All counts, to be stored."""
        stored: dict[str, NDArray[np.int64]] = {}
        for name, table in (("minutes", self.minutes), ("hours", self.hours)):
            widest = max(map(len, table.values()), default=0)
            stored[f"{name}.at"] = np.array(list(table), np.int64)
            stored[f"{name}.counts"] = np.array(
                [_widened(counts, widest) for counts in table.values()], np.int64
            ).reshape(len(table), widest, _COLUMNS)
        return stored

    def restore(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over what `small` gave, or what former releases did: a table for each column."""
        self.minutes, self.hours = {}, {}
        for name, table in (("minutes", self.minutes), ("hours", self.hours)):
            if f"{name}.at" in arrays:
                counts = arrays[f"{name}.counts"].astype(np.int64)
                table.update({int(at): counts[n] for n, at in enumerate(arrays[f"{name}.at"])})
        for name, column in _FORMER.items():
            table = self.minutes if column in (ENTERED, LEFT) else self.hours
            for n, at in enumerate(arrays.get(f"{name}.at", ())):
                counts = arrays[f"{name}.counts"][n].astype(np.int64)
                of_all = table.setdefault(int(at), np.zeros((len(counts), _COLUMNS), np.int64))
                of_all[:, column] += counts


def _widened(counts: Counted, segments: int) -> Counted:
    wider = np.zeros((max(segments, len(counts)), _COLUMNS), np.int64)
    wider[: len(counts)] = counts
    return wider


def _sum(table: Mapping[int, Counted], first: int, segments: int) -> Counted:
    total = np.zeros((segments, _COLUMNS), np.int64)
    for at, counts in table.items():
        if at >= first:
            total[: len(counts)] += counts
    return total
