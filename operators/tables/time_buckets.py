"""What happened by minute and by hour of event time, and the streams that tell of it.

An entry is written once, when its minute or hour is over, if anything happened in it: between two
entries nothing did. What comes late counts for the minute that is open. A run that goes on writes the
same entries again, and Redis has them already.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

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
"""How many are kept to be asked for, the open one among them."""
ENTRIES_MAX = {"minutes": 8 * 1440, "hours": 400 * 24}


class TimeBuckets:
    """int64[things, columns] by minute and by hour; things may be added.

    `open_bucket` is the minute and the hour that nothing is written of yet, by name.
    """

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self._tables: dict[str, dict[int, CountArray]] = {unit: {} for unit in UNITS_MS}
        self._pending: list[tuple[int, int, int, int]] = []
        self.open_bucket = dict.fromkeys(UNITS_MS, 0)

    @property
    def tables(self) -> dict[str, dict[int, CountArray]]:
        """All counts, by unit and its number."""
        if self._pending:
            pending, self._pending = self._pending, []
            columns = np.fromiter(chain.from_iterable(pending), np.int64, 4 * len(pending)).reshape(
                -1, 4
            )
            self._add_pending(*columns.T)
        return self._tables

    def add(self, column: int, row: int, at_ms: int, count: int = 1) -> None:
        """Count something that happened; many are added up in one go, when somebody asks."""
        self._pending.append((column, row, at_ms, count))

    def add_many(self, column: int, row: int, at_ms: NDArray[np.int64]) -> None:
        """Count one for each of these times."""
        if not len(at_ms):
            return
        first = int(at_ms.min()) // MINUTE_MS
        for minute, count in enumerate(np.bincount(at_ms // MINUTE_MS - first).tolist(), first):
            if count:
                self.add(column, row, minute * MINUTE_MS, count)

    def is_empty(self, row: int) -> bool:
        """Whether nothing that is kept happened to it."""
        tables = (table for unit in self.tables.values() for table in unit.values())
        return not any(counts[row : row + 1].any() for counts in tables)

    def sum_since(self, unit: str, now_ms: int, rows: int) -> CountArray:
        """Sums of the last so many minutes or hours as are kept but for one, int64[things, columns]."""
        first = now_ms // UNITS_MS[unit] - BUCKETS_KEPT[unit] + 1
        return self._sum_from(unit, first, rows)

    def take_closed(
        self, clock_ms: int, rows: int
    ) -> Iterator[tuple[str, int, CountArray, CountArray]]:
        """What is over: unit, when it began (ms), what happened in it, and what happened since."""
        for unit, unit_ms in UNITS_MS.items():
            table, current = self.tables[unit], clock_ms // unit_ms
            closed = sorted(
                bucket for bucket in table if self.open_bucket[unit] <= bucket < current
            )
            counts_since = self._sum_from(unit, closed[0] if closed else current, rows)
            for at in closed:
                counts = _widen(table[at], rows)
                counts_since = counts_since - counts
                yield unit, at * unit_ms, counts, counts_since
            self.open_bucket[unit] = max(current, self.open_bucket[unit])
            for at in [at for at in table if at < current - BUCKETS_KEPT[unit]]:
                del table[at]

    def scalars(self) -> Arrays:
        """All counts, to be stored: when, of what, which column, how many."""
        arrays: dict[str, CountArray] = {"open": np.array(list(self.open_bucket.values()))}
        for unit, table in self.tables.items():
            chunks = [
                np.column_stack((np.full(len(cells), at), cells, counts[tuple(cells.T)]))
                for at, counts in table.items()
                for cells in (np.argwhere(counts),)
            ]
            arrays[unit] = np.concatenate([np.zeros((0, 4), np.int64), *chunks])
        return arrays

    def restore(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over what `scalars` gave."""
        if "open" in arrays:
            self.open_bucket = dict(
                zip(UNITS_MS, arrays["open"].astype(np.int64).tolist(), strict=True)
            )
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
            buckets, first = np.unique(bucket[order], return_index=True)
            for current, chunk in zip(buckets.tolist(), np.split(order, first[1:]), strict=True):
                counts = self._bucket(unit, current, rows - 1)
                add_at(counts.reshape(-1), index[chunk], amount[chunk])

    def _bucket(self, unit: str, bucket: int, row: int) -> CountArray:
        table = self._tables[unit]
        counts = table.get(bucket)
        if counts is None:
            counts = table[bucket] = np.zeros((row + 1, self.columns), np.int64)
        elif len(counts) <= row:
            counts = table[bucket] = _widen(counts, row + 1)
        return counts

    def _sum_from(self, unit: str, first: int, rows: int) -> CountArray:
        total = np.zeros((rows, self.columns), np.int64)
        for bucket, counts in self.tables[unit].items():
            if bucket >= first:
                total[: len(counts)] = add_columns(total[: len(counts)], counts)
        return total


def history_entry(key: str, unit: str, at_ms: int, fields: Mapping[str, str | int]) -> Write:
    """One entry of a history."""
    pairs = (part for pair in fields.items() for part in pair)
    return ("XADD", key, "MAXLEN", "~", ENTRIES_MAX[unit], f"{at_ms}-0", *pairs)


def _widen(counts: CountArray, rows: int) -> CountArray:
    if len(counts) >= rows:
        return counts
    wider = np.zeros((rows, counts.shape[1]), np.int64)
    wider[: len(counts)] = counts
    return wider
