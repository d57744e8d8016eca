"""Affinities: how much a shopper likes each category, as decayed counts in a bounded table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from state.times import HOUR_MS

if TYPE_CHECKING:
    from state.shopper import Shopper


class DecayedCounts:
    """Exponentially decayed counts, whose sum does not depend on the order of arrival.

    Forward decay (Cormode, Shkapenyuk, Srivastava, Xu: Forward Decay, ICDE 2009): an event at time t
    weighs 2**(t / half_life), so nothing has to be decayed as time passes. The mantissa of a weight is
    cut to 16 bits, and the counts of a shopper share a power of two. So every addition is exact in a
    double as long as its terms are within 37 half-lives of each other: any order gives the same bits.
    """

    _MANTISSA = 1 << 16

    def __init__(self, half_life_ms: float, counts_max: int) -> None:
        self.half_life_ms = half_life_ms
        self.counts_max = counts_max
        self._hour = -1
        self._hour_weight = (0, 0.0)

    def add(self, shopper: Shopper, name: str, at_ms: int) -> None:
        """Count one event of a category. Its time is rounded down to the hour."""
        hour = at_ms // HOUR_MS
        if hour != self._hour:
            self._hour = hour
            self._hour_weight = self._weight(hour * HOUR_MS)
        scale, weight = self._hour_weight
        counts = shopper.affinity
        if scale != shopper.affinity_scale:
            if not counts:
                shopper.affinity_scale = scale
            elif scale > shopper.affinity_scale:
                self._rescale(shopper, scale)
                counts = shopper.affinity
            else:
                weight = math.ldexp(weight, scale - shopper.affinity_scale)
        count = counts.get(name)
        if count is not None:
            counts[name] = count + weight
            return
        counts[name] = weight
        # Twice the limit before the weakest are dropped: a new category starts as the weakest.
        if len(counts) > 2 * self.counts_max:
            shopper.affinity = self._strongest_only(counts)

    def _weight(self, at_ms: int) -> tuple[int, float]:
        """The power of two and the mantissa of an event's weight."""
        age = at_ms / self.half_life_ms
        scale = math.floor(age)
        return scale, round(2.0 ** (age - scale) * self._MANTISSA) / self._MANTISSA

    def _strongest_only(self, counts: dict[str, float]) -> dict[str, float]:
        strongest = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        return dict(strongest[: self.counts_max])

    def merge(self, into: Shopper, other: Shopper) -> None:
        """Add another shopper's counts."""
        if not other.affinity:
            return
        if not into.affinity:
            into.affinity_scale = other.affinity_scale
        scale = max(into.affinity_scale, other.affinity_scale)
        self._rescale(into, scale)
        self._rescale(other, scale)
        merged = dict(into.affinity)
        for name, count in other.affinity.items():
            merged[name] = merged.get(name, 0.0) + count
        into.affinity = (
            merged if len(merged) <= 2 * self.counts_max else self._strongest_only(merged)
        )

    @staticmethod
    def _rescale(shopper: Shopper, scale: int) -> None:
        shift = shopper.affinity_scale - scale
        if shift:
            shopper.affinity = {n: math.ldexp(c, shift) for n, c in shopper.affinity.items()}
            shopper.affinity_scale = scale

    @staticmethod
    def top(shopper: Shopper) -> tuple[str, float]:
        """The category with the largest count, and its share of all; ("", 0.0) where there is none."""
        counts = shopper.affinity
        if not counts:
            return "", 0.0
        if len(counts) == 1:
            return next(iter(counts)), 1.0
        top_count = max(counts.values())
        top_name = min([name for name, count in counts.items() if count == top_count])
        return top_name, top_count / sum(counts.values())

    @staticmethod
    def top_share(shopper: Shopper) -> float:
        """The share of the category with the largest count; 0.0 where there is none."""
        counts = shopper.affinity.values()
        return max(counts) / sum(counts) if counts else 0.0
