"""How good the published lists are: compared with the next clicks of their shoppers, while the flow
runs.

The newest published list of a sample of shoppers is kept (`sampled_lists.py`). The shopper's next click
evaluates it, once (prequential evaluation), and is counted (`evaluation_counts.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.recommend.blend import evaluation_cases
from operators.recommend.evaluation_counts import EvaluationCounts
from operators.recommend.sampled_lists import SampledLists
from operators.tables.table import TableState
from state.times import DAY_MS, HOUR_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from operators.tables.table import Arrays, Table
    from state.arrays import Rows, Times
    from state.config_lists import Served as ServedConfig
    from state.interactions import Interactions, RowIndex
    from state.messages import OnlineMetrics

LIST_TTL_S = 86_400
"""A list that is not published again expires after this time."""


class OnlineEvaluation(TableState):
    """Evaluates the lists of the sample that the configuration asks for (`lists.served`)."""

    def __init__(self, learners: Sequence[str], k: int, config: ServedConfig) -> None:
        one_in = round(1 / config.share) if config.share else 0
        self.lists = SampledLists(k, one_in, config.shoppers_max)
        self.counts = EvaluationCounts(learners, config.half_life_hours * HOUR_MS)
        self._latest_day = 0

    def sample(self, shopper: Rows) -> NDArray[np.intp]:
        """The indexes of the shoppers whose lists are evaluated."""
        return self.lists.sample(shopper)

    def store_list(
        self, shopper: Rows, item: Rows, learner: NDArray[np.int8], at_ms: Times
    ) -> None:
        """Keep the lists of shoppers of the sample, each given once, with their newest click (ms)."""
        if len(shopper):
            self.lists.store(shopper, item, learner, at_ms)
            self._latest_day = max(self._latest_day, int(at_ms.max()) // DAY_MS)

    def evaluate_clicks(
        self, batch: Interactions, segments_of: Callable[[int], Iterable[str]]
    ) -> None:
        """Compare lists with the first click of each of their shoppers in a batch.

        Later clicks in the batch have no list of their own: none was published in between. Nor has a
        late click, from before the list. `segments_of` gives the segments of a shopper row.
        """
        lists = self.lists
        clicked = lists.sample(batch.shopper)
        clicked = clicked[lists.has_list(batch.shopper[clicked])]
        if not len(clicked):
            return
        _, first = np.unique(batch.shopper[clicked], return_index=True)
        case = np.sort(clicked[first])
        slot = lists.slot_of(batch.shopper[case])
        age_ms = batch.at_ms[case] - lists.at_ms[slot]
        is_case = evaluation_cases(batch)[case] & (age_ms >= 0) & (age_ms < LIST_TTL_S * 1000)
        case, slot = case[is_case], slot[is_case]
        if not len(case):
            return
        same = lists.item[slot] == batch.item[case, None]
        self.counts.add(
            lists.learner[slot],
            same.any(axis=1),
            same.argmax(axis=1),
            [segments_of(row) for row in batch.shopper[case].tolist()],
            int(batch.at_ms[case].max()),
        )

    def take_deltas(self) -> OnlineMetrics:
        """What was counted since the last call."""
        return self.counts.take_deltas()

    def coverage(self, items: RowIndex) -> float:
        """The share of all items that were in a list of the sample today or the day before."""
        listed = self.lists.items_listed_since(self._latest_day - 1)
        return min(1.0, listed / max(len(items.row_by_id), 1))

    def metrics(self, items: RowIndex) -> dict[str, str | int]:
        """Fields of `ps:1:model:{blend}`."""
        return {**self.counts.metrics(), "coverage": f"{self.coverage(items):.4f}"}

    def learner_metrics(self, learner: str) -> dict[str, str | int]:
        """Fields of `ps:1:model:{<learner>}`: the learner's share in what `metrics` counts."""
        return self.counts.learner_metrics(learner)

    def merge(self, row: int, into: int) -> None:
        """Drop the list of a shopper who was merged: nobody clicks in it any more."""
        self.remove_shoppers(np.array([row], np.int32))

    def remove_shoppers(self, rows: Rows) -> None:
        """Remove the lists of these shoppers."""
        self.lists.remove_shoppers(rows)

    def remove_items(self, rows: Rows) -> None:
        """Remove these items from the lists."""
        self.lists.remove_items(rows)

    def tables(self) -> Sequence[Table]:
        """The lists, and the last day of each item."""
        return self.lists.tables()

    def scalars(self) -> Arrays:
        """The counts. `clock_ms` also holds the newest day of a list."""
        counts = self.counts.scalars()
        return {**counts, "clock_ms": np.append(counts["clock_ms"], self._latest_day)}

    def restore(self, arrays: Arrays) -> None:
        """Go on from the arrays of a snapshot; former releases had none of them."""
        if "total" in arrays:
            self.lists.restore(arrays)
            self.counts.restore(arrays)
            self._latest_day = int(arrays["clock_ms"][1])
