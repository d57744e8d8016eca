"""Forward decay: newer weights are stored larger, so that stored ones need no update.

What `to_array` gives is stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from state.arrays import Times, Weights

DOUBLINGS_MAX = 64
"""Stored weights may reach 2**64 before the origin moves: float32 ends at 2**127."""


class DecayClock:
    """Converts between weights as they count and weights as they are stored.

    A weight given at time t is stored times 2**((t - origin) / half_life). The ratios of stored weights
    are then those of exponentially decayed counts at any moment.
    Source: Cormode, Shkapenyuk, Srivastava and Xu, "Forward Decay", ICDE 2009.
    """

    __slots__ = ("half_life_ms", "newest_ms", "origin_ms")

    def __init__(self, half_life_ms: int) -> None:
        if half_life_ms < 1:
            raise ValueError(f"half_life_ms must be at least 1, got {half_life_ms}")
        self.half_life_ms = half_life_ms
        self.origin_ms: int | None = None
        self.newest_ms = 0

    def advance(self, at_ms: Times) -> int:
        """Advance to the newest time of a batch.

        Returns the number of doublings by which the caller must `decay` all stored weights, mostly 0.
        """
        newest_ms = int(at_ms.max())
        if self.origin_ms is None:
            self.origin_ms = newest_ms
        self.newest_ms = max(self.newest_ms, newest_ms)
        doublings = (newest_ms - self.origin_ms) // self.half_life_ms
        if doublings <= DOUBLINGS_MAX:
            return 0
        self.origin_ms += doublings * self.half_life_ms
        return doublings

    def encode_scale(self, at_ms: Times) -> Weights:
        """How large a weight of 1 is stored at each time. Call `advance` first."""
        age = (at_ms - (self.origin_ms or 0)) / self.half_life_ms
        return np.exp2(age).astype(np.float32)

    def decode_scale(self, now_ms: int) -> float:
        """How much a stored weight of 1 counts at a time."""
        return float(2.0 ** (((self.origin_ms or 0) - now_ms) / self.half_life_ms))

    def to_array(self) -> NDArray[np.int64]:
        """Origin, half-life of the stored weights, newest time (all ms); empty before any weight."""
        if self.origin_ms is None:
            return np.array([], np.int64)
        return np.array([self.origin_ms, self.half_life_ms, self.newest_ms], np.int64)

    def restore(self, stored: NDArray[np.int64]) -> None:
        """Restore what `to_array` gave. In a former release it was the origin alone.

        Where weights were stored with another half-life, the origin moves: what they count at their
        newest time stays the same, and from then on they decay with the half-life of this clock.
        """
        self.origin_ms, self.newest_ms = None, 0
        if not len(stored):
            return
        origin_ms = int(stored[0])
        if len(stored) == 1:
            self.origin_ms = self.newest_ms = origin_ms
            return
        half_life_ms, self.newest_ms = int(stored[1]), int(stored[2])
        age_ms = self.newest_ms - origin_ms
        self.origin_ms = self.newest_ms - round(age_ms * self.half_life_ms / half_life_ms)


def decay(weight: Weights, doublings: int) -> None:
    """Divide in place by 2**doublings. The division is exact, so that it changes no order."""
    np.ldexp(weight, -min(doublings, 1000), out=weight)
