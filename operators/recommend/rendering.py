"""From rows back to words: the ids and reasons of ranked lists."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import orjson

from state.interactions import NOBODY, Lists

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from operators.catalogue.item_features import Flags
    from operators.recommend.exploration import Explored
    from state.interactions import Rows, Vocabulary

REASONS = {"popularity": "popular"}
"""What a list says of a learner that named no single item, where that is not its own name."""
OWN_BRAND, EXPLORED = "own_brand", "explored"
RULES = (OWN_BRAND, EXPLORED)
"""What a list says of an item that a rule put where it is, after the words of the learners."""
TICKS = 10_000
"""Scores are shown in ten thousandths."""


def reason_row(place: int) -> int:
    """The `because` that stands for the learner at this place, or for a rule at a place after those of
    the learners, instead of for an item."""
    return NOBODY - 1 - place


def own(lists: Lists, place: int) -> Lists:
    """Lists of the learner at this place: where it names no item as the reason, it is the reason."""
    because = np.where(lists.because >= 0, lists.because, reason_row(place))
    return Lists(lists.item, lists.score, because)


class Captions:
    """Ids and reasons by row of `items`, as object arrays: a whole batch is captioned by three look-ups.

    Beside each id and reason stands its part of a list's JSON, so that making lists of a batch is
    joining strings that are there already: a quarter of the time of encoding them.
    """

    def __init__(self, learners: Sequence[str], items: Vocabulary) -> None:
        self._learners = tuple(learners)
        self._items = items
        self.restart()

    def restart(self) -> None:
        """Nothing is known of what items are called: they are others now."""
        learners = self._learners
        self._heads = len(learners) + len(RULES) + 1
        self._ids = _objects([])
        self._id_parts = _objects([])
        heads = ["", *(REASONS.get(name, name) for name in learners), *RULES][::-1]
        self._reasons = _objects(heads)
        self._reason_parts = _objects([f"{_json(reason)}]," for reason in heads])

    def of(self, lists: Lists, source: str) -> RankedLists:
        """Lists with their words, by what items are called now."""
        self._rename(self._items.take_renamed())
        self._cover()
        return RankedLists(lists, self, source)

    def _rename(self, rows: Sequence[int]) -> None:
        for row in rows:
            if row < len(self._ids):
                name = self._items.ids[row]
                self._ids[row] = name
                self._id_parts[row] = f"[{_json(name)},"
                self._reasons[row + self._heads] = f"because:{name}"
                self._reason_parts[row + self._heads] = f"{_json(f'because:{name}')}],"

    def _cover(self) -> None:
        """Take over the ids that are new at the end of the vocabulary."""
        known = len(self._ids)
        if known == len(self._items):
            return
        new = self._items.ids[known:]
        because = [f"because:{name}" for name in new]
        self._ids = np.append(self._ids, _objects(new))
        self._id_parts = np.append(self._id_parts, _objects([f"[{_json(name)}," for name in new]))
        self._reasons = np.append(self._reasons, _objects(because))
        reason_parts = _objects([f"{_json(reason)}]," for reason in because])
        self._reason_parts = np.append(self._reason_parts, reason_parts)

    def ids(self, item: Rows) -> list[str]:
        """The ids of rows."""
        names: list[str] = self._ids[item].tolist()
        return names

    def reasons(self, because: Rows) -> list[str]:
        """`because:<id>` of a row, the learner's word of a `reason_row`, nothing of NOBODY."""
        names: list[str] = self._reasons[because + self._heads].tolist()
        return names

    def bought_reasons(self, because: Rows) -> list[str]:
        """The reasons that are items which the shopper bought."""
        return [f"bought:{name}" for name in self.ids(because)]

    def json_parts(self, item: Rows, ticks: Rows, because: Rows, bought: Flags) -> list[str]:
        """Three parts of JSON for each of n entries, which joined make `["sku",0.91,"reason"],`."""
        parts = np.empty((len(item), 3), np.object_)
        parts[:, 0] = self._id_parts[item]
        parts[:, 1] = _scores(ticks)
        parts[:, 2] = self._reason_parts[because + self._heads]
        if bought.any():
            words = self.bought_reasons(because[bought])
            parts[bought, 2] = [f"{_json(word)}]," for word in words]
        flat: list[str] = parts.ravel().tolist()
        return flat


