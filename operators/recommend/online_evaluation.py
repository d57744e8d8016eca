"""How good the lists are that shoppers have, held against their next clicks, while the flow runs.

Of a sample of shoppers the list as it was last written is remembered, with the learner that said most
of each item; the next click judges it, once. Counts fade by event time. What is counted is told in
`ps:1:model:{blend}`, those of the learners and as metrics. The names of the arrays are stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import orjson

from operators.models.model_metrics import figure, share
from operators.recommend.blend import cases
from operators.tables.table import Kept, Table
from operators.tables.top_partners import among, grown
from state.dirty_rows import Marks
from state.interactions import NOBODY
from state.messages import Judged
from state.times import DAY_MS, HOUR_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from operators.tables.table import Arrays
    from state.config import Served as ServedConfig
    from state.interactions import Interactions, Rows, Times, Vocabulary

    Counts = NDArray[np.float64]

LIST_TTL_S = 86_400
"""How long a list stands that is not written again."""
LISTED, HITS, RECIPROCAL = range(3)
"""Columns of counts: lists judged, or items in them; hits; 1/rank of those added up."""
OTHER = "other"
"""Who put an item there that no learner had named."""
SEGMENTS_TOLD = 200
FADED = 0.01
"""Lists below which a segment is forgotten."""


class Served(Kept):
    """The lists of every so many-th row of shoppers, in at most `shoppers_max` slots.

    Which shoppers are in the sample is a matter of the row, and so is the slot: two of one slot
    push each other out. item int32[slots, k], by int8[slots, k]: the place of the learner; shopper
    int32[slots], at_ms int64[slots]: their newest click by then. 5 * k + 12 bytes a slot, and of each
    item 4 bytes: the day on which it was last in such a list.
    """

    def __init__(self, names: Sequence[str], k: int, config: ServedConfig) -> None:
        self.names = tuple(names)
        self._k = k
        self._every = round(1 / config.share) if config.share else 0
        self._most = config.shoppers_max
        self._half_life_ms = config.half_life_hours * HOUR_MS
        self._slots = 0
        self._item = np.empty((0, k), np.int32)
        self._by = np.empty((0, k), np.int8)
        self._shopper = np.empty(0, np.int32)
        self._at_ms = np.empty(0, np.int64)
        self._marks = Marks()
        self._listed_day = np.empty(0, np.int32)
        self._items = 0
        self._item_marks = Marks()
        self.total: Counts = np.zeros(3)
        self.of_learners: Counts = np.zeros((len(names), 3))
        self.of_segments: dict[str, Counts] = {}
        self._clock_ms = 0
        self._today = 0
        self._grew = Judged()

    def sample(self, shopper: Rows) -> NDArray[np.intp]:
        """Which of some shoppers, by their places, are in the sample."""
        if not self._every:
            return np.empty(0, np.intp)
        return np.flatnonzero((shopper >= 0) & (shopper % self._every == 0))

    def remember(self, shopper: Rows, item: Rows, by: NDArray[np.int8], at_ms: Times) -> None:
        """Shoppers of the sample, each once, have these lists now; an empty one is none."""
        if not len(shopper):
            return
        slot = self._slot(shopper)
        self._reach(int(slot.max()) + 1)
        there = item[:, 0] >= 0
        self._shopper[slot] = np.where(there, shopper, NOBODY)
        self._item[slot], self._by[slot], self._at_ms[slot] = item, by, at_ms
        self._marks.mark(slot)
        self._list(np.unique(item[item >= 0]), int(at_ms.max()) // DAY_MS)

    def judge(self, batch: Interactions, segments_of: Callable[[int], Iterable[str]]) -> None:
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
        is_case = cases(batch)[case] & (waited_ms >= 0) & (waited_ms < LIST_TTL_S * 1000)
        case, slot = case[is_case], slot[is_case]
        if not len(case):
            return
        self._fade(int(batch.at_ms[case].max()))
        same = self._item[slot] == batch.item[case, None]
        hit, place = same.any(axis=1), same.argmax(axis=1)
        gain = np.where(hit, 1 / (1 + place), 0.0)
        self.total += [len(case), hit.sum(), gain.sum()]
        by = self._by[slot]
        listed = np.bincount(by[by >= 0], minlength=len(self.names))
        self.of_learners[:, LISTED] += listed
        winner = by[np.arange(len(by)), place]
        won = hit & (winner >= 0)
        wins = np.bincount(winner[won], minlength=len(self.names))
        self.of_learners[:, HITS] += wins
        self.of_learners[:, RECIPROCAL] += np.bincount(
            winner[won], gain[won], minlength=len(self.names)
        )
        grew = self._grew
        grew.lists += len(case)
        grew.hits += int(hit.sum())
        grew.reciprocal += float(gain.sum())
        others = int(hit.sum() - wins.sum())
        for name, count in zip((*self.names, OTHER), (*wins.tolist(), others), strict=True):
            grew.by_learner[name] = grew.by_learner.get(name, 0) + count
        for row, was_hit, gained in zip(
            batch.shopper[case].tolist(), hit.tolist(), gain.tolist(), strict=True
        ):
            for segment in segments_of(row):
                counts = self.of_segments.setdefault(segment, np.zeros(3))
                counts += (1, was_hit, gained)
                lists, hits = grew.by_segment.get(segment, (0, 0))
                grew.by_segment[segment] = lists + 1, hits + was_hit

    def growth(self) -> Judged:
        """What was counted since this was asked last."""
        grew, self._grew = self._grew, Judged()
        return grew

    def coverage(self, items: Vocabulary) -> float:
        """The share of the items there are that were in such a list today or the day before."""
        lately = np.count_nonzero(self._listed_day[: self._items] >= self._today - 1)
        return min(1.0, lately / max(len(items.rows), 1))

    def figures(self, items: Vocabulary) -> dict[str, str | int]:
        """Of all lists judged lately: fields of `ps:1:model:{blend}`."""
        lists, hits, reciprocal = self.total.tolist()
        return {
            "judged": f"{lists:.0f}",
            "hit_rate": figure(share(hits, lists)),
            "mrr": figure(share(reciprocal, lists)),
            "coverage": f"{self.coverage(items):.4f}",
            "segments": self._segments(),
        }

    def figures_of(self, learner: str) -> dict[str, str | int]:
        """What of that a learner brought about: its share of the items listed and of the hits."""
        listed, hits, reciprocal = self.of_learners[self.names.index(learner)].tolist()
        lists = float(self.total[LISTED])
        return {
            "served_share": figure(share(listed, float(self.of_learners[:, LISTED].sum()))),
            "served_hit_rate": figure(share(hits, lists)),
            "served_mrr": figure(share(reciprocal, lists)),
        }

    def forget_shoppers(self, rows: Rows) -> None:
        """These shoppers have no list."""
        kept = rows[self.sample(rows)]
        slot = self._slot(kept[self._has_list(kept)])
        self._shopper[slot] = NOBODY
        self._marks.mark(slot)

    def forget_items(self, rows: Rows) -> None:
        """These items are in no list."""
        item = self._item[: self._slots]
        gone = among(item, rows)
        item[gone] = NOBODY
        self._marks.mark(np.flatnonzero(gone.any(axis=1)))
        rows = rows[rows < self._items]
        self._listed_day[rows] = 0
        self._item_marks.mark(rows)

    def tables(self) -> Sequence[Table]:
        """The lists, named after their shape: other ones could not go on from them; items' days."""
        lists: Arrays = {
            "item": self._item[: self._slots],
            "by": self._by[: self._slots],
            "shopper": self._shopper[: self._slots],
            "at_ms": self._at_ms[: self._slots],
        }
        days: Arrays = {"listed_day": self._listed_day[: self._items]}
        return [Table(lists, self._marks).named(self._shape), Table(days, self._item_marks)]

    def small(self) -> Arrays:
        """Counts, by name of the learner."""
        segments = sorted(self.of_segments)
        return {
            "total": self.total.copy(),
            "clock_ms": np.array([self._clock_ms, self._today], np.int64),
            **{f"of/{name}": self.of_learners[at].copy() for at, name in enumerate(self.names)},
            "segments": np.frombuffer("\n".join(segments).encode(), np.uint8),
            "of_segments": np.array([self.of_segments[one] for one in segments]).reshape(-1, 3),
        }

    def restore(self, arrays: Arrays) -> None:
        """Take over what `arrays` gave, nothing of a release that had none of this."""
        if "total" not in arrays:
            return
        self.total = arrays["total"].astype(np.float64)
        self._clock_ms, self._today = arrays["clock_ms"].tolist()
        for at, name in enumerate(self.names):
            self.of_learners[at] = arrays.get(f"of/{name}", np.zeros(3))
        segments = arrays["segments"].tobytes().decode().split("\n")
        counts = arrays["of_segments"].astype(np.float64)
        # Of no segments at all the text splits into one that is empty.
        self.of_segments = dict(zip(segments, counts, strict=False))
        self._listed_day = arrays["listed_day"].astype(np.int32)
        self._items = len(self._listed_day)
        self._item_marks = Marks(self._items)
        if f"{self._shape}shopper" in arrays:
            self._item = arrays[f"{self._shape}item"].astype(np.int32)
            self._by = arrays[f"{self._shape}by"].astype(np.int8)
            self._shopper = arrays[f"{self._shape}shopper"].astype(np.int32)
            self._at_ms = arrays[f"{self._shape}at_ms"].astype(np.int64)
            self._slots = len(self._shopper)
            self._marks = Marks(self._slots)

    @property
    def _shape(self) -> str:
        return f"lists-{self._k}-{self._every}-{self._most}/"

    def _slot(self, shopper: Rows) -> NDArray[np.intp]:
        return np.asarray(shopper // max(self._every, 1) % self._most, np.intp)

    def _has_list(self, shopper: Rows) -> NDArray[np.bool_]:
        """Whether each of some shoppers of the sample has a list that is remembered."""
        if not self._slots:
            return np.zeros(len(shopper), np.bool_)
        slot = self._slot(shopper)
        inside = slot < self._slots
        owner = self._shopper[np.where(inside, slot, 0)]
        return np.asarray(inside & (owner == shopper))

    def _reach(self, slots: int) -> None:
        if slots > self._slots:
            self._item = grown(self._item, slots, NOBODY)
            self._by = grown(self._by, slots, NOBODY)
            self._shopper = grown(self._shopper, slots, NOBODY)
            self._at_ms = grown(self._at_ms, slots, 0)
            self._marks.reach(slots)
            self._slots = slots

    def _list(self, items: Rows, day: int) -> None:
        """These items are in lists made on a day."""
        self._today = max(self._today, day)
        if not len(items):
            return
        rows = int(items[-1]) + 1
        if rows > self._items:
            self._listed_day = grown(self._listed_day, rows, 0)
            self._item_marks.reach(rows)
            self._items = rows
        items = items[self._listed_day[items] < day]
        self._listed_day[items] = day
        self._item_marks.mark(items)

    def _fade(self, at_ms: int) -> None:
        """Let counts fade until a time."""
        if self._clock_ms and at_ms > self._clock_ms:
            kept = 0.5 ** ((at_ms - self._clock_ms) / self._half_life_ms)
            self.total *= kept
            self.of_learners *= kept
            for counts in self.of_segments.values():
                counts *= kept
            self.of_segments = {
                name: counts for name, counts in self.of_segments.items() if counts[LISTED] >= FADED
            }
        self._clock_ms = max(self._clock_ms, at_ms)

    def _segments(self) -> str:
        """Of the segments with most lists judged: how many, hit rate and MRR, as JSON."""
        most = sorted(self.of_segments.items(), key=lambda one: (-one[1][LISTED], one[0]))
        told = {
            name: [round(lists), round(hits / lists, 4), round(reciprocal / lists, 4)]
            for name, counts in most[:SEGMENTS_TOLD]
            for lists, hits, reciprocal in [counts.tolist()]
        }
        return orjson.dumps(dict(sorted(told.items()))).decode()
