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

    Counted = NDArray[np.int64]

UNITS_MS = {"minutes": MINUTE_MS, "hours": HOUR_MS}
KEPT = {"minutes": 6, "hours": 25}
"""How many are kept to be asked for, the open one among them."""
ENTRIES_MAX = {"minutes": 8 * 1440, "hours": 400 * 24}


class History:
    """int64[things, columns] by minute and by hour; things may be added.

    `open` is the minute and the hour that nothing is written of yet, by name.
    """

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self._tables: dict[str, dict[int, Counted]] = {unit: {} for unit in UNITS_MS}
        self._new: list[tuple[int, int, int, int]] = []
        self.open = dict.fromkeys(UNITS_MS, 0)

    @property
    def tables(self) -> dict[str, dict[int, Counted]]:
        """All counts, by unit and its number."""
        if self._new:
            new, self._new = self._new, []
            columns = np.fromiter(chain.from_iterable(new), np.int64, 4 * len(new)).reshape(-1, 4)
            self._count(*columns.T)
        return self._tables

    def bump(self, column: int, thing: int, at_ms: int, by: int = 1) -> None:
        """Count something that happened; many are added up in one go, when somebody asks."""
        self._new.append((column, thing, at_ms, by))

    def bump_many(self, column: int, thing: int, at_ms: NDArray[np.int64]) -> None:
        """Count one for each of these times."""
        if not len(at_ms):
            return
        first = int(at_ms.min()) // MINUTE_MS
        for minute, count in enumerate(np.bincount(at_ms // MINUTE_MS - first).tolist(), first):
            if count:
                self.bump(column, thing, minute * MINUTE_MS, count)

    def is_quiet(self, thing: int) -> bool:
        """Whether nothing that is kept happened to it."""
        tables = (table for unit in self.tables.values() for table in unit.values())
        return not any(counts[thing : thing + 1].any() for counts in tables)

    def since(self, unit: str, now_ms: int, things: int) -> Counted:
        """Sums of the last so many minutes or hours as are kept but for one, int64[things, columns]."""
        first = now_ms // UNITS_MS[unit] - KEPT[unit] + 1
        return self._sum(unit, first, things)

    def finish(self, clock_ms: int, things: int) -> Iterator[tuple[str, int, Counted, Counted]]:
        """What is over: unit, when it began (ms), what happened in it, and what happened since."""
        for unit, unit_ms in UNITS_MS.items():
            table, now = self.tables[unit], clock_ms // unit_ms
            over = sorted(at for at in table if self.open[unit] <= at < now)
            since = self._sum(unit, over[0] if over else now, things)
            for at in over:
                counts = _widened(table[at], things)
                since = since - counts
                yield unit, at * unit_ms, counts, since
            self.open[unit] = max(now, self.open[unit])
            for at in [at for at in table if at < now - KEPT[unit]]:
                del table[at]

    def small(self) -> Arrays:
        """All counts, to be stored: when, of what, which column, how many."""
        stored: dict[str, Counted] = {"open": np.array(list(self.open.values()))}
        for unit, table in self.tables.items():
            found = [
                np.column_stack((np.full(len(where), at), where, counts[tuple(where.T)]))
                for at, counts in table.items()
                for where in (np.argwhere(counts),)
            ]
            stored[unit] = np.concatenate([np.zeros((0, 4), np.int64), *found])
        return stored

    def restore(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over what `small` gave."""
        if "open" in arrays:
            self.open = dict(zip(UNITS_MS, arrays["open"].astype(np.int64).tolist(), strict=True))
        for unit in UNITS_MS:
            for at, thing, column, count in arrays.get(unit, np.zeros((0, 4))).tolist():
                self._at(unit, int(at), int(thing))[int(thing), int(column)] = int(count)

    def _count(self, column: Counted, thing: Counted, at_ms: Counted, by: Counted) -> None:
        things, place = int(thing.max()) + 1, thing * self.columns + column
        for unit, unit_ms in UNITS_MS.items():
            at = np.maximum(at_ms // unit_ms, self.open[unit])
            order = at.argsort(kind="stable")
            found, first = np.unique(at[order], return_index=True)
            for number, some in zip(found.tolist(), np.split(order, first[1:]), strict=True):
                counts = self._at(unit, number, things - 1)
                add_at(counts.reshape(-1), place[some], by[some])

    def _at(self, unit: str, at: int, thing: int) -> Counted:
        table = self._tables[unit]
        counts = table.get(at)
        if counts is None:
            counts = table[at] = np.zeros((thing + 1, self.columns), np.int64)
        elif len(counts) <= thing:
            counts = table[at] = _widened(counts, thing + 1)
        return counts

    def _sum(self, unit: str, first: int, things: int) -> Counted:
        total = np.zeros((things, self.columns), np.int64)
        for at, counts in self.tables[unit].items():
            if at >= first:
                total[: len(counts)] = add_columns(total[: len(counts)], counts)
        return total


def entry(key: str, unit: str, at_ms: int, fields: Mapping[str, str | int]) -> Write:
    """One entry of a history."""
    pairs = (part for pair in fields.items() for part in pair)
    return ("XADD", key, "MAXLEN", "~", ENTRIES_MAX[unit], f"{at_ms}-0", *pairs)


def _widened(counts: Counted, things: int) -> Counted:
    if len(counts) >= things:
        return counts
    wider = np.zeros((things, counts.shape[1]), np.int64)
    wider[: len(counts)] = counts
    return wider
