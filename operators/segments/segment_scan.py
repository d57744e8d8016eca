"""A periodic scan over all memberships: shoppers active within a day, and the overlap of segments.

Time alone changes both, so they are counted again and again: one slice of `SCAN_ROWS` rows a call,
and the result is replaced when a scan is complete. Up to `SCAN_ROWS` shoppers one call scans all.
With a million shoppers of three memberships each the result is up to 92 calls old. Not stored.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from state import keys
from state.arrays import NO_ROW
from state.times import DAY_MS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from operators.segments.membership_index import MembershipIndex
    from operators.segments.segment_registry import SegmentIndexes
    from state.messages import Write

    Counted = NDArray[np.int64]

SCAN_ROWS = 32_768
"""Shoppers, and memberships of rules and propensity, that one call scans."""


class ScanResult(NamedTuple):
    """The counts of a complete scan, by segment index: shoppers active within a day
    int64[segments], the same of the whole shop, and shoppers in two segments int64[segments,
    segments], each pair in one of its two cells."""

    active: Counted
    all_active: int
    shared: Counted

    @classmethod
    def empty(cls, segments: int) -> ScanResult:
        """Return a result of zeros."""
        return cls(np.zeros(segments, np.int64), 0, np.zeros((segments, segments), np.int64))


class SegmentScan:
    """Scans all memberships slice by slice; `result` is that of the last complete scan."""

    def __init__(self) -> None:
        self.result: ScanResult | None = None
        self._next_overlap = 0
        self._restart()

    def scan(self, memberships: MembershipIndex, now_ms: int, *, last: bool) -> ScanResult:
        """Scan the next slice; everything at the first call and at the `last` one. Returns the last
        result."""
        if self.result is None or last:
            self._restart()
            while not self._scan_slice(memberships, now_ms):
                pass
        else:
            self._scan_slice(memberships, now_ms)
        assert self.result is not None
        return self.result

    def overlap_writes(self, memberships: MembershipIndex, *, last: bool) -> list[Write]:
        """Return the overlap hash of one segment a call, in turn; of all segments at the `last`
        call."""
        if self.result is None:
            return []
        shared = self.result.shared
        ids = memberships.registry.ids[: len(shared)]
        if last:
            segments = list(range(len(ids)))
        else:
            segments = [self._next_overlap % len(ids)] if ids else []
            self._next_overlap += 1
        writes: list[Write] = []
        for segment in segments:
            if not memberships.registry.is_active(segment):
                continue
            both = (shared[segment] + shared[:, segment]).tolist()
            key, counts_of = keys.overlap_key(ids[segment]), zip(ids, both, strict=True)
            fields = [part for sid, count in counts_of if count for part in (sid, count)]
            empty = [sid for sid, count in zip(ids, both, strict=True) if sid and not count]
            if fields:
                writes.append(("HSET", key, *fields))
            writes.append(("HDEL", key, *empty))
        return writes

    def _restart(self) -> None:
        self._position, self._sums = 0, ScanResult.empty(0)

    def _scan_slice(self, memberships: MembershipIndex, now_ms: int) -> bool:
        """Scan one slice. Returns whether it was the last one."""
        segments, at = len(memberships.registry), slice(self._position, self._position + SCAN_ROWS)
        since_ms = now_ms - DAY_MS
        previous, sums = len(self._sums.active), ScanResult.empty(segments)
        sums.active[:previous] = self._sums.active
        sums.shared[:previous, :previous] = self._sums.shared
        rows = memberships.rows
        is_active = memberships.last_ms[:rows][at] > since_ms
        pairs: list[Counted] = []
        columns = [one.segment[:rows][at] for one in memberships.exclusive.values()]
        for segment in columns:
            _add(sums.active, segment[is_active])
        for first, second in combinations(columns, 2):
            pairs.append(_pairs(first, second, segments))
        length = memberships.overlapping.length
        slots = (
            np.flatnonzero(memberships.overlapping.owner[:length][at] != NO_ROW) + self._position
        )
        own, owner = memberships.overlapping.segment[slots], memberships.overlapping.owner[slots]
        _add(sums.active, own[memberships.last_ms[owner] > since_ms])
        for column in memberships.exclusive.values():
            pairs += [_pairs(own, column.segment[owner], segments)]
        for origin, second in memberships.overlapping.walk_lists(slots):
            pairs += [_pairs(own[origin], second, segments)]
        counted = np.bincount(np.concatenate(pairs), minlength=segments * segments)
        self._sums = sums._replace(
            all_active=self._sums.all_active + int(is_active.sum()),
            shared=sums.shared + counted.reshape(segments, segments),
        )
        self._position += SCAN_ROWS
        if self._position < max(rows, length):
            return False
        self.result = self._sums
        self._restart()
        return True


def _add(total: Counted, segment: SegmentIndexes) -> None:
    total += np.bincount(segment[segment != NO_ROW], minlength=len(total))


def _pairs(one: SegmentIndexes, other: SegmentIndexes, segments: int) -> Counted:
    """Return the pairs in which both are a segment, as indexes into the flattened matrix."""
    both = (one != NO_ROW) & (other != NO_ROW)
    cells: Counted = one[both].astype(np.int64) * segments + other[both]
    return cells
