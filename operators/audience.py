"""Segments found by clustering: who is in which, who enters and leaves, how big each is and what it
is worth. A shopper is in at most one of them.

Memberships are the flow's own state; Redis only shows them. Times are event time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import orjson

from operators.learners.heaviest import grown
from operators.learners.table import Kept, Table
from state import keys
from state.interactions import NOBODY
from state.marks import Marks
from state.shopper import MICROS
from state.times import DAY_MS, HOUR_MS, MINUTE_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from operators.learners.table import Arrays
    from state.interactions import Rows, Times
    from state.messages import Arguments, Write

RECENT_MINUTES = 5
UNTOLD_VISITS = 2_000_000
"""After a resume: visits in which shoppers who are new here may have been seen by the run before, of
which nothing is stored. Far more than the seconds between two snapshots can hold."""
SEGMENTS_TTL_S = 90 * 86_400


_ALL_TOLD = -1


class Change(NamedTuple):
    """A shopper entered or left a segment, became another shopper, or was erased."""

    kind: str
    shopper: str
    segment: str
    at_ms: int


def segment_id(cluster: int) -> str:
    """The segment of a cluster; the id stays while the centre moves."""
    return f"cluster-{cluster}"


class Audience(Kept):
    """Memberships of shoppers, by row of the recommender's vocabulary.

    cluster int16[rows], known bool[rows], last_ms int64[rows], order_ms int64[rows],
    entered_ms int64[rows] (0 where an older release did not store it).

    told bool[rows], not stored: whether Redis is sure to say so. After a resume it may still say what
    a run that was lost had come to; so the first time a shopper is active its membership is written
    whole, also where it did not change.
    """

    def __init__(self, segments: int) -> None:
        self.segments = segments
        self.rows = 0
        self.cluster: NDArray[np.int16] = np.empty(0, np.int16)
        self.known: NDArray[np.bool_] = np.empty(0, np.bool_)
        self.last_ms: Times = np.empty(0, np.int64)
        self.order_ms: Times = np.empty(0, np.int64)
        self.entered_ms: Times = np.empty(0, np.int64)
        self.told: NDArray[np.bool_] = np.empty(0, np.bool_)
        self._untold_visits = 0
        self._retold = _ALL_TOLD
        self._marks = Marks()
        # Columns: minute or hour, then a number for each segment.
        self._entered: dict[int, NDArray[np.int64]] = {}
        self._left: dict[int, NDArray[np.int64]] = {}
        self._revenue_micros: dict[int, NDArray[np.int64]] = {}
        self._orders: dict[int, NDArray[np.int64]] = {}

    def assign(
        self,
        shoppers: Sequence[str],
        rows: Rows,
        known: Sequence[bool],
        cluster: NDArray[np.int16],
        at_ms: Times,
    ) -> tuple[list[Write], list[Change]]:
        """Put each shopper into the segment of its cluster; what to write, and who moved."""
        self._grow(int(rows.max(initial=-1)) + 1)
        before = self.cluster[rows]
        moved = np.flatnonzero((before != cluster) & (cluster != NOBODY))
        untold = ~self.told[rows] & (cluster != NOBODY)
        refresh = np.flatnonzero(
            (before == cluster)
            & (cluster != NOBODY)
            & (at_ms // DAY_MS > self.last_ms[rows] // DAY_MS)
        )
        writes: list[Write] = [
            ("EXPIRE", keys.segments_key(shoppers[i]), SEGMENTS_TTL_S) for i in refresh.tolist()
        ]
        changes: list[Change] = []
        for i in moved.tolist():
            name, entered_ms, new = shoppers[i], int(at_ms[i]), segment_id(int(cluster[i]))
            key = keys.segments_key(name)
            if before[i] != NOBODY:
                old = segment_id(int(before[i]))
                if not untold[i]:
                    writes += [("HDEL", key, old), ("ZREM", keys.members_key(old), name)]
                changes.append(Change("leave", name, old, entered_ms))
                self._bump(self._left, entered_ms // MINUTE_MS, int(before[i]), 1)
            if not untold[i]:
                writes += [
                    ("HSET", key, new, entered_ms),
                    ("EXPIRE", key, SEGMENTS_TTL_S),
                    ("ZADD", keys.members_key(new), entered_ms, name),
                ]
            changes.append(Change("enter", name, new, entered_ms))
            self._bump(self._entered, entered_ms // MINUTE_MS, int(cluster[i]), 1)
        self.cluster[rows[moved]] = cluster[moved]
        self.entered_ms[rows[moved]] = at_ms[moved]
        for i in np.flatnonzero(untold).tolist():
            writes += self._membership(shoppers[i], int(rows[i]))
        self.told[rows] |= untold
        self._untold_visits = max(0, self._untold_visits - len(rows))
        self.known[rows] = known
        self.last_ms[rows] = np.maximum(self.last_ms[rows], at_ms)
        self._marks.mark(rows)
        return writes, changes

    def segments_of(self, rows: Rows) -> list[str | None]:
        """The segment of each row, None where it is in none."""
        self._grow(int(rows.max(initial=-1)) + 1)
        names: list[str | None] = [segment_id(cluster) for cluster in range(self.segments)]
        names.append(None)
        return [names[cluster] for cluster in self.cluster[rows].tolist()]

    def cluster_of(self, row: int) -> int:
        """The cluster of a row, NOBODY where it has none."""
        return int(self.cluster[row]) if 0 <= row < self.rows else NOBODY

    def order(self, row: int, micros: int, at_ms: int) -> None:
        """Count a purchase for the segment its shopper is in."""
        self._grow(row + 1)
        self._marks.mark(row)
        self.order_ms[row] = max(self.order_ms[row], at_ms)
        segment = int(self.cluster[row])
        if segment != NOBODY:
            self._bump(self._revenue_micros, at_ms // HOUR_MS, segment, micros)
            self._bump(self._orders, at_ms // HOUR_MS, segment, 1)

    def drop(self, row: int, shopper: str, at_ms: int) -> tuple[list[Write], list[Change]]:
        """Take a shopper that is no more out of its segment; `row` is NOBODY for one never seen."""
        there = 0 <= row < self.rows
        if self.told[row] if there else not self._untold_visits:
            clusters = self.cluster[row : row + 1].tolist() if there else []
        else:
            clusters = [*range(self.segments)]
        writes: list[Write] = [
            ("ZREM", keys.members_key(segment_id(c)), shopper) for c in clusters if c != NOBODY
        ]
        if not there or self.cluster[row] == NOBODY:
            return writes, []
        cluster = int(self.cluster[row])
        self.cluster[row] = NOBODY
        self._marks.mark(row)
        self._bump(self._left, at_ms // MINUTE_MS, cluster, 1)
        return writes, [Change("leave", shopper, segment_id(cluster), at_ms)]

    def forget(self, rows: Rows) -> None:
        """These shoppers, who were dropped before, were never seen."""
        rows = rows[rows < self.rows]
        self.known[rows], self.last_ms[rows], self.order_ms[rows] = False, 0, 0
        self.entered_ms[rows] = 0
        self.told[rows] = not self._untold_visits
        self._marks.mark(rows)

    def set_right(
        self, lost: Iterable[Change], row_of: Callable[[str], int]
    ) -> tuple[list[Write], list[Change]]:
        """Take back what a run that was lost told of memberships and that does not hold.

        `lost` is what the change streams said last of each, `row_of` gives a shopper's row or NOBODY.
        """
        writes: list[Write] = []
        changes: list[Change] = []
        for change in lost:
            row, name, sid = row_of(change.shopper), change.shopper, change.segment
            cluster = int(self.cluster[row]) if 0 <= row < self.rows else NOBODY
            is_member = cluster != NOBODY and segment_id(cluster) == sid
            if is_member == (change.kind == "enter"):
                continue
            if is_member:
                writes += self._membership(name, row)
            else:
                writes += [
                    ("HDEL", keys.segments_key(name), sid),
                    ("ZREM", keys.members_key(sid), name),
                ]
            changes.append(change._replace(kind="enter" if is_member else "leave"))
        return writes, changes

    def tell_all(self) -> None:
        """Redis lost what it was told: `retell` says it again."""
        self.told[:] = False
        self._retold = 0

    def retell(self, shoppers: Sequence[str], most: int) -> list[Write]:
        """Memberships that have to be told again, at most so many; `shoppers` are all, by row."""
        if self._retold == _ALL_TOLD:
            return []
        rest = slice(self._retold, self.rows)
        rows = np.flatnonzero(~self.told[rest] & (self.cluster[rest] != NOBODY))[:most]
        rows += self._retold
        self.told[rows] = True
        self._retold = int(rows[-1]) + 1 if len(rows) == most else _ALL_TOLD
        return [write for row in rows.tolist() for write in self._membership(shoppers[row], row)]

    def _membership(self, shopper: str, row: int) -> list[Write]:
        """The whole membership of a shopper, whatever Redis says of it."""
        key, cluster = keys.segments_key(shopper), int(self.cluster[row])
        others = [segment_id(c) for c in range(self.segments) if c != cluster]
        own, entered_ms = segment_id(cluster), int(self.entered_ms[row])
        entered: list[Write] = [
            ("HSET", key, own, entered_ms),
            ("ZADD", keys.members_key(own), entered_ms, shopper),
        ]
        if not entered_ms:
            last_ms = int(self.last_ms[row])
            entered = [
                ("HSETNX", key, own, last_ms),
                ("ZADD", keys.members_key(own), "NX", last_ms, shopper),
            ]
        return [
            ("HDEL", key, *others),
            *(("ZREM", keys.members_key(other), shopper) for other in others),
            *entered,
            ("EXPIRE", key, SEGMENTS_TTL_S),
        ]

    def stats(self, now_ms: int, watermark_ms: int) -> list[Write]:
        """Each segment's size and worth as a HASH.

        conversion_1d: share of the members active within a day who bought within a day.
        """
        since_ms = now_ms - DAY_MS
        placed = self.cluster != NOBODY
        sizes = self._count(placed)
        identified = self._count(placed & self.known)
        active = self._count(placed & (self.last_ms >= since_ms))
        buyers = self._count(placed & (self.order_ms >= since_ms))
        minute, hour = now_ms // MINUTE_MS - RECENT_MINUTES, now_ms // HOUR_MS - 24
        entered, left = self._since(self._entered, minute), self._since(self._left, minute)
        revenue = self._since(self._revenue_micros, hour)
        orders = self._since(self._orders, hour)
        return [
            (
                "HSET",
                keys.stats_key(segment_id(s)),
                "size",
                int(sizes[s]),
                "identified",
                int(identified[s]),
                "entered_5m",
                int(entered[s]),
                "left_5m",
                int(left[s]),
                "conversion_1d",
                f"{buyers[s] / active[s]:.4f}" if active[s] else "0.0000",
                "revenue_1d",
                f"{revenue[s] / MICROS:.2f}",
                "aov_1d",
                f"{revenue[s] / MICROS / orders[s]:.2f}" if orders[s] else "0.00",
                "watermark_ms",
                watermark_ms,
                "at",
                now_ms,
            )
            for s in range(self.segments)
        ]

    def tables(self) -> Sequence[Table]:
        """What is known of each shopper."""
        columns: Arrays = {
            "cluster": self.cluster,
            "known": self.known,
            "last_ms": self.last_ms,
            "order_ms": self.order_ms,
            "entered_ms": self.entered_ms,
        }
        return [Table({name: rows[: self.rows] for name, rows in columns.items()}, self._marks)]

    def small(self) -> Arrays:
        """Counts by minute or hour and segment."""
        tables = {"entered": self._entered, "left": self._left}
        tables |= {"revenue_micros": self._revenue_micros, "orders": self._orders}
        return {
            "retold": np.array([self._retold]),
            **{f"{name}.at": np.array(list(table), np.int64) for name, table in tables.items()},
            **{
                f"{name}.counts": np.array(list(table.values()), np.int64).reshape(
                    -1, self.segments
                )
                for name, table in tables.items()
            },
        }

    def restore(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over a state that `arrays` gave."""
        self.cluster = arrays["cluster"].astype(np.int16)
        self.known = arrays["known"].astype(np.bool_)
        self.last_ms = arrays["last_ms"].astype(np.int64)
        self.order_ms = arrays["order_ms"].astype(np.int64)
        self.rows = len(self.cluster)
        self.entered_ms = np.zeros(self.rows, np.int64)
        if "entered_ms" in arrays:  # not in the first release
            self.entered_ms[:] = arrays["entered_ms"]
            self._retold = int(arrays["retold"][0])
        self.doubt()
        self._marks = Marks(self.rows)
        self._entered = _table(arrays, "entered")
        self._left = _table(arrays, "left")
        self._revenue_micros = _table(arrays, "revenue_micros")
        self._orders = _table(arrays, "orders")

    def doubt(self) -> None:
        """Redis may say of any shopper what a run that was lost had come to."""
        self.told = np.zeros(self.rows, np.bool_)
        self._untold_visits = UNTOLD_VISITS

    def _grow(self, rows: int) -> None:
        if rows > self.rows:
            self.cluster = grown(self.cluster, rows, NOBODY)
            self.known = grown(self.known, rows, False)
            self.last_ms = grown(self.last_ms, rows, 0)
            self.order_ms = grown(self.order_ms, rows, 0)
            self.entered_ms = grown(self.entered_ms, rows, 0)
            self.told = grown(self.told, rows, False)
            self.told[self.rows : rows] = not self._untold_visits
            self._marks.reach(rows)
            self.rows = rows

    def _bump(self, table: dict[int, NDArray[np.int64]], at: int, segment: int, by: int) -> None:
        row = table.get(at)
        if row is None:
            row = table[at] = np.zeros(self.segments, np.int64)
        row[segment] += by

    def _count(self, members: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.bincount(self.cluster[members], minlength=self.segments)

    def _since(self, table: dict[int, NDArray[np.int64]], first: int) -> NDArray[np.int64]:
        for at in [at for at in table if at <= first]:
            del table[at]
        return np.sum(list(table.values()), axis=0) if table else np.zeros(self.segments, np.int64)


def definitions(
    defined: Mapping[int, tuple[str, int]], updated_ms: int | None = None
) -> list[Write]:
    """What each segment is, by name and version, and its line in the registry of all of them.

    `updated_ms` is when that changed; None where it is told again.
    """
    writes: list[Write] = []
    for cluster, (name, version) in sorted(defined.items()):
        sid = segment_id(cluster)
        summary = {"kind": "cluster", "version": version, "status": "live", "name": name}
        fields: Arguments = ("HSET", keys.definition_key(sid), "name", name, "kind", "cluster")
        fields += ("description", "Shoppers alike in how they visit and buy, found by clustering.")
        fields += ("version", version, "status", "live", "rule", "nearest centre")
        if updated_ms is not None:
            fields += ("updated_ms", updated_ms)
        writes += [
            fields,
            ("HSET", keys.registry_key(), sid, orjson.dumps(summary).decode()),
        ]
    return writes


def _table(arrays: Mapping[str, NDArray[np.generic]], name: str) -> dict[int, NDArray[np.int64]]:
    counts = arrays[f"{name}.counts"].astype(np.int64)
    return {int(at): counts[i] for i, at in enumerate(arrays[f"{name}.at"])}
