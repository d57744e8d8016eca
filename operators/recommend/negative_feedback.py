"""What speaks against an item: put back, given back, or shown again and again without a click.

Three numbers for each shopper and item, which the blend learns to weigh. Bounded, and all of it fades.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from operators.tables.bounded_pairs import Pairs
from operators.tables.table import Kept, Table, without_prefix
from operators.tables.top_partners import DecayClock, fade, grown
from state.dirty_rows import Marks
from state.interactions import NOBODY
from state.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.tables.table import Arrays
    from state.interactions import Interactions, Requests, Rows, Times, Weights

TURNED_DOWN, SHOWN, CLICKED = 0, 1, 2
"""Kinds of signal: put back or refunded; seen in a list; clicked in a list."""
KIND_OF = {
    "cart_remove": TURNED_DOWN,
    "refund": TURNED_DOWN,
    "reco_view": SHOWN,
    "reco_click": CLICKED,
}
PAIRS_MAX = 500_000
"""Of either kind, 20 bytes each."""
HALF_LIFE_MS = 7 * DAY_MS
"""A week later the same item is worth another look."""
PLACES = 100
"""Places of a list that are told apart."""
PRIOR_CLICKS = 3.0
"""So many expected clicks speak for an item being as good as others in its place."""
SIGNS = ("turned_down", "passed_over", "liked")
"""What is said of an item and a shopper: how often turned down; the logarithm of how often shown
without a click; and over all shoppers the logarithm of its clicks against those of its places."""
BELIEFS = (-1.0, -0.2, 0.5)
"""What each counts in the blend to begin with."""


@dataclass(slots=True)
class Signals:
    """n of them in order of arrival: shopper and item rows, kind, event time (ms), place from 0."""

    shopper: Rows
    item: Rows
    kind: NDArray[np.int8]
    at_ms: Times
    place: Rows

    def of_kind(self, kind: int) -> Signals:
        """Those of a kind."""
        some = self.kind == kind
        return Signals(
            self.shopper[some], self.item[some], self.kind[some], self.at_ms[some], self.place[some]
        )


class Against(Kept):
    """What speaks against items, for each shopper and for all.

    Clicks over expected clicks (Zhang and Jones, "Comparing click logs and editorial labels for training
    query rewriting", WWW 2007): an item is expected to be clicked as often as what stood in its places.

    clicks, exposure float32[items]; places differ by the discount of DCG, 1/log2(1 + place from 1).
    """

    def __init__(self) -> None:
        self.turned_down = Pairs(PAIRS_MAX, ways=8, half_life_ms=HALF_LIFE_MS)
        self.shown = Pairs(PAIRS_MAX, ways=32, half_life_ms=HALF_LIFE_MS)
        self.clock = DecayClock(HALF_LIFE_MS)
        self._columns: dict[str, Weights] = {
            name: np.empty(0, np.float32) for name in ("clicks", "exposure")
        }
        self._items = 0
        self._marks = Marks()
        self._last_ms = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing speaks against anything."""
        return not (len(self.turned_down) or len(self.shown) or self._items)

    def hear(self, signals: Signals) -> None:
        """Learn signals, of known shoppers and items."""
        down = signals.of_kind(TURNED_DOWN)
        self.turned_down.add(
            down.shopper, down.item, np.ones(len(down.item), np.float32), down.at_ms
        )
        shown = signals.of_kind(SHOWN)
        if len(shown.item):
            self._show(shown)
        clicked = signals.of_kind(CLICKED)
        self._click(clicked.shopper, clicked.item, clicked.at_ms)

    def learn(self, batch: Interactions) -> None:
        """Who looks at what they were shown has clicked it; at what they put back, wants it again."""
        if len(self.shown):
            self._click(batch.shopper, batch.item, batch.at_ms)
        if len(self.turned_down):
            _, since_ms = self.turned_down.find(batch.shopper, batch.item)
            later = batch.at_ms > since_ms
            self.turned_down.drop(batch.shopper[later], batch.item[later])

    def signs(self, requests: Requests, row: NDArray[np.intp], item: Rows) -> Weights:
        """`SIGNS` of items, float32[n, signs]; row says for which request, both ascending together."""
        signs = np.zeros((len(item), len(SIGNS)), np.float32)
        key = row.astype(np.int64) << 32 | item
        for sign, pairs in enumerate((self.turned_down, self.shown)):
            if not len(pairs):
                continue
            found = pairs.of(requests.shopper, requests.now_ms)
            wanted = found.place.astype(np.int64) << 32 | found.item
            if not len(key):
                continue
            at = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
            there = key[at] == wanted
            weight = found.weight[there]
            signs[at[there], sign] = np.minimum(weight, 1) if sign == 0 else np.log1p(weight)
        if self._items:
            signs[:, 2] = self._likes(item)
        return signs

    def forget_shoppers(self, rows: Rows) -> None:
        """Nothing is known of these shoppers."""
        self.turned_down.forget_shoppers(rows)
        self.shown.forget_shoppers(rows)

    def forget_items(self, rows: Rows) -> None:
        """Nothing is known of these items."""
        self.turned_down.forget_items(rows)
        self.shown.forget_items(rows)
        rows = rows[rows < self._items]
        for column in self._columns.values():
            column[rows] = 0
        self._marks.mark(rows)

    def leave(self, shopper: int, heir: int) -> None:
        """A shopper is no more; the heir, if any, is who it turned out to be."""
        if shopper != NOBODY:
            self.turned_down.leave(shopper, heir)
            self.shown.leave(shopper, heir)

    def tables(self) -> Sequence[Table]:
        """The pairs, and what is known of items."""
        columns = {name: column[: self._items] for name, column in self._columns.items()}
        return [
            Table(columns, self._marks),
            *(one.named("turned_down/") for one in self.turned_down.tables()),
            *(one.named("shown/") for one in self.shown.tables()),
        ]

    def small(self) -> Arrays:
        """The clock, and how far it came."""
        return {"origin_ms": self.clock.arrays(), "last_ms": np.array([self._last_ms])}

    def restore(self, arrays: Arrays) -> None:
        """Take over what `arrays` gave."""
        self._columns = {name: arrays[name].astype(np.float32) for name in self._columns}
        self._items = len(self._columns["clicks"])
        self._marks = Marks(self._items)
        self.clock.restore(arrays["origin_ms"])
        self.turned_down.restore(without_prefix("turned_down/", arrays))
        self.shown.restore(without_prefix("shown/", arrays))
        self._last_ms = int(arrays["last_ms"][0])

    def _show(self, shown: Signals) -> None:
        self.shown.add(shown.shopper, shown.item, np.ones(len(shown.item), np.float32), shown.at_ms)
        self._count(
            "exposure", shown.item, _DISCOUNT[np.clip(shown.place, 0, PLACES - 1)], shown.at_ms
        )

    def _click(self, shopper: Rows, item: Rows, at_ms: Times) -> None:
        """A click counts where the item had been shown, once."""
        newest = at_ms.argsort(kind="stable")[::-1]
        pair = shopper.astype(np.int64) << 32 | item
        _, first = np.unique(pair[newest], return_index=True)
        chosen = newest[first]
        shopper, item, at_ms = shopper[chosen], item[chosen], at_ms[chosen]
        weight, since_ms = self.shown.find(shopper, item)
        had = (weight > 0) & (at_ms >= since_ms)
        if had.any():
            self.shown.drop(shopper[had], item[had])
            self._count("clicks", item[had], np.ones(int(had.sum())), at_ms[had])

    def _count(self, name: str, item: Rows, gain: NDArray[np.floating], at_ms: Times) -> None:
        if doublings := self.clock.advance(at_ms):
            for column in self._columns.values():
                fade(column, doublings)
            self._marks.mark_all()
        self._last_ms = max(self._last_ms, int(at_ms.max()))
        rows = int(item.max()) + 1
        if rows > self._items:
            for kind, column in self._columns.items():
                self._columns[kind] = grown(column, rows, 0)
            self._marks.reach(rows)
            self._items = rows
        gains = np.bincount(item, gain * self.clock.growth(at_ms))
        self._columns[name][: len(gains)] += gains.astype(np.float32)
        self._marks.mark(item)

    def _likes(self, item: Rows) -> Weights:
        """The logarithm of the clicks of items against what others got in their places."""
        known = np.where(item < self._items, item, 0)
        clicks, exposure = (column[: self._items] for column in self._columns.values())
        rate = clicks.sum() / max(float(exposure.sum()), np.finfo(np.float32).tiny)
        # Columns grow with the clock, and so does the prior.
        prior = np.float32(PRIOR_CLICKS) * self.clock.growth(np.array([self._last_ms]))
        log = np.log((clicks[known] + prior) / (rate * exposure[known] + prior))
        return np.where(item < self._items, log, 0).astype(np.float32)


_DISCOUNT = 1 / np.log2(2 + np.arange(PLACES))