@dataclass(slots=True)
class RankedLists:
    """Lists as they are shown: n rows, who made them, and what is explored in them.

    `bought` are the places bool[n, k] whose reason is an item that the shopper bought, None for none;
    `sources` who made the lists, by place, that `source` did not.
    """

    lists: Lists
    captions: Captions
    source: str
    explored: Explored | None = None
    bought: Flags | None = None
    sources: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.lists.item)

    def entries(self) -> list[list[tuple[str, float, str]]]:
        """For each request its (item id, score, reason), best first, as the key contract has it."""
        item, ticks, because, bought, ends = self._flat()
        score = (ticks / TICKS).tolist()
        reasons = np.array(self.captions.reasons(because), np.object_)
        reasons[bought] = self.captions.bought_reasons(because[bought])
        flat = list(zip(self.captions.ids(item), score, reasons.tolist(), strict=True))
        return [flat[start:end] for start, end in pairwise(ends)]

    def json(self, at_ms: int, model: str) -> list[str]:
        """Each list as the JSON of the key contract, "" where there is nothing in it."""
        item, ticks, because, bought, ends = self._flat()
        parts = self.captions.json_parts(item, ticks, because, bought)
        head = f'{{"at":{at_ms},"model":{_json(model)},"source":'
        heads = [f'{head}{_json(self.source)},"items":['] * len(self)
        for place, source in self.sources.items():
            heads[place] = f'{head}{_json(source)},"items":['
        tails = ["]}"] * len(self) if self.explored is None else self._tails(self.explored)
        return [
            f"{head}{''.join(parts[3 * start : 3 * end])[:-1]}{tail}" if end > start else ""
            for head, (start, end), tail in zip(heads, pairwise(ends), tails, strict=True)
        ]

    def _tails(self, explored: Explored) -> list[str]:
        """The end of each list, with what is explored in it."""
        there = explored.item >= 0
        tails = np.full(len(there), "]}", np.object_)
        tails[there] = [
            f'],"explore":{{"item":{_json(name)},"propensity":{chance:.6g}}}}}'
            for name, chance in zip(
                self.captions.ids(explored.item[there]),
                explored.chance[there].tolist(),
                strict=True,
            )
        ]
        told: list[str] = tails.tolist()
        return told

    def _flat(self) -> tuple[Rows, Rows, Rows, Flags, list[int]]:
        """Items, scores in ticks and reasons of all lists after each other, which of these were bought,
        and where each list ends."""
        known = self.lists.item >= 0
        ticks = np.rint(self.lists.score[known] * np.float32(TICKS)).astype(np.int32)
        ends = [0, *known.sum(axis=1).cumsum().tolist()]
        bought = np.zeros(len(ticks), np.bool_) if self.bought is None else self.bought[known]
        return self.lists.item[known], ticks, self.lists.because[known], bought, ends


def _scores(ticks: Rows) -> NDArray[np.object_]:
    """Scores as JSON; nearly all lie between 0 and 1, and so in the table."""
    if len(ticks) and (ticks.min() < 0 or ticks.max() > TICKS):
        return _objects([f"{tick / TICKS!r}," for tick in ticks.tolist()])
    return _SCORES[ticks]


def _json(text: str) -> str:
    return orjson.dumps(text).decode()


def _objects(texts: Sequence[str]) -> NDArray[np.object_]:
    return np.array(texts, np.object_)


_SCORES = _objects([f"{tick / TICKS!r}," for tick in range(TICKS + 1)])
