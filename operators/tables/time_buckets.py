"""Counts by minute and by hour of event time, and the Redis streams made of them.

An entry is written once, when its minute or hour has ended, if anything was counted in it; so a gap
between two entries means that nothing was counted. A late event counts in the open minute. A resumed
run writes the same entries again with the same ids, and Redis has them already.

The array names and columns in `scalars` are stored.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from operators.tables.table import TableState
from state.money import add_at, add_columns
from state.times import HOUR_MS, MINUTE_MS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from operators.tables.table import Arrays
    from state.messages import Write

    CountArray = NDArray[np.int64]

UNITS_MS = {"minutes": MINUTE_MS, "hours": HOUR_MS}
BUCKETS_KEPT = {"minutes": 6, "hours": 25}
"""How many buckets are kept for `sum_since`, the open one included."""
ENTRIES_MAX = {"minutes": 8 * 1440, "hours": 400 * 24}
"""Length limit of the Redis streams: 8 days of minutes, 400 days of hours."""


class TimeBuckets(TableState):
    """Counts int64[rows, columns] for each minute and each hour; rows may be added at any time.

    `open_bucket` is the number of the minute and of the hour that is not yet written, by unit.
    """

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self._buckets_by_unit: dict[str, dict[int, CountArray]] = {unit: {} for unit in UNITS_MS}
        self._pending: list[tuple[int, int, int, int]] = []
        self.open_bucket = dict.fromkeys(UNITS_MS, 0)
        self.decreases = 0
        """How often counts went away or became less. As long as it is the same, a row with counts has
        some. Not stored."""

    @property
    def buckets(self) -> dict[str, dict[int, CountArray]]:
        """All counts, by unit and number of the minute or hour."""
        if self._pending:
            pending, self._pending = self._pending, []
            flat = np.fromiter(chain.from_iterable(pending), np.int64, 4 * len(pending))
            self._add_pending(*flat.reshape(-1, 4).T)
        return self._buckets_by_unit

    def add(self, column: int, row: int, at_ms: int, count: int = 1) -> None:
        """Count something at a time. Counts are collected, and added up when they are next read."""
        self._pending.append((column, row, at_ms, count))
        if count < 0:
            self.decreases += 1

    def add_many(self, column: int, row: int, at_ms: NDArray[np.int64]) -> None:
        """Count one at each of these times."""
        if not len(at_ms):
            return
        first = int(at_ms.min()) // MINUTE_MS
        for minute, count in enumerate(np.bincount(at_ms // MINUTE_MS - first).tolist(), first):
            if count:
                self.add(column, row, minute * MINUTE_MS, count)

    def is_empty(self, row: int) -> bool:
        """Whether no kept bucket has a count in this row."""
        buckets = (counts for by_number in self.buckets.values() for counts in by_number.values())
        return not any(counts[row : row + 1].any() for counts in buckets)

    def sum_since(self, unit: str, now_ms: int, rows: int) -> CountArray:
        """Sums of the last `BUCKETS_KEPT` buckets, that of `now_ms` included, int64[rows, columns]."""
        first = now_ms // UNITS_MS[unit] - BUCKETS_KEPT[unit] + 1
        return self._sum_from(unit, first, rows)

    def take_closed(
        self, clock_ms: int, rows: int
    ) -> Iterator[tuple[str, int, CountArray, CountArray]]:
        """Close the buckets that ended by `clock_ms`.

        Yields for each: unit, start (ms), counts in it, counts after it.
        """
        for unit, unit_ms in UNITS_MS.items():
            buckets, current = self.buckets[unit], clock_ms // unit_ms
            closed = sorted(
                bucket for bucket in buckets if self.open_bucket[unit] <= bucket < current
            )
            counts_since = self._sum_from(unit, closed[0] if closed else current, rows)
            for bucket in closed:
                counts = _widen(buckets[bucket], rows)
                counts_since = counts_since - counts
                yield unit, bucket * unit_ms, counts, counts_since
            self.open_bucket[unit] = max(current, self.open_bucket[unit])
            for bucket in [b for b in buckets if b < current - BUCKETS_KEPT[unit]]:
                del buckets[bucket]
                self.decreases += 1

    def scalars(self) -> Arrays:
        """All counts other than 0, one line each: bucket, row, column, count."""
        arrays: dict[str, CountArray] = {"open": np.array(list(self.open_bucket.values()))}
        for unit, buckets in self.buckets.items():
            chunks = [
                np.column_stack((np.full(len(cells), bucket), cells, counts[tuple(cells.T)]))
                for bucket, counts in buckets.items()
                for cells in (np.argwhere(counts),)
            ]
            arrays[unit] = np.concatenate([np.zeros((0, 4), np.int64), *chunks])
        return arrays

    def restore(self, arrays: Arrays) -> None:
        """Restore what `scalars` gave."""
        if "open" in arrays:
            open_numbers = arrays["open"].astype(np.int64).tolist()
            self.open_bucket = dict(zip(UNITS_MS, open_numbers, strict=True))
        for unit in UNITS_MS:
            for bucket, row, column, count in arrays.get(unit, np.zeros((0, 4))).tolist():
                self._bucket(unit, int(bucket), int(row))[int(row), int(column)] = int(count)

    def _add_pending(
        self, column: CountArray, row: CountArray, at_ms: CountArray, amount: CountArray
    ) -> None:
        rows, index = int(row.max()) + 1, row * self.columns + column
        for unit, unit_ms in UNITS_MS.items():
            bucket = np.maximum(at_ms // unit_ms, self.open_bucket[unit])
            order = bucket.argsort(kind="stable")
            numbers, first = np.unique(bucket[order], return_index=True)
            for number, chunk in zip(numbers.tolist(), np.split(order, first[1:]), strict=True):
                counts = self._bucket(unit, number, rows - 1)
                add_at(counts.reshape(-1), index[chunk], amount[chunk])

    def _bucket(self, unit: str, bucket: int, row: int) -> CountArray:
        """The counts of a minute or hour, with at least the rows up to this one."""
        buckets = self._buckets_by_unit[unit]
        counts = buckets.get(bucket)
        if counts is None:
            counts = buckets[bucket] = np.zeros((row + 1, self.columns), np.int64)
        elif len(counts) <= row:
            counts = buckets[bucket] = _widen(counts, row + 1)
        return counts

    def _sum_from(self, unit: str, first: int, rows: int) -> CountArray:
        total = np.zeros((rows, self.columns), np.int64)
        for bucket, counts in self.buckets[unit].items():
            if bucket >= first:
                total[: len(counts)] = add_columns(total[: len(counts)], counts)
        return total


def history_entry(key: str, unit: str, at_ms: int, fields: Mapping[str, str | int]) -> Write:
    """The command that appends one entry to a history stream in Redis."""
    pairs = (part for pair in fields.items() for part in pair)
    return ("XADD", key, "MAXLEN", "~", ENTRIES_MAX[unit], f"{at_ms}-0", *pairs)


def _widen(counts: CountArray, rows: int) -> CountArray:
    if len(counts) >= rows:
        return counts
    wider = np.zeros((rows, counts.shape[1]), np.int64)
    wider[: len(counts)] = counts
    return wider
