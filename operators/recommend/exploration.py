"""One place of some lists goes to what a single learner would put there, to learn what it is worth.

Whose word is tried, a bandit learns from what was clicked. With what chance an item stands in that place
is told with the list, so that what other lists would have brought can be estimated from the log.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from operators.recommend.negative_feedback import CLICKED, SHOWN
from operators.tables.array_ops import holds
from operators.tables.bounded_pairs import Pairs
from operators.tables.table import Kept, Table
from state.interactions import Lists

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from operators.catalogue.item_features import Flags
    from operators.recommend.negative_feedback import Signals
    from operators.tables.table import Arrays
    from state.config import Exploration as Settings
    from state.interactions import Interactions, Requests, Rows, Times

    Chances = NDArray[np.float64]

MEMORY = 10_000
"""Views that what was learned reaches back."""
FLOOR = 0.1
"""Of what is tried, so much goes to all learners alike: none has ever no chance."""
GRID = 1024
PAIRS_MAX = 200_000
"""Tried items that wait for being seen and clicked, 20 bytes each."""
SEEN = 128.0
"""Added to what is remembered of a tried item, its learner from 1, when it was seen."""


@dataclass(slots=True)
class Explored:
    """Of n lists the item in the place that is explored, NOBODY where there is none, with what chance it
    stands there, and whose try it is, NOBODY where it is none."""

    item: Rows
    chance: Chances
    arm: Rows


class Exploration(Kept):
    """Thompson sampling over the learners `names` (Thompson 1933; Chapelle and Li, "An empirical
    evaluation of Thompson sampling", NIPS 2011), as in River's `bandit.ThompsonSampling` with Beta
    rewards, which however draws from one stream of numbers and does not say with what chance.

    views, clicks float64[learners]: of tried items, fading. `reason` is the `because` of a tried item.
    """

    def __init__(self, names: Sequence[str], settings: Settings, reason: int) -> None:
        self.names = tuple(names)
        self.settings = settings
        self._reason = reason
        self.views: Chances = np.zeros(len(names))
        self.clicks: Chances = np.zeros(len(names))
        self.tried = Pairs(PAIRS_MAX, ways=4)
        self._grew = np.zeros((len(names), 2), np.int64)

    @property
    def is_on(self) -> bool:
        """Whether anything is tried."""
        return self.settings.share > 0

    def chances(self) -> Chances:
        """With what chance each learner's word is the one that is tried."""
        best = best_chances(self.clicks, self.views)
        return np.asarray((1 - FLOOR) * best + FLOOR / len(best))

    def shown(
        self,
        requests: Requests,
        lists: Sequence[Lists],
        listed: Lists,
        hidden: Callable[[Requests, Rows], Flags],
    ) -> tuple[Lists, Explored]:
        """The lists with some items tried, and what stands in that place of each.

        A learner's try is the best of its items that is not listed and may be; where it has none, what
        stands there stays. It depends on seed, shopper, time and the newest item of the session alone.
        """
        at, share = self.settings.position - 1, self.settings.share
        standing = listed.item[:, at]
        tries = np.stack(
            [_first(one.item, hidden(requests, one.item), listed.item) for one in lists], axis=1
        )
        tries = np.where(tries >= 0, tries, standing[:, None])
        chances = self.chances()
        drawn = _uniform(self.settings.seed, requests)
        arm = np.minimum(np.searchsorted(chances.cumsum(), drawn / share), len(chances) - 1)
        is_tried = (drawn < share) & (standing >= 0)
        item = np.where(is_tried, tries[np.arange(len(arm)), arm], standing)
        chance = share * ((tries == item[:, None]) @ chances) + (1 - share) * (item == standing)
        arm = np.where(item == standing, -1, arm).astype(np.int32)
        new = Lists(listed.item.copy(), listed.score, listed.because.copy())
        new.item[:, at] = item
        new.because[item != standing, at] = self._reason
        return new, Explored(item, chance, arm)

    def remember(self, requests: Requests, explored: Explored) -> None:
        """These lists are written: what is tried in them waits for being seen."""
        some = np.flatnonzero((explored.arm >= 0) & (requests.shopper >= 0))
        shopper, item = requests.shopper[some], explored.item[some]
        self.tried.drop(shopper, item)
        arm = (explored.arm[some] + 1).astype(np.float32)
        self.tried.add(shopper, item, arm, requests.now_ms[some])

    def hear(self, signals: Signals) -> None:
        """Tried items were seen, or clicked."""
        seen = signals.of_kind(SHOWN)
        shopper, item, arm, at_ms = self._found(seen.shopper, seen.item, seen.at_ms)
        new = arm <= len(self.names)
        gained = np.bincount(arm[new].astype(np.intp) - 1, minlength=len(self.names))
        kept = (1 - 1 / MEMORY) ** int(gained.sum())
        self.views, self.clicks = self.views * kept + gained, self.clicks * kept
        self._grew[:, 0] += gained
        self.tried.add(
            shopper[new], item[new], np.full(int(new.sum()), SEEN, np.float32), at_ms[new]
        )
        clicked = signals.of_kind(CLICKED)
        self._click(clicked.shopper, clicked.item, clicked.at_ms)

    def learn(self, batch: Interactions) -> None:
        """Who looks at what was tried on them has clicked it."""
        if len(self.tried):
            self._click(batch.shopper, batch.item, batch.at_ms)

    def growth(self) -> dict[str, tuple[int, int]]:
        """What each learner tried that was seen, and clicked, since this was asked last."""
        seen, clicked = self._grew.T.tolist()
        self._grew[:] = 0
        return {
            name: (views, clicks)
            for name, views, clicks in zip(self.names, seen, clicked, strict=True)
            if views or clicks
        }

    def figures(self) -> dict[str, dict[str, str]]:
        """Of each learner: fields of `ps:1:model:{<learner>}`, none where nothing is tried."""
        if not self.is_on:
            return {}
        told = zip(self.names, self.views, self.clicks, self.chances(), strict=True)
        return {
            name: {
                "tried_seen": f"{views:.0f}",
                "tried_clicked": f"{clicks:.0f}",
                "try_share": f"{chance:.4f}",
            }
            for name, views, clicks, chance in told
        }

    def forget_shoppers(self, rows: Rows) -> None:
        """Nothing is tried on these shoppers."""
        self.tried.forget_shoppers(rows)

    def forget_items(self, rows: Rows) -> None:
        """These items are not tried."""
        self.tried.forget_items(rows)

    def tables(self) -> Sequence[Table]:
        """What waits."""
        return self.tried.tables()

    def small(self) -> Arrays:
        """Views and clicks, by learner."""
        return {
            f"{what}/{name}": array[[place]]
            for what, array in (("views", self.views), ("clicks", self.clicks))
            for place, name in enumerate(self.names)
        }

    def restore(self, arrays: Arrays) -> None:
        """Take over what `arrays` gave; of a learner that is not in it, nothing is known."""
        self.tried.restore(arrays)
        for what, array in (("views", self.views), ("clicks", self.clicks)):
            for place, name in enumerate(self.names):
                array[place] = arrays.get(f"{what}/{name}", np.zeros(1))[0]

    def _click(self, shopper: Rows, item: Rows, at_ms: Times) -> None:
        shopper, item, arm, _ = self._found(shopper, item, at_ms)
        seen = arm > SEEN
        places = (arm[seen] - SEEN).astype(np.intp) - 1
        gained = np.bincount(places, minlength=len(self.names))
        self.clicks = self.clicks + gained
        self._grew[:, 1] += gained
        self.tried.drop(shopper[seen], item[seen])

    def _found(
        self, shopper: Rows, item: Rows, at_ms: Times
    ) -> tuple[Rows, Rows, NDArray[np.float32], Times]:
        """Those of some pairs that wait, each once."""
        weight, since_ms = self.tried.find(shopper, item)
        found = np.flatnonzero((weight > 0) & (at_ms >= since_ms))
        pair = shopper[found].astype(np.int64) << 32 | item[found]
        found = found[np.sort(np.unique(pair, return_index=True)[1])]
        return shopper[found], item[found], weight[found].astype(np.float32), at_ms[found]


def best_chances(clicks: Chances, views: Chances) -> Chances:
    """With what chance each of some rates is the highest, given clicks of so many views each; 1 in all.

    >>> best_chances(np.array([5.0, 5.0]), np.array([50.0, 50.0])).round(3).tolist()
    [0.5, 0.5]
    """
    a, b = 1 + clicks, 1 + np.maximum(views - clicks, 0)
    mean = a / (a + b)
    spread = 6 * np.sqrt(mean * (1 - mean) / (a + b + 1))
    low, high = max(0.0, float((mean - spread).min())), min(1.0, float((mean + spread).max()))
    rate = low + (high - low) * (np.arange(GRID) + 0.5) / GRID
    log = (a - 1)[:, None] * np.log(rate) + (b - 1)[:, None] * np.log1p(-rate)
    density = np.exp(log - log.max(axis=1, keepdims=True))
    density /= density.sum(axis=1, keepdims=True)
    below = density.cumsum(axis=1) - density / 2
    best = np.array(
        [(one * np.delete(below, n, axis=0).prod(axis=0)).sum() for n, one in enumerate(density)]
    )
    return np.asarray(best / best.sum())


def _first(item: Rows, hidden: Flags, listed: Rows) -> Rows:
    """The first of each row [n, w] that is there, neither hidden nor listed; NOBODY where none is."""
    may = (item >= 0) & ~hidden & ~holds(listed, item)
    first = may.argmax(axis=1)
    row = np.arange(len(item))
    return np.where(may[row, first], item[row, first], -1).astype(np.int32)


def _uniform(seed: int, requests: Requests) -> Chances:
    """A number from 0 to below 1 for each request, always the same.

    The last steps are those of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
    """
    mixed = np.full(len(requests), seed, np.uint64)
    for column in (requests.shopper, requests.now_ms, requests.context[:, 0]):
        mixed = (mixed ^ column.astype(np.int64).view(np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return np.asarray((mixed >> np.uint64(11)) / np.float64(1 << 53))
