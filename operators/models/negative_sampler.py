"""Which items live now: decayed popularity, and the items that an event is held against.

Popularity fades with a half-life by forward decay (Cormode, Shkapenyuk, Srivastava, Xu, "Forward
decay", ICDE 2009): an event counts 2^((t - landmark) / half-life), so nothing is touched as time
passes. The sampler is made anew after as many events as an eighth of the items, so its price an event
does not grow with the shop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.tables.growable import Growing
from operators.tables.table import Kept, Table
from state.dirty_rows import Marks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.tables.table import Arrays
    from state.interactions import Rows, Times, Weights

HALF_LIVES_MAX = 100.0
"""How far the landmark may lie behind before it moves: far from overflow, rare."""


class LiveItems(Kept):
    """Decayed popularity of item rows, and samples by popularity to the power given.

    popularity float64[n]   0 for a row that was never learned
    """

    def __init__(self, *, half_life_ms: float, power: float) -> None:
        self.half_life_ms = half_life_ms
        self.power = power
        self._popularity: Growing[np.float64] = Growing((), np.float64)
        self._marks = Marks()
        self._landmark_ms = 0
        self._unseen_events = 0
        self._sampled: Rows = np.zeros(0, np.int32)
        self._cumulative: NDArray[np.float64] = np.zeros(0)
        self._total = 0.0

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
            fading = np.exp2((self._landmark_ms - newest_ms) / self.half_life_ms)
            self.popularity[:] *= fading
            self._landmark_ms = newest_ms
            self._marks.mark_all()
            self._look()
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
        self._total = float(self.popularity.sum())

    def forget(self, rows: Rows) -> None:
        """These items were never counted."""
        self.popularity[rows] = 0
        self._marks.mark(rows)
        self._look()

    def sample(self, rng: np.random.Generator, n: int) -> Rows:
        """So many live items, ascending, some perhaps several times; none while nothing was counted."""
        if not len(self._sampled):
            return self._sampled
        drawn = rng.random(n) * self._cumulative[-1]
        drawn.sort()  # found in half the time
        # A product may round up to the whole sum.
        at = np.minimum(np.searchsorted(self._cumulative, drawn, "right"), len(self._sampled) - 1)
        sampled: Rows = self._sampled[at]
        return sampled

    def chances(self, items: Rows, sampled: int, taken: int) -> Weights:
        """With what chance each of these live items is among so many samples or what comes of so many
        events, float32[n]."""
        popularity = self.popularity[items]
        expected = popularity * (taken / max(self._total, float(popularity.max())))
        if sampled:
            expected += popularity**self.power * (sampled / self._cumulative[-1])
        chance: Weights = (-np.expm1(-expected)).astype(np.float32)
        return chance

    def tables(self) -> Sequence[Table]:
        """Popularity, and what is sampled from: made anew as often as all items changed."""
        sampled: Arrays = {"sampled": self._sampled, "sampled_cumulative": self._cumulative}
        return [Table({"popularity": self.popularity}, self._marks), Table(sampled, None)]

    def small(self) -> Arrays:
        """The clock, and how much all items counted when the sampler was made."""
        return {
            "popularity_clock": np.array([self._landmark_ms, self._unseen_events], np.int64),
            "popularity_total": np.array([self._total]),
        }

    def restore(self, arrays: Arrays) -> None:
        """Take over what `arrays` gave."""
        self._popularity.replace(arrays["popularity"])
        self._landmark_ms, self._unseen_events = (int(x) for x in arrays["popularity_clock"])
        self._total = float(arrays["popularity_total"][0])
        self._sampled = arrays["sampled"].astype(np.int32)
        self._cumulative = arrays["sampled_cumulative"].astype(np.float64)
        self._marks = Marks(len(self.popularity))
