"""One list out of several learners' lists, each weighing what it proved to be worth lately.

How a learner proves itself: the list it would have given stands until the shopper's next event,
which then hits it or not (prequential evaluation, Gama, Sebastiao and Rodrigues, 2013).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.captions import reason_row
from operators.learners.heaviest import among
from operators.learners.table import Kept, Table
from operators.ranking import best_items
from state.interactions import NOBODY, Lists
from state.marks import Marks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.learners.table import Arrays
    from state.interactions import Interactions, Requests, Rows

    Shares = NDArray[np.float64]

WATCHED = 4096
"""Shoppers whose lists are judged at a time: enough for a steady rate, small however many come."""
IMAGINED = 20
"""How many events the beliefs weigh as: little, so that evidence soon replaces them."""

RATE_MIN = 1e-9
WEIGHT_MIN = 1e-6
"""No learner falls silent: popularity may never hit and still has to fill up short lists."""

FAINT = 0.02
"""A share of the blend below which a learner moves no list that a person would notice."""


class Blend(Kept):
    """Reciprocal ranks summed with weights: scores of different learners have no common scale.

    The item at place p of a learner's list adds weight / (p + 1). A weight is the learner's hit rate
    to the power of `sharpness` (0: all alike), taken over about the last `memory` events that had a
    list before them; `beliefs` are the hit rates to begin with, above 0.
    After Cormack, Clarke and Buettcher, "Reciprocal rank fusion", SIGIR 2009, with weights and
    without its constant of 60, which lists of 20 do not need.

    standing int32[WATCHED, learners, depth]   what each learner would have shown
    watched int32[WATCHED]                     whom; a shopper may take the place of another one
    """

    def __init__(
        self,
        names: Sequence[str],
        beliefs: Sequence[float],
        *,
        depth: int = 20,
        memory: int = 10_000,
        sharpness: float = 8.0,
    ) -> None:
        if len(names) != len(beliefs) or not names or min(beliefs) <= 0:
            raise ValueError(f"each of {list(names)} needs a belief above 0, got {list(beliefs)}")
        self.names = tuple(names)
        self.depth = depth
        self.memory = memory
        self.sharpness = sharpness
        self.watched: Rows = np.full(WATCHED, NOBODY, np.int32)
        self.standing: Rows = np.full((WATCHED, len(names), depth), NOBODY, np.int32)
        self.hits: Shares = np.array(beliefs) * IMAGINED
        self.judged = float(IMAGINED)
        self._marks = Marks(WATCHED)

    def hit_rates(self) -> dict[str, float]:
        """How often each learner's list held the next item, lately."""
        return dict(zip(self.names, self._rates().tolist(), strict=True))

    def weights(self) -> Shares:
        """What each learner counts now; 1 in all, so that scores of lists are at most 1."""
        rate = self._rates()
        weight = np.maximum((rate / rate.max()) ** self.sharpness, WEIGHT_MIN)
        return np.asarray(weight / weight.sum())

    def faint(self) -> list[bool]:
        """Which learners hardly count now: they are asked only where lists are judged."""
        return [weight < FAINT for weight in self.weights().tolist()]

    def _rates(self) -> Shares:
        return np.maximum(self.hits / self.judged, RATE_MIN)

    def judge(self, batch: Interactions) -> None:
        """Compare a batch with the lists that stand; before it is learned."""
        place = batch.shopper % WATCHED
        stood = np.flatnonzero(self.watched[place] == batch.shopper)
        lists, item = self.standing[place[stood]], batch.item[stood]
        hits = (lists == item[:, None, None]).any(axis=2).sum(axis=0)
        kept = (1 - 1 / self.memory) ** len(stood)
        self.hits = self.hits * kept + hits
        self.judged = self.judged * kept + len(stood)

    def stand(
        self,
        requests: Requests,
        lists: Sequence[Lists],
        asked: NDArray[np.bool_] | None = None,
    ) -> None:
        """Remember what each learner would show these shoppers, until they are judged.

        `asked` bool[n] says for whom all learners were asked; the others cannot be judged by.
        """
        judged = requests.shopper >= 0
        if asked is not None:
            unjudged = requests.shopper[judged & ~asked] % WATCHED
            self.watched[unjudged] = NOBODY
            self._marks.mark(unjudged)
            judged &= asked
        known = np.flatnonzero(judged)
        # Of two shoppers with one place the later one has it; both columns must say so.
        place = requests.shopper[known] % WATCHED
        last = len(place) - 1 - np.unique(place[::-1], return_index=True)[1]
        known, place = known[last], place[last]
        self._marks.mark(place)
        self.watched[place] = requests.shopper[known]
        self.standing[place] = NOBODY
        for learner, of_learner in enumerate(lists):
            shown = of_learner.item[known, : self.depth]
            self.standing[place, learner, : shown.shape[1]] = shown

    def mix(self, lists: Sequence[Lists], k: int) -> Lists:
        """Sum the learners' lists, in the order of `names`, with their weights; at most k items.

        `because` is the item that the strongest learner named, or the `reason_row` of that learner
        where it named none.
        """
        score, because = [], []
        for place, (of_learner, weight) in enumerate(zip(lists, self.weights(), strict=True)):
            n, width = of_learner.item.shape
            score.append(np.broadcast_to(weight / np.arange(1, width + 1), (n, width)))
            because.append(np.where(of_learner.because >= 0, of_learner.because, reason_row(place)))
        item = np.concatenate([of_learner.item for of_learner in lists], axis=1)
        return best_items(
            item,
            np.concatenate(score, axis=1, dtype=np.float32, casting="same_kind"),
            np.concatenate(because, axis=1),
            k,
            repeats=len(lists),
        )

    def forget_shoppers(self, rows: Rows) -> None:
        """No list stands for these shoppers."""
        place = rows[self.watched[rows % WATCHED] == rows] % WATCHED
        self.watched[place], self.standing[place] = NOBODY, NOBODY
        self._marks.mark(place)

    def forget_items(self, rows: Rows) -> None:
        """These items stand in no list."""
        gone = among(self.standing, rows)
        self.standing[gone] = NOBODY
        self._marks.mark(np.flatnonzero(gone.any(axis=(1, 2))))

    def tables(self) -> Sequence[Table]:
        """The lists that stand."""
        return [Table({"standing": self.standing, "watched": self.watched}, self._marks)]

    def small(self) -> Arrays:
        """What the learners proved to be worth."""
        return {"hits": self.hits.copy(), "judged": np.array([self.judged])}

    def restore(self, arrays: Arrays) -> None:
        """Take over what `arrays` gave, of a blend of the same names."""
        self.standing = arrays["standing"].astype(np.int32)
        self.watched = arrays["watched"].astype(np.int32)
        self.hits = arrays["hits"].astype(np.float64)
        self.judged = float(arrays["judged"][0])
        self._marks.mark_all()
