"""Turns lists of rows into ids, reasons and JSON: the form in which they are published.

The JSON is public: docs/redis.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import orjson

from operators.kernels.ranking.list_json import SCORE_UNITS, entries_json
from operators.recommend.reasons import LEARNER_REASONS, RULE_REASONS
from operators.tables.array_ops import grow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from operators.catalogue.item_features import Flags
    from operators.recommend.exploration import ExplorationSlots
    from state.arrays import Rows
    from state.interactions import RowIndex, ScoredLists


class ListRenderer:
    """The ids of items and the words of reasons as bytes of JSON, by row of `items`.

    A kernel joins the lists of a batch from them. The bytes of an id that got another name stay behind
    until half of all are such.
    """

    def __init__(self, learners: Sequence[str], items: RowIndex) -> None:
        words = ["", *(LEARNER_REASONS.get(name, name) for name in learners), *RULE_REASONS]
        self._words = words
        self._items = items
        packed = [_json(word)[1:-1] for word in words]
        self.words = np.frombuffer(b"".join(packed), np.uint8).copy()
        self.word_start = np.cumsum([0, *map(len, packed)])
        self.reset()

    def reset(self) -> None:
        """Drop the texts of all items: after a restore the rows are other items."""
        self._item_count = 0
        self._id_bytes = self._unused_bytes = 0
        self.id_content: NDArray[np.uint8] = np.empty(0, np.uint8)
        self.id_start: NDArray[np.int64] = np.empty(0, np.int64)
        self.id_end: NDArray[np.int64] = np.empty(0, np.int64)

    def render(self, lists: ScoredLists, source: str) -> RankedLists:
        """The lists with the present ids of their items."""
        known, items = self._item_count, len(self._items)
        renamed = [row for row in self._items.take_reused_rows() if row < known]
        if renamed:
            self._unused_bytes += int((self.id_end[renamed] - self.id_start[renamed]).sum())
            if 2 * self._unused_bytes > self._id_bytes:
                self.reset()
                renamed, known = [], 0
        if renamed or known < items:
            self._add_ids([*renamed, *range(known, items)])
            self._item_count = items
        return RankedLists(lists, self, source)

    def _add_ids(self, rows: Sequence[int]) -> None:
        ids = self._items.ids
        packed = [_json(ids[row])[1:-1] for row in rows]
        ends = self._id_bytes + np.cumsum([*map(len, packed)])
        self.id_content = grow(self.id_content, int(ends[-1]), 0)
        self.id_content[self._id_bytes : ends[-1]] = np.frombuffer(b"".join(packed), np.uint8)
        self.id_start = grow(self.id_start, len(ids), 0)
        self.id_end = grow(self.id_end, len(ids), 0)
        self.id_start[rows] = [self._id_bytes, *ends[:-1].tolist()]
        self.id_end[rows] = ends
        self._id_bytes = int(ends[-1])

    def ids(self, item: Rows) -> list[str]:
        """The ids of rows."""
        names = self._items.ids
        return [names[row] for row in item.tolist()]

    def reasons(self, reason_item: Rows) -> list[str]:
        """`because:<id>` for a row, the word of the learner for a `reason_code`, "" for NO_ROW."""
        names, words = self._items.ids, self._words
        return [
            f"because:{names[row]}" if row >= 0 else words[-1 - row] for row in reason_item.tolist()
        ]

    def bought_reasons(self, reason_item: Rows) -> list[str]:
        """`bought:<id>` for rows of items that the shopper bought."""
        return [f"bought:{name}" for name in self.ids(reason_item)]


@dataclass(slots=True)
class RankedLists:
    """n lists, what made them, and what is explored in them.

    `source` names what made the lists; `sources`, by index of the list, what made the others. `bought`
    bool[n, k] is True where the reason is an item that the shopper bought; None for nowhere.
    """

    lists: ScoredLists
    renderer: ListRenderer
    source: str
    explored: ExplorationSlots | None = None
    bought: Flags | None = None
    sources: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.lists.item)

    def entries(self) -> list[list[tuple[str, float, str]]]:
        """The (item id, score, reason) of each list, best first."""
        item, units, reason_item, bought, ends = self._flatten()
        score = (units / SCORE_UNITS).tolist()
        reasons = np.array(self.renderer.reasons(reason_item), np.object_)
        reasons[bought] = self.renderer.bought_reasons(reason_item[bought])
        flat = list(zip(self.renderer.ids(item), score, reasons.tolist(), strict=True))
        return [flat[start:end] for start, end in pairwise(ends)]

    def json(self, at_ms: int, model: str) -> list[bytes]:
        """Each list as the JSON of the key contract, b"" if it is empty."""
        lists, renderer = self.lists, self.renderer
        shape, ends = lists.item.shape, np.empty(len(self), np.int64)
        entries = entries_json(
            np.ascontiguousarray(lists.item),
            np.ascontiguousarray(lists.score),
            np.ascontiguousarray(lists.reason_item),
            np.zeros(shape, np.bool_) if self.bought is None else self.bought,
            renderer.id_content,
            renderer.id_start,
            renderer.id_end,
            renderer.words,
            renderer.word_start,
            ends,
        ).tobytes()
        head = b'{"at":%d,"model":%s,"source":' % (at_ms, _json(model))
        heads = [b'%s%s,"items":[' % (head, _json(self.source))] * len(self)
        for index, source in self.sources.items():
            heads[index] = b'%s%s,"items":[' % (head, _json(source))
        tails = [b"]}"] * len(self) if self.explored is None else self._tails(self.explored)
        return [
            b"%s%s%s" % (head, entries[start:end], tail) if end > start else b""
            for head, (start, end), tail in zip(
                heads, pairwise([0, *ends.tolist()]), tails, strict=True
            )
        ]

    def _tails(self, explored: ExplorationSlots) -> list[bytes]:
        """The end of each list's JSON, with what is explored in it."""
        tails = [b"]}"] * len(self)
        rows = np.flatnonzero(explored.item >= 0)
        for row, name, propensity in zip(
            rows.tolist(),
            self.renderer.ids(explored.item[rows]),
            explored.propensity[rows].tolist(),
            strict=True,
        ):
            choice = f'"propensity":{propensity:.6g}}}}}'.encode()
            tails[row] = b'],"explore":{"item":%s,%s' % (_json(name), choice)
        return tails

    def _flatten(self) -> tuple[Rows, Rows, Rows, Flags, list[int]]:
        """Items, scores in `SCORE_UNITS`, reasons and bought reasons of all lists one after another, and
        where each list ends."""
        known = self.lists.item >= 0
        units = np.rint(self.lists.score[known] * np.float32(SCORE_UNITS)).astype(np.int32)
        ends = [0, *known.sum(axis=1).cumsum().tolist()]
        bought = np.zeros(len(units), np.bool_) if self.bought is None else self.bought[known]
        return self.lists.item[known], units, self.lists.reason_item[known], bought, ends


def _json(text: str) -> bytes:
    return orjson.dumps(text)
