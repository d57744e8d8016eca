"""Who of each segment's shoppers was here within a day, and how many are in two segments.

Time alone changes this, so it is counted anew all the time: some shoppers and memberships at each
`step`, and what was found stands when all were. Up to `SLICE` shoppers that is at once; of a million
with three memberships each it is as of the last 92 steps. Not stored.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from state import keys
from state.interactions import NOBODY
from state.times import DAY_MS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from operators.segments.membership_columns import Segments
    from operators.segments.membership_index import Audience
    from state.messages import Write

    Counted = NDArray[np.int64]

SLICE = 32_768
"""Shoppers, and memberships of rules and propensity, that one step looks at."""


class Found(NamedTuple):
    """Shoppers active within a day, of each segment, int64[segments], and of all; shoppers in two
    segments, int64[segments, segments], each pair at one of its two places."""

    active: Counted
    all_active: int
    shared: Counted

    @classmethod
    def nothing(cls, segments: int) -> Found:
        """Nobody."""
        return cls(np.zeros(segments, np.int64), 0, np.zeros((segments, segments), np.int64))


class Census:
    """What was `found` last, by place in the roster. `told` is the next segment of `overlap`."""

    def __init__(self) -> None:
        self.found: Found | None = None
        self._told = 0
        self._begin()

    def look(self, audience: Audience, now_ms: int, *, last: bool) -> Found:
        """Look at some more, at all of them the first and the last time; what was found last."""
        if self.found is None or last:
            self._begin()
            while not self._step(audience, now_ms):
                pass
        else:
            self._step(audience, now_ms)
        assert self.found is not None
        return self.found

    def overlap(self, audience: Audience, *, last: bool) -> list[Write]:
        """Who is in another segment too: of one segment after the other, at last of all."""
        if self.found is None:
            return []
        shared = self.found.shared
        ids = audience.roster.ids[: len(shared)]
        if last:
            turns = list(range(len(ids)))
        else:
            turns = [self._told % len(ids)] if ids else []
            self._told += 1
        writes: list[Write] = []
        for place in turns:
            if not audience.roster.is_living(place):
                continue
            both = (shared[place] + shared[:, place]).tolist()
            key, others = keys.overlap_key(ids[place]), zip(ids, both, strict=True)
            told = [part for sid, count in others if count for part in (sid, count)]
            none = [sid for sid, count in zip(ids, both, strict=True) if sid and not count]
            if told:
                writes.append(("HSET", key, *told))
            writes.append(("HDEL", key, *none))
        return writes

    def _begin(self) -> None:
        self._at, self._sums = 0, Found.nothing(0)

    def _step(self, audience: Audience, now_ms: int) -> bool:
        """Look at a slice; whether it was the last one."""
        segments, at = len(audience.roster), slice(self._at, self._at + SLICE)
        since_ms = now_ms - DAY_MS
        former, sums = len(self._sums.active), Found.nothing(segments)
        sums.active[:former] = self._sums.active
        sums.shared[:former, :former] = self._sums.shared
        rows = audience.rows
        is_active = audience.last_ms[:rows][at] > since_ms
        pairs: list[Counted] = []
        of_kinds = [one.segment[:rows][at] for one in audience.dimensions.values()]
        for segment in of_kinds:
            _add(sums.active, segment[is_active])
        for one, other in combinations(of_kinds, 2):
            pairs.append(_pairs(one, other, segments))
        length = audience.flags.length
        places = np.flatnonzero(audience.flags.owner[:length][at] != NOBODY) + self._at
        own, owner = audience.flags.segment[places], audience.flags.owner[places]
        _add(sums.active, own[audience.last_ms[owner] > since_ms])
        for of_kind in audience.dimensions.values():
            pairs += [_pairs(own, of_kind.segment[owner], segments)]
        for who, other in audience.flags.walks(places):
            pairs += [_pairs(own[who], other, segments)]
        counted = np.bincount(np.concatenate(pairs), minlength=segments * segments)
        self._sums = sums._replace(
            all_active=self._sums.all_active + int(is_active.sum()),
            shared=sums.shared + counted.reshape(segments, segments),
        )
        self._at += SLICE
        if self._at < max(rows, length):
            return False
        self.found = self._sums
        self._begin()
        return True


def _add(total: Counted, segment: Segments) -> None:
    total += np.bincount(segment[segment != NOBODY], minlength=len(total))


def _pairs(one: Segments, other: Segments, segments: int) -> Counted:
    """The pairs that are two segments, as places in the flat matrix."""
    both = (one != NOBODY) & (other != NOBODY)
    places: Counted = one[both].astype(np.int64) * segments + other[both]
    return places
