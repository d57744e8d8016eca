"""Which items live now: decayed popularity, the pool that lists are made from, and negatives.

Popularity fades with a half-life by forward decay (Cormode, Shkapenyuk, Srivastava, Xu, "Forward
decay", ICDE 2009): an event counts 2^((t - landmark) / half-life), so nothing is touched as time
passes. The pool and the sampler are made anew after as many events as an eighth of the items, so
their price an event does not grow with the shop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.learners.growing import Growing
from operators.learners.table import Kept, Table
from state.marks import Marks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.learners.table import Arrays
    from state.interactions import Rows, Times

HALF_LIVES_MAX = 100.0
"""How far the landmark may lie behind before it moves: far from overflow, rare."""


class LiveItems(Kept):
    """Decayed popularity of item rows.

    pool int32[m]           rows of the most popular items, m at most `pool_max`, ascending
    popularity float64[n]   0 for a row that was never learned
    """

    def __init__(self, *, half_life_ms: float, pool_max: int, power: float) -> None:
        self.half_life_ms = half_life_ms
        self.pool_max = pool_max
        self.power = power
        self.pool: Rows = np.zeros(0, np.int32)
        self._popularity: Growing[np.float64] = Growing((), np.float64)
        self._marks = Marks()
        self._landmark_ms = 0
        self._unseen_events = 0
        self._sampled: Rows = np.zeros(0, np.int32)
        self._cumulative: NDArray[np.float64] = np.zeros(0)

    @property
    def popularity(self) -> NDArray[np.float64]:
        """What each row counts, on a scale that only comparisons may use."""
        return self._popularity.rows

    def grow(self, n: int) -> None:
        """Make room for rows below n."""
        self._popularity.append(np.zeros(max(0, n - len(self._popularity))))
        self._marks.reach(n)

    def count(self, items: Rows, at_ms: Times) -> None:
        """Count a block of events; its rows must have room."""
        newest_ms = int(at_ms.max())
        if (newest_ms - self._landmark_ms) / self.half_life_ms > HALF_LIVES_MAX:
            self.popularity[:] *= np.exp2((self._landmark_ms - newest_ms) / self.half_life_ms)
            self._landmark_ms = newest_ms
            self._marks.mark_all()
        self._marks.mark(items)
        np.add.at(self.popularity, items, np.exp2((at_ms - self._landmark_ms) / self.half_life_ms))
        self._unseen_events += len(items)
        if self._unseen_events >= len(self._popularity) // 8:
            self._look()

    def _look(self) -> None:
        self._unseen_events = 0
        live = np.flatnonzero(self.popularity)
        self._sampled = live.astype(np.int32)
        self._cumulative = np.cumsum(self.popularity[live] ** self.power)
        if len(live) > self.pool_max:
            top = np.argpartition(self.popularity[live], -self.pool_max)[-self.pool_max :]
            live = live[np.sort(top)]
        self.pool = live.astype(np.int32)

    def forget(self, rows: Rows) -> None:
        """These items were never counted."""
        self.popularity[rows] = 0
        self._marks.mark(rows)
        self._look()

    def negatives(self, rng: np.random.Generator, items: Rows, each: int) -> Rows:
        """For each item `each` others, int32[n, each], drawn by popularity to the power given.

        Never the item itself; nothing, int32[n, 0], while there is no other.
        """
        if len(self._sampled) < 2:
            return np.zeros((len(items), 0), np.int32)
        drawn = rng.random((len(items), each)) * self._cumulative[-1]
        # A product may round up to the whole sum.
        at = np.minimum(np.searchsorted(self._cumulative, drawn, "right"), len(self._sampled) - 1)
        clash = self._sampled[at] == items[:, None]
        at[clash] = (at[clash] + 1) % len(self._sampled)
        sampled: Rows = self._sampled[at]
        return sampled

    def tables(self) -> Sequence[Table]:
        """Popularity, and what is sampled from: made anew as often as all items changed."""
        sampled: Arrays = {"sampled": self._sampled, "sampled_cumulative": self._cumulative}
        return [Table({"popularity": self.popularity}, self._marks), Table(sampled, None)]

    def small(self) -> Arrays:
        """The clock and the pool."""
        return {
            "popularity_clock": np.array([self._landmark_ms, self._unseen_events], np.int64),
            "pool": self.pool.copy(),
        }

    def restore(self, arrays: Arrays) -> None:
        """Take over what `arrays` gave."""
        self._popularity.replace(arrays["popularity"])
        self._landmark_ms, self._unseen_events = (int(x) for x in arrays["popularity_clock"])
        self.pool = arrays["pool"].astype(np.int32)
        self._sampled = arrays["sampled"].astype(np.int32)
        self._cumulative = arrays["sampled_cumulative"].astype(np.float64)
        self._marks = Marks(len(self.popularity))
