"""Decayed popularity of items, and samples of live items to contrast an event with (negative samples).

Popularity halves with a half-life by forward decay (Cormode, Shkapenyuk, Srivastava, Xu, "Forward
decay", ICDE 2009): an event counts 2^((t - landmark) / half-life), so nothing is touched as time passes.
The sampler is made anew after as many events as an eighth of the items, so that its cost per event does
not grow with the shop. The array names are stored.

Neither River nor scikit-learn has such a sampler; tests compare the probabilities with sample shares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.tables.growable import GrowableArray
from operators.tables.replication import ChangedRows, ReplicatedColumns
from operators.tables.table import Table, TableState
from state.dirty_rows import DirtyRows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.tables.table import Arrays
    from state.arrays import Rows, Times, Weights

HALF_LIVES_MAX = 100.0
"""The landmark moves when it is so many half-lives old: rarely, and long before numbers overflow."""


class NegativeSampler(TableState, ReplicatedColumns):
    """Decayed popularity of item rows, and samples by popularity to the given power.

    popularity float64[n]   0 for a row that was never observed
    """

    def __init__(self, *, half_life_ms: float, power: float) -> None:
        self.half_life_ms = half_life_ms
        self.power = power
        self._popularity: GrowableArray[np.float64] = GrowableArray((), np.float64)
        self.changed_rows = ChangedRows()
        self._dirty_rows = DirtyRows()
        self._landmark_ms = 0
        self._events_since_refresh = 0
        self._sampled_rows: Rows = np.zeros(0, np.int32)
        self._cumulative: NDArray[np.float64] = np.zeros(0)
        self._total = 0.0

    @property
    def popularity(self) -> NDArray[np.float64]:
        """The popularity of each row. Only comparisons between rows mean something."""
        return self._popularity.rows

    def ensure_rows(self, n: int) -> None:
        """Extend the table to rows below n."""
        self._popularity.append(np.zeros(max(0, n - len(self._popularity))))
        self._dirty_rows.ensure_rows(n)

    def observe(self, items: Rows, at_ms: Times) -> None:
        """Count a block of events. Call `ensure_rows` for its items first."""
        newest_ms = int(at_ms.max())
        if (newest_ms - self._landmark_ms) / self.half_life_ms > HALF_LIVES_MAX:
            decay = np.exp2((self._landmark_ms - newest_ms) / self.half_life_ms)
            self.popularity[:] *= decay
            self._landmark_ms = newest_ms
            self._dirty_rows.mark_all()
            self.changed_rows.mark_all()
            self._refresh()
        self._dirty_rows.mark(items)
        self.changed_rows.mark(items)
        np.add.at(self.popularity, items, np.exp2((at_ms - self._landmark_ms) / self.half_life_ms))
        self._events_since_refresh += len(items)
        if self._events_since_refresh >= len(self._popularity) // 8:
            self._refresh()

    def _refresh(self) -> None:
        self._events_since_refresh = 0
        live = np.flatnonzero(self.popularity)
        self._sampled_rows = live.astype(np.int32)
        self._cumulative = np.cumsum(self.popularity[live] ** self.power)
        self._total = float(self.popularity.sum())

    def remove_items(self, rows: Rows) -> None:
        """Set the popularity of these items to 0."""
        self.popularity[rows] = 0
        self._dirty_rows.mark(rows)
        self.changed_rows.mark(rows)
        self._refresh()

    def sample(self, rng: np.random.Generator, n: int) -> Rows:
        """n live items, ascending, with repeats; none before the first event."""
        if not len(self._sampled_rows):
            return self._sampled_rows
        drawn = rng.random(n) * self._cumulative[-1]
        drawn.sort()  # halves the time of the search
        # A product may be rounded up to the whole sum.
        indices = np.minimum(
            np.searchsorted(self._cumulative, drawn, "right"), len(self._sampled_rows) - 1
        )
        sampled: Rows = self._sampled_rows[indices]
        return sampled

    def probabilities(self, items: Rows, sampled: int, events: int) -> Weights:
        """The probability that each of these live items is among so many samples or so many events.

        float32[n]
        """
        popularity = self.popularity[items]
        expected = popularity * (events / max(self._total, float(popularity.max())))
        if sampled:
            expected += popularity**self.power * (sampled / self._cumulative[-1])
        probability: Weights = (-np.expm1(-expected)).astype(np.float32)
        return probability

    def replicated_columns(self) -> tuple[NDArray[np.float64]]:
        """The popularity: which rows are live."""
        return (self.popularity,)

    def tables(self) -> Sequence[Table]:
        """Popularity, and the sampler's rows, which change all at once."""
        sampled: Arrays = {"sampled": self._sampled_rows, "sampled_cumulative": self._cumulative}
        return [Table({"popularity": self.popularity}, self._dirty_rows), Table(sampled, None)]

    def scalars(self) -> Arrays:
        """The clock, and the sum of popularity when the sampler was made."""
        return {
            "popularity_clock": np.array([self._landmark_ms, self._events_since_refresh], np.int64),
            "popularity_total": np.array([self._total]),
        }

    def restore(self, arrays: Arrays) -> None:
        """Restore what `arrays` gave."""
        self._popularity.replace(arrays["popularity"])
        self._landmark_ms, self._events_since_refresh = (int(x) for x in arrays["popularity_clock"])
        self._total = float(arrays["popularity_total"][0])
        self._sampled_rows = arrays["sampled"].astype(np.int32)
        self._cumulative = arrays["sampled_cumulative"].astype(np.float64)
        self._dirty_rows = DirtyRows(len(self.popularity))
