"""Counts of evaluated lists that decay with event time: in all, by learner and by segment.

The names of the arrays are stored, and the fields of `metrics` are public: fields of
`ps:1:model:{blend}` and `ps:1:model:{<learner>}`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import orjson

from operators.models.model_metrics import format_metric, ratio
from operators.tables.table import TableState
from state.messages import OnlineMetrics

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from operators.tables.table import Arrays

    Counts = NDArray[np.float64]

LISTED, HITS, RECIPROCAL = range(3)
"""Columns: evaluated lists (by learner: items in them), hits, and the sum of 1/rank of the hits."""
OTHER = "other"
"""The learner of a hit whose item no learner had generated: it came from the fallback."""
SEGMENTS_MAX = 200
"""Segments that `metrics` reports."""
SEGMENT_LISTS_MIN = 0.01
"""A segment with fewer lists, decayed, is dropped."""


class EvaluationCounts(TableState):
    """Decayed counts, and the exact counts since the last `take_deltas`."""

    def __init__(self, learners: Sequence[str], half_life_ms: float) -> None:
        self._learners = tuple(learners)
        self._half_life_ms = half_life_ms
        self.total: Counts = np.zeros(3)
        self.by_learner: Counts = np.zeros((len(learners), 3))
        self.by_segment: dict[str, Counts] = {}
        self._clock_ms = 0
        self._deltas = OnlineMetrics()

    def add(
        self,
        learner: NDArray[np.int8],
        hit: NDArray[np.bool_],
        position: NDArray[np.intp],
        segments: Sequence[Iterable[str]],
        now_ms: int,
    ) -> None:
        """Count n lists: the learner of each of their items [n, k], whether the click was in the list,
        at which position from 0, and the segments of the shopper."""
        self._decay(now_ms)
        gain = np.where(hit, 1 / (1 + position), 0.0)
        self.total += [len(hit), hit.sum(), gain.sum()]
        winner = learner[np.arange(len(learner)), position]
        won = hit & (winner >= 0)
        n = len(self._learners)
        wins = np.bincount(winner[won], minlength=n)
        self.by_learner[:, LISTED] += np.bincount(learner[learner >= 0], minlength=n)
        self.by_learner[:, HITS] += wins
        self.by_learner[:, RECIPROCAL] += np.bincount(winner[won], gain[won], minlength=n)
        deltas = self._deltas
        deltas.lists += len(hit)
        deltas.hits += int(hit.sum())
        deltas.reciprocal_rank_sum += float(gain.sum())
        by_name = (*wins.tolist(), int(hit.sum() - wins.sum()))
        for name, count in zip((*self._learners, OTHER), by_name, strict=True):
            deltas.by_learner[name] = deltas.by_learner.get(name, 0) + count
        for ids, was_hit, gained in zip(segments, hit.tolist(), gain.tolist(), strict=True):
            for segment in ids:
                counts = self.by_segment.setdefault(segment, np.zeros(3))
                counts += (1, was_hit, gained)
                lists, hits = deltas.by_segment.get(segment, (0, 0))
                deltas.by_segment[segment] = lists + 1, hits + was_hit

    def take_deltas(self) -> OnlineMetrics:
        """What was counted since the last call."""
        deltas, self._deltas = self._deltas, OnlineMetrics()
        return deltas

    def metrics(self) -> dict[str, str | int]:
        """Metrics of all lists: fields of `ps:1:model:{blend}`."""
        lists, hits, reciprocal = self.total.tolist()
        return {
            "judged": f"{lists:.0f}",
            "hit_rate": format_metric(ratio(hits, lists)),
            "mrr": format_metric(ratio(reciprocal, lists)),
            "segments": self._segments_json(),
        }

    def learner_metrics(self, learner: str) -> dict[str, str | int]:
        """The share that a learner has in the listed items and in the hits."""
        listed, hits, reciprocal = self.by_learner[self._learners.index(learner)].tolist()
        lists = float(self.total[LISTED])
        return {
            "served_share": format_metric(ratio(listed, float(self.by_learner[:, LISTED].sum()))),
            "served_hit_rate": format_metric(ratio(hits, lists)),
            "served_mrr": format_metric(ratio(reciprocal, lists)),
        }

    def scalars(self) -> Arrays:
        """The counts, by name of the learner and of the segment."""
        segments = sorted(self.by_segment)
        return {
            "total": self.total.copy(),
            "clock_ms": np.array([self._clock_ms], np.int64),
            **{f"of/{name}": self.by_learner[at].copy() for at, name in enumerate(self._learners)},
            "segments": np.frombuffer("\n".join(segments).encode(), np.uint8),
            "of_segments": np.array([self.by_segment[name] for name in segments]).reshape(-1, 3),
        }

    def restore(self, arrays: Arrays) -> None:
        """Go on from the arrays of a snapshot; of a learner that is not in them, nothing is known."""
        self.total = arrays["total"].astype(np.float64)
        self._clock_ms = int(arrays["clock_ms"][0])
        for at, name in enumerate(self._learners):
            self.by_learner[at] = arrays.get(f"of/{name}", np.zeros(3))
        segments = arrays["segments"].tobytes().decode().split("\n")
        counts = arrays["of_segments"].astype(np.float64)
        # Without any segment the text splits into one empty name, which has no counts.
        self.by_segment = dict(zip(segments, counts, strict=False))

    def _decay(self, now_ms: int) -> None:
        if self._clock_ms and now_ms > self._clock_ms:
            factor = 0.5 ** ((now_ms - self._clock_ms) / self._half_life_ms)
            self.total *= factor
            self.by_learner *= factor
            for counts in self.by_segment.values():
                counts *= factor
            self.by_segment = {
                name: counts
                for name, counts in self.by_segment.items()
                if counts[LISTED] >= SEGMENT_LISTS_MIN
            }
        self._clock_ms = max(self._clock_ms, now_ms)

    def _segments_json(self) -> str:
        """JSON: segment id -> [lists, hit rate, MRR], of the segments with most lists."""
        largest_first = sorted(
            self.by_segment.items(), key=lambda item: (-item[1][LISTED], item[0])
        )
        metrics = {
            name: [round(lists), round(hits / lists, 4), round(reciprocal / lists, 4)]
            for name, counts in largest_first[:SEGMENTS_MAX]
            for lists, hits, reciprocal in [counts.tolist()]
        }
        return orjson.dumps(dict(sorted(metrics.items()))).decode()
