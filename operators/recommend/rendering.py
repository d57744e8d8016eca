"""Turns lists of rows into ids, reasons and JSON: the form in which they are published.

The JSON is public: docs/redis.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import orjson

from operators.recommend.reasons import LEARNER_REASONS, RULE_REASONS
from operators.tables.array_ops import grow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from operators.catalogue.item_features import Flags
    from operators.recommend.exploration import ExplorationSlots
    from state.arrays import Rows
    from state.interactions import RowIndex, ScoredLists

SCORE_UNITS = 10_000
"""Scores are published in ten-thousandths."""


class ListRenderer:
    """Ids and reasons by row of `items`, as object arrays: a whole batch is rendered by three look-ups.

    Beside each id and reason is its part of the JSON, so that the lists of a batch are joined from
    strings that exist already: a quarter of the time of encoding them.
    """

    def __init__(self, learners: Sequence[str], items: RowIndex) -> None:
        self._learners = tuple(learners)
        self._items = items
        self.reset()

    def reset(self) -> None:
        """Drop the texts of all items: after a restore the rows are other items."""
        learners = self._learners
        self._item_count = 0
        self._reason_offset = len(learners) + len(RULE_REASONS) + 1
        self._ids = _objects([])
        self._id_parts = _objects([])
        reasons = ["", *(LEARNER_REASONS.get(name, name) for name in learners), *RULE_REASONS][::-1]
        self._reasons = _objects(reasons)
        self._reason_parts = _objects([f"{_json(reason)}]," for reason in reasons])

    def render(self, lists: ScoredLists, source: str) -> RankedLists:
        """The lists with the present ids of their items."""
        self._rename(self._items.take_reused_rows())
        self._add_new_items()
        return RankedLists(lists, self, source)

    def _rename(self, rows: Sequence[int]) -> None:
        for row in rows:
            if row < self._item_count:
                name = self._items.ids[row]
                self._ids[row] = name
                self._id_parts[row] = f"[{_json(name)},"
                self._reasons[row + self._reason_offset] = f"because:{name}"
                self._reason_parts[row + self._reason_offset] = f"{_json(f'because:{name}')}],"

    def _add_new_items(self) -> None:
        """Add the ids that are new at the end of `items`."""
        known, items = self._item_count, len(self._items)
        if known == items:
            return
        offset = self._reason_offset
        self._ids, self._id_parts = grow(self._ids, items, 0), grow(self._id_parts, items, 0)
        self._reasons = grow(self._reasons, offset + items, 0)
        self._reason_parts = grow(self._reason_parts, offset + items, 0)
        new = self._items.ids[known:]
        viewed_reasons = [f"because:{name}" for name in new]
        self._ids[known:items] = new
        self._id_parts[known:items] = [f"[{_json(name)}," for name in new]
        self._reasons[offset + known : offset + items] = viewed_reasons
        self._reason_parts[offset + known : offset + items] = [
            f"{_json(reason)}]," for reason in viewed_reasons
        ]
        self._item_count = items

    def ids(self, item: Rows) -> list[str]:
        """The ids of rows."""
        names: list[str] = self._ids[item].tolist()
        return names

    def reasons(self, reason_item: Rows) -> list[str]:
        """`because:<id>` for a row, the word of the learner for a `reason_code`, "" for NO_ROW."""
        names: list[str] = self._reasons[reason_item + self._reason_offset].tolist()
        return names

    def bought_reasons(self, reason_item: Rows) -> list[str]:
        """`bought:<id>` for rows of items that the shopper bought."""
        return [f"bought:{name}" for name in self.ids(reason_item)]

    def json_fragments(
        self, item: Rows, units: Rows, reason_item: Rows, bought: Flags
    ) -> list[str]:
        """Three strings for each of n entries, which joined are `["sku",0.91,"reason"],`."""
        parts = np.empty((len(item), 3), np.object_)
        parts[:, 0] = self._id_parts[item]
        parts[:, 1] = _score_texts(units)
        parts[:, 2] = self._reason_parts[reason_item + self._reason_offset]
        if bought.any():
            reasons = self.bought_reasons(reason_item[bought])
            parts[bought, 2] = [f"{_json(word)}]," for word in reasons]
        flat: list[str] = parts.ravel().tolist()
        return flat


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

    def json(self, at_ms: int, model: str) -> list[str]:
        """Each list as the JSON of the key contract, "" if it is empty."""
        item, units, reason_item, bought, ends = self._flatten()
        parts = self.renderer.json_fragments(item, units, reason_item, bought)
        head = f'{{"at":{at_ms},"model":{_json(model)},"source":'
        heads = [f'{head}{_json(self.source)},"items":['] * len(self)
        for index, source in self.sources.items():
            heads[index] = f'{head}{_json(source)},"items":['
        tails = ["]}"] * len(self) if self.explored is None else self._tails(self.explored)
        return [
            f"{head}{''.join(parts[3 * start : 3 * end])[:-1]}{tail}" if end > start else ""
            for head, (start, end), tail in zip(heads, pairwise(ends), tails, strict=True)
        ]

    def _tails(self, explored: ExplorationSlots) -> list[str]:
        """The end of each list's JSON, with what is explored in it."""
        is_explored = explored.item >= 0
        tails = np.full(len(is_explored), "]}", np.object_)
        tails[is_explored] = [
            f'],"explore":{{"item":{_json(name)},"propensity":{propensity:.6g}}}}}'
            for name, propensity in zip(
                self.renderer.ids(explored.item[is_explored]),
                explored.propensity[is_explored].tolist(),
                strict=True,
            )
        ]
        texts: list[str] = tails.tolist()
        return texts

    def _flatten(self) -> tuple[Rows, Rows, Rows, Flags, list[int]]:
        """Items, scores in `SCORE_UNITS`, reasons and bought reasons of all lists one after another, and
        where each list ends."""
        known = self.lists.item >= 0
        units = np.rint(self.lists.score[known] * np.float32(SCORE_UNITS)).astype(np.int32)
        ends = [0, *known.sum(axis=1).cumsum().tolist()]
        bought = np.zeros(len(units), np.bool_) if self.bought is None else self.bought[known]
        return self.lists.item[known], units, self.lists.reason_item[known], bought, ends


def _score_texts(units: Rows) -> NDArray[np.object_]:
    """Scores as JSON. Nearly all are between 0 and 1: those are in the table."""
    if len(units) and (units.min() < 0 or units.max() > SCORE_UNITS):
        return _objects([f"{tick / SCORE_UNITS!r}," for tick in units.tolist()])
    return _SCORE_TEXTS[units]


def _json(text: str) -> str:
    return orjson.dumps(text).decode()


def _objects(texts: Sequence[str]) -> NDArray[np.object_]:
    return np.array(texts, np.object_)


_SCORE_TEXTS = _objects([f"{tick / SCORE_UNITS!r}," for tick in range(SCORE_UNITS + 1)])
