"""How good the lists are that shoppers have, held against their next clicks, while the flow runs.

Of a sample of shoppers the list as it was last written is remembered, with the learner that said most
of each item; the next click judges it, once. Counts fade by event time. What is counted is told in
`ps:1:model:{blend}`, those of the learners and as metrics. The names of the arrays are stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import orjson

from operators.models.model_metrics import format_metric, ratio
from operators.recommend.blend import evaluation_cases
from operators.tables.array_ops import grow, isin_rows
from operators.tables.table import Table, TableState
from state.arrays import NO_ROW
from state.dirty_rows import DirtyRows
from state.messages import OnlineMetrics
from state.times import DAY_MS, HOUR_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from operators.tables.table import Arrays
    from state.arrays import Rows, Times
    from state.config_lists import Served as ServedConfig
    from state.interactions import Interactions, RowIndex

    Counts = NDArray[np.float64]

LIST_TTL_S = 86_400
"""How long a list stands that is not written again."""
LISTED, HITS, RECIPROCAL = range(3)
"""Columns of counts: lists judged, or items in them; hits; 1/rank of those added up."""
OTHER = "other"
"""Who put an item there that no learner had named."""
SEGMENTS_MAX = 200
SEGMENT_LISTS_MIN = 0.01
"""Lists below which a segment is forgotten."""


class OnlineEvaluation(TableState):
    """The lists of every so many-th row of shoppers, in at most `shoppers_max` slots.

    Which shoppers are in the sample is a matter of the row, and so is the slot: two of one slot
    push each other out. item int32[slots, k], by int8[slots, k]: the place of the learner; shopper
    int32[slots], at_ms int64[slots]: their newest click by then. 5 * k + 12 bytes a slot, and of each
    item 4 bytes: the day on which it was last in such a list.
    """

    def __init__(self, names: Sequence[str], k: int, config: ServedConfig) -> None:
        self.names = tuple(names)
        self._k = k
        self._one_in = round(1 / config.share) if config.share else 0
        self._slots_max = config.shoppers_max
        self._half_life_ms = config.half_life_hours * HOUR_MS
        self._slots = 0
        self._item = np.empty((0, k), np.int32)
        self._learner = np.empty((0, k), np.int8)
        self._shopper = np.empty(0, np.int32)
        self._at_ms = np.empty(0, np.int64)
        self._dirty_rows = DirtyRows()
        self._listed_day = np.empty(0, np.int32)
        self._items = 0
        self._dirty_items = DirtyRows()
        self.total: Counts = np.zeros(3)
        self.by_learner: Counts = np.zeros((len(names), 3))
        self.by_segment: dict[str, Counts] = {}
        self._clock_ms = 0
        self._latest_day = 0
        self._deltas = OnlineMetrics()

    def sample(self, shopper: Rows) -> NDArray[np.intp]:
        """Which of some shoppers, by their places, are in the sample."""
        if not self._one_in:
            return np.empty(0, np.intp)
        return np.flatnonzero((shopper >= 0) & (shopper % self._one_in == 0))

    def store_list(
        self, shopper: Rows, item: Rows, learner: NDArray[np.int8], at_ms: Times
    ) -> None:
        """Shoppers of the sample, each once, have these lists now; an empty one is none."""
        if not len(shopper):
            return
        slot = self._slot(shopper)
        self._ensure_slots(int(slot.max()) + 1)
        has_items = item[:, 0] >= 0
        self._shopper[slot] = np.where(has_items, shopper, NO_ROW)
        self._item[slot], self._learner[slot], self._at_ms[slot] = item, learner, at_ms
        self._dirty_rows.mark(slot)
        self._mark_listed(np.unique(item[item >= 0]), int(at_ms.max()) // DAY_MS)

    def evaluate_clicks(
        self, batch: Interactions, segments_of: Callable[[int], Iterable[str]]
    ) -> None:
        """Hold lists against the first click of each of their shoppers in a batch.

        So every click has the list that stood before it; where none was written in between there is
        no case, nor for a click that came late, before the one that the list was made on.
        """
        candidate = self.sample(batch.shopper)
        candidate = candidate[self._has_list(batch.shopper[candidate])]
        if not len(candidate):
            return
        _, first = np.unique(batch.shopper[candidate], return_index=True)
        case = np.sort(candidate[first])
        slot = self._slot(batch.shopper[case])
        waited_ms = batch.at_ms[case] - self._at_ms[slot]
        is_case = evaluation_cases(batch)[case] & (waited_ms >= 0) & (waited_ms < LIST_TTL_S * 1000)
        case, slot = case[is_case], slot[is_case]
        if not len(case):
            return
        self._decay(int(batch.at_ms[case].max()))
        same = self._item[slot] == batch.item[case, None]
        hit, position = same.any(axis=1), same.argmax(axis=1)
        gain = np.where(hit, 1 / (1 + position), 0.0)
        self.total += [len(case), hit.sum(), gain.sum()]
        learner = self._learner[slot]
        listed = np.bincount(learner[learner >= 0], minlength=len(self.names))
        self.by_learner[:, LISTED] += listed
        winner = learner[np.arange(len(learner)), position]
        won = hit & (winner >= 0)
        wins = np.bincount(winner[won], minlength=len(self.names))
        self.by_learner[:, HITS] += wins
        self.by_learner[:, RECIPROCAL] += np.bincount(
            winner[won], gain[won], minlength=len(self.names)
        )
        deltas = self._deltas
        deltas.lists += len(case)
        deltas.hits += int(hit.sum())
        deltas.reciprocal_rank_sum += float(gain.sum())
        unattributed = int(hit.sum() - wins.sum())
        for name, count in zip((*self.names, OTHER), (*wins.tolist(), unattributed), strict=True):
            deltas.by_learner[name] = deltas.by_learner.get(name, 0) + count
        for row, was_hit, gained in zip(
            batch.shopper[case].tolist(), hit.tolist(), gain.tolist(), strict=True
        ):
            for segment in segments_of(row):
                counts = self.by_segment.setdefault(segment, np.zeros(3))
                counts += (1, was_hit, gained)
                lists, hits = deltas.by_segment.get(segment, (0, 0))
                deltas.by_segment[segment] = lists + 1, hits + was_hit

    def take_deltas(self) -> OnlineMetrics:
        """What was counted since this was asked last."""
        deltas, self._deltas = self._deltas, OnlineMetrics()
        return deltas

    def coverage(self, items: RowIndex) -> float:
        """The share of the items there are that were in such a list today or the day before."""
        lately = np.count_nonzero(self._listed_day[: self._items] >= self._latest_day - 1)
        return min(1.0, lately / max(len(items.row_by_id), 1))

    def metrics(self, items: RowIndex) -> dict[str, str | int]:
        """Of all lists judged lately: fields of `ps:1:model:{blend}`."""
        lists, hits, reciprocal = self.total.tolist()
        return {
            "judged": f"{lists:.0f}",
            "hit_rate": format_metric(ratio(hits, lists)),
            "mrr": format_metric(ratio(reciprocal, lists)),
            "coverage": f"{self.coverage(items):.4f}",
            "segments": self._segment_metrics_json(),
        }

    def learner_metrics(self, learner: str) -> dict[str, str | int]:
        """What of that a learner brought about: its share of the items listed and of the hits."""
        listed, hits, reciprocal = self.by_learner[self.names.index(learner)].tolist()
        lists = float(self.total[LISTED])
        return {
            "served_share": format_metric(ratio(listed, float(self.by_learner[:, LISTED].sum()))),
            "served_hit_rate": format_metric(ratio(hits, lists)),
            "served_mrr": format_metric(ratio(reciprocal, lists)),
        }

    def remove_shoppers(self, rows: Rows) -> None:
        """These shoppers have no list."""
        sampled = rows[self.sample(rows)]
        slot = self._slot(sampled[self._has_list(sampled)])
        self._shopper[slot] = NO_ROW
        self._dirty_rows.mark(slot)

    def remove_items(self, rows: Rows) -> None:
        """These items are in no list."""
        item = self._item[: self._slots]
        is_removed = isin_rows(item, rows)
        item[is_removed] = NO_ROW
        self._dirty_rows.mark(np.flatnonzero(is_removed.any(axis=1)))
        rows = rows[rows < self._items]
        self._listed_day[rows] = 0
        self._dirty_items.mark(rows)

    def tables(self) -> Sequence[Table]:
        """The lists, named after their shape: other ones could not go on from them; items' days."""
        lists: Arrays = {
            "item": self._item[: self._slots],
            "by": self._learner[: self._slots],
            "shopper": self._shopper[: self._slots],
            "at_ms": self._at_ms[: self._slots],
        }
        days: Arrays = {"listed_day": self._listed_day[: self._items]}
        return [
            Table(lists, self._dirty_rows).prefixed(self._table_prefix),
            Table(days, self._dirty_items),
        ]

    def scalars(self) -> Arrays:
        """Counts, by name of the learner."""
        segments = sorted(self.by_segment)
        return {
            "total": self.total.copy(),
            "clock_ms": np.array([self._clock_ms, self._latest_day], np.int64),
            **{f"of/{name}": self.by_learner[at].copy() for at, name in enumerate(self.names)},
            "segments": np.frombuffer("\n".join(segments).encode(), np.uint8),
            "of_segments": np.array([self.by_segment[one] for one in segments]).reshape(-1, 3),
        }

    def restore(self, arrays: Arrays) -> None:
        """Take over what `arrays` gave, nothing of a release that had none of this."""
        if "total" not in arrays:
            return
        self.total = arrays["total"].astype(np.float64)
        self._clock_ms, self._latest_day = arrays["clock_ms"].tolist()
        for at, name in enumerate(self.names):
            self.by_learner[at] = arrays.get(f"of/{name}", np.zeros(3))
        segments = arrays["segments"].tobytes().decode().split("\n")
        counts = arrays["of_segments"].astype(np.float64)
        # Of no segments at all the text splits into one that is empty.
        self.by_segment = dict(zip(segments, counts, strict=False))
        self._listed_day = arrays["listed_day"].astype(np.int32)
        self._items = len(self._listed_day)
        self._dirty_items = DirtyRows(self._items)
        if f"{self._table_prefix}shopper" in arrays:
            self._item = arrays[f"{self._table_prefix}item"].astype(np.int32)
            self._learner = arrays[f"{self._table_prefix}by"].astype(np.int8)
            self._shopper = arrays[f"{self._table_prefix}shopper"].astype(np.int32)
            self._at_ms = arrays[f"{self._table_prefix}at_ms"].astype(np.int64)
            self._slots = len(self._shopper)
            self._dirty_rows = DirtyRows(self._slots)

    @property
    def _table_prefix(self) -> str:
        return f"lists-{self._k}-{self._one_in}-{self._slots_max}/"

    def _slot(self, shopper: Rows) -> NDArray[np.intp]:
        return np.asarray(shopper // max(self._one_in, 1) % self._slots_max, np.intp)

    def _has_list(self, shopper: Rows) -> NDArray[np.bool_]:
        """Whether each of some shoppers of the sample has a list that is remembered."""
        if not self._slots:
            return np.zeros(len(shopper), np.bool_)
        slot = self._slot(shopper)
        inside = slot < self._slots
        owner = self._shopper[np.where(inside, slot, 0)]
        return np.asarray(inside & (owner == shopper))

    def _ensure_slots(self, slots: int) -> None:
        if slots > self._slots:
            self._item = grow(self._item, slots, NO_ROW)
            self._learner = grow(self._learner, slots, NO_ROW)
            self._shopper = grow(self._shopper, slots, NO_ROW)
            self._at_ms = grow(self._at_ms, slots, 0)
            self._dirty_rows.ensure_rows(slots)
            self._slots = slots

    def _mark_listed(self, items: Rows, day: int) -> None:
        """These items are in lists made on a day."""
        self._latest_day = max(self._latest_day, day)
        if not len(items):
            return
        rows = int(items[-1]) + 1
        if rows > self._items:
            self._listed_day = grow(self._listed_day, rows, 0)
            self._dirty_items.ensure_rows(rows)
            self._items = rows
        items = items[self._listed_day[items] < day]
        self._listed_day[items] = day
        self._dirty_items.mark(items)

    def _decay(self, at_ms: int) -> None:
        """Let counts fade until a time."""
        if self._clock_ms and at_ms > self._clock_ms:
            factor = 0.5 ** ((at_ms - self._clock_ms) / self._half_life_ms)
            self.total *= factor
            self.by_learner *= factor
            for counts in self.by_segment.values():
                counts *= factor
            self.by_segment = {
                name: counts
                for name, counts in self.by_segment.items()
                if counts[LISTED] >= SEGMENT_LISTS_MIN
            }
        self._clock_ms = max(self._clock_ms, at_ms)

    def _segment_metrics_json(self) -> str:
        """Of the segments with most lists judged: how many, hit rate and MRR, as JSON."""
        largest_first = sorted(self.by_segment.items(), key=lambda one: (-one[1][LISTED], one[0]))
        metrics = {
            name: [round(lists), round(hits / lists, 4), round(reciprocal / lists, 4)]
            for name, counts in largest_first[:SEGMENTS_MAX]
            for lists, hits, reciprocal in [counts.tolist()]
        }
        return orjson.dumps(dict(sorted(metrics.items()))).decode()
