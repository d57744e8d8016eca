"""Exploration: one position of some lists shows the candidate of a single learner, to learn its worth.

A bandit chooses the learner by the clicks so far. The list says with which probability its item is shown
there, so that other lists can be evaluated from the log (`penstock evaluate --protocol counterfactual`).
The names of the arrays and the fields of `metrics` are public.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from operators.recommend.feedback_events import CLICK, IMPRESSION
from operators.recommend.thompson import probability_of_best, uniform
from operators.tables.array_ops import contains
from operators.tables.bounded_pairs import BoundedPairs
from operators.tables.table import Table, TableState
from state.interactions import ScoredLists

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from operators.catalogue.item_features import Flags
    from operators.recommend.feedback_events import FeedbackEvents
    from operators.tables.table import Arrays
    from state.arrays import Rows, Times
    from state.config_lists import Exploration as ExplorationConfig
    from state.interactions import Interactions, ListRequests

    Probabilities = NDArray[np.float64]

MEMORY_VIEWS = 10_000
"""What is learned reaches back about so many impressions."""
UNIFORM_SHARE = 0.1
"""The share of exploration that all learners get alike: none is ever left out."""
PAIRS_MAX = 200_000
"""Explored items that wait for an impression and a click, 20 bytes each."""
SEEN_OFFSET = 128.0
"""Added to the stored learner (from 1) of an explored item that was seen."""


@dataclass(slots=True)
class ExplorationSlots:
    """The explored position of n lists: its item (NO_ROW for none), the probability that it is shown
    there, and the index of the learner whose candidate it is (NO_ROW if the list itself put it
    there)."""

    item: Rows
    propensity: Probabilities
    learner: Rows


class Exploration(TableState):
    """Thompson sampling over the learners `names` (Thompson 1933; Chapelle and Li, "An empirical
    evaluation of Thompson sampling", NIPS 2011), as in River's `bandit.ThompsonSampling` with Beta
    rewards, which however draws from one stream of numbers and does not give the probabilities.

    views, clicks float64[learners]: of explored items, decayed. `reason` is the reason code of such
    items.
    """

    def __init__(self, names: Sequence[str], settings: ExplorationConfig, reason: int) -> None:
        self.names = tuple(names)
        self.settings = settings
        self._reason = reason
        self.views: Probabilities = np.zeros(len(names))
        self.clicks: Probabilities = np.zeros(len(names))
        self.explored_pairs = BoundedPairs(PAIRS_MAX, ways=4)
        self._deltas = np.zeros((len(names), 2), np.int64)

    @property
    def is_on(self) -> bool:
        """Whether the configuration turns exploration on."""
        return self.settings.share > 0

    def learner_shares(self) -> Probabilities:
        """The probability of each learner to be the one that is explored."""
        best = probability_of_best(self.clicks, self.views)
        return np.asarray((1 - UNIFORM_SHARE) * best + UNIFORM_SHARE / len(best))

    def insert_explored(
        self,
        requests: ListRequests,
        lists: Sequence[ScoredLists],
        assembled: ScoredLists,
        hidden: Callable[[ListRequests, Rows], Flags],
    ) -> tuple[ScoredLists, ExplorationSlots | None]:
        """The lists with some items explored, and the explored position of each; None if it is off.

        A learner's candidate is its best item that is not in the list and not hidden; if it has none,
        the list's own item stays. The choice depends on seed, shopper, time and the newest item of the
        session alone, so a replay repeats it.
        """
        if not self.is_on:
            return assembled, None
        position, share = self.settings.position - 1, self.settings.share
        current_item = assembled.item[:, position]
        candidates = np.stack(
            [_first_allowed(one.item, hidden(requests, one.item), assembled.item) for one in lists],
            axis=1,
        )
        candidates = np.where(candidates >= 0, candidates, current_item[:, None])
        shares = self.learner_shares()
        draw = uniform(self.settings.seed, requests)
        learner = np.minimum(np.searchsorted(shares.cumsum(), draw / share), len(shares) - 1)
        is_explored = (draw < share) & (current_item >= 0)
        item = np.where(is_explored, candidates[np.arange(len(learner)), learner], current_item)
        propensity = share * ((candidates == item[:, None]) @ shares) + (1 - share) * (
            item == current_item
        )
        learner = np.where(item == current_item, -1, learner).astype(np.int32)
        inserted = ScoredLists(assembled.item.copy(), assembled.score, assembled.reason_item.copy())
        inserted.item[:, position] = item
        inserted.reason_item[item != current_item, position] = self._reason
        return inserted, ExplorationSlots(item, propensity, learner)

    def store_explored(self, requests: ListRequests, explored: ExplorationSlots) -> None:
        """These lists are published: their explored items wait for an impression."""
        rows = np.flatnonzero((explored.learner >= 0) & (requests.shopper >= 0))
        shopper, item = requests.shopper[rows], explored.item[rows]
        self.explored_pairs.remove(shopper, item)
        learner = (explored.learner[rows] + 1).astype(np.float32)
        self.explored_pairs.add(shopper, item, learner, requests.now_ms[rows])

    def observe_feedback(self, feedback: FeedbackEvents) -> None:
        """Learn which explored items were seen, and which were clicked in a list."""
        seen = feedback.of_kind(IMPRESSION)
        shopper, item, learner, at_ms = self._find_waiting(seen.shopper, seen.item, seen.at_ms)
        is_new = learner <= len(self.names)
        gained = np.bincount(learner[is_new].astype(np.intp) - 1, minlength=len(self.names))
        decay = (1 - 1 / MEMORY_VIEWS) ** int(gained.sum())
        self.views, self.clicks = self.views * decay + gained, self.clicks * decay
        self._deltas[:, 0] += gained
        self.explored_pairs.add(
            shopper[is_new],
            item[is_new],
            np.full(int(is_new.sum()), SEEN_OFFSET, np.float32),
            at_ms[is_new],
        )
        clicked = feedback.of_kind(CLICK)
        self._count_clicks(clicked.shopper, clicked.item, clicked.at_ms)

    def learn(self, batch: Interactions) -> None:
        """Count views of explored items as clicks."""
        if len(self.explored_pairs):
            self._count_clicks(batch.shopper, batch.item, batch.at_ms)

    def take_deltas(self) -> dict[str, tuple[int, int]]:
        """Impressions and clicks of each learner's explored items since the last call."""
        seen, clicked = self._deltas.T.tolist()
        self._deltas[:] = 0
        return {
            name: (views, clicks)
            for name, views, clicks in zip(self.names, seen, clicked, strict=True)
            if views or clicks
        }

    def metrics(self) -> dict[str, dict[str, str]]:
        """Fields of `ps:1:model:{<learner>}` by learner; empty if exploration is off."""
        if not self.is_on:
            return {}
        rows = zip(self.names, self.views, self.clicks, self.learner_shares(), strict=True)
        return {
            name: {
                "tried_seen": f"{views:.0f}",
                "tried_clicked": f"{clicks:.0f}",
                "try_share": f"{share:.4f}",
            }
            for name, views, clicks, share in rows
        }

    def merge(self, row: int, into: int) -> None:
        """Drop what a merged shopper was shown: nobody clicks on it any more."""
        self.remove_shoppers(np.array([row], np.int32))

    def remove_shoppers(self, rows: Rows) -> None:
        """Remove the explored items of these shoppers."""
        self.explored_pairs.remove_shoppers(rows)

    def remove_items(self, rows: Rows) -> None:
        """Remove these items."""
        self.explored_pairs.remove_items(rows)

    def tables(self) -> Sequence[Table]:
        """The explored items that wait."""
        return self.explored_pairs.tables()

    def scalars(self) -> Arrays:
        """Impressions and clicks, by learner."""
        return {
            f"{column}/{name}": array[[index]]
            for column, array in (("views", self.views), ("clicks", self.clicks))
            for index, name in enumerate(self.names)
        }

    def restore(self, arrays: Arrays) -> None:
        """Go on from the arrays of a snapshot; a learner that is not in them begins with nothing."""
        self.explored_pairs.restore(arrays)
        for column, array in (("views", self.views), ("clicks", self.clicks)):
            for index, name in enumerate(self.names):
                array[index] = arrays.get(f"{column}/{name}", np.zeros(1))[0]

    def _count_clicks(self, shopper: Rows, item: Rows, at_ms: Times) -> None:
        shopper, item, learner, _ = self._find_waiting(shopper, item, at_ms)
        seen = learner > SEEN_OFFSET
        learners = (learner[seen] - SEEN_OFFSET).astype(np.intp) - 1
        gained = np.bincount(learners, minlength=len(self.names))
        self.clicks = self.clicks + gained
        self._deltas[:, 1] += gained
        self.explored_pairs.remove(shopper[seen], item[seen])

    def _find_waiting(
        self, shopper: Rows, item: Rows, at_ms: Times
    ) -> tuple[Rows, Rows, NDArray[np.float32], Times]:
        """The pairs that are explored and wait, each once."""
        weight, since_ms = self.explored_pairs.get(shopper, item)
        rows = np.flatnonzero((weight > 0) & (at_ms >= since_ms))
        pair = shopper[rows].astype(np.int64) << 32 | item[rows]
        rows = rows[np.sort(np.unique(pair, return_index=True)[1])]
        return shopper[rows], item[rows], weight[rows].astype(np.float32), at_ms[rows]


def _first_allowed(item: Rows, hidden: Flags, listed_items: Rows) -> Rows:
    """The first item of each row [n, w] that is neither hidden nor listed; NO_ROW for none."""
    is_allowed = (item >= 0) & ~hidden & ~contains(listed_items, item)
    first = is_allowed.argmax(axis=1)
    row = np.arange(len(item))
    return np.where(is_allowed[row, first], item[row, first], -1).astype(np.int32)
