"""One list out of several learners' lists, by what each proved to be worth lately.

How learners prove themselves: what they named when a list was made is held against its shopper's next
click (prequential evaluation, Gama, Sebastiao and Rodrigues, 2013). Before the first list is made, what
they would have named is held against some of the events of a batch that is not learned yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.recommend.blend_model import Mixture, situation
from operators.recommend.negative_feedback import BELIEFS
from operators.recommend.pending_lists import Named, Pending, named
from operators.recommend.rendering import reason_row
from operators.tables.array_ops import heaviest, sums
from operators.tables.table import Kept
from state.interactions import NOBODY, VIEW, Lists, Requests

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from operators.recommend.blend_model import SignsOf
    from operators.recommend.negative_feedback import Against
    from operators.tables.table import Arrays
    from state.interactions import Interactions, Rows, Times, Weights

    Shares = NDArray[np.float64]

RUN = 256
RUNS_FIRST = 16
JUDGED_EVERY = 16
"""Events are judged in runs of `RUN`: the first `RUNS_FIRST` all, of the next as many every second one,
and so on down to one in `JUDGED_EVERY`."""
REMEMBERED_EVERY = 8
"""Lists that were made are remembered in like manner, down to one in so many."""
ROWS_AT_ONCE = 256
"""Lists mixed together: the columns in between then stay in the cache."""


def cases(batch: Interactions) -> NDArray[np.bool_]:
    """Which events a list is held against, bool[n].

    A cart or an order of what was just looked at is none: nobody needed a list for it.
    """
    is_new = (batch.context != batch.item[:, None]).all(axis=1)
    return np.asarray((batch.kind == VIEW) | is_new)


class Blend(Kept):
    """The learners' lists summed to chances by `Mixture`, which learns from what came next.

    `beliefs` is what each learner's word counts to begin with, above 0; `memory` how many judged
    events hit rates and steps of learning reach back; `against` says what speaks against items.
    """

    def __init__(
        self,
        names: Sequence[str],
        beliefs: Sequence[float],
        *,
        memory: int = 10_000,
        against: Against | None = None,
    ) -> None:
        if len(names) != len(beliefs) or not names or min(beliefs) <= 0:
            raise ValueError(f"each of {list(names)} needs a belief above 0, got {list(beliefs)}")
        self.names = tuple(names)
        self.memory = memory
        self._against = against
        self.mixture = Mixture(names, beliefs, memory, BELIEFS if against else ())
        self.pending = Pending(names)
        self.hits: Shares = np.zeros(len(names))
        self.judged = 0.0
        self.events = 0

    def hit_rates(self) -> dict[str, float]:
        """How often each learner's list held the next item, lately."""
        rates = self.hits / max(self.judged, 1.0)
        return dict(zip(self.names, rates.tolist(), strict=True))

    def weights(self) -> Shares:
        """What a learner's first item gains from it, over all situations; 1 in all."""
        said = self.mixture.weights
        gain = np.maximum((said[:-1].mean(axis=0) + said[-1]).sum(axis=1), 0)
        return np.asarray(gain / max(gain.sum(), np.finfo(np.float64).tiny))

    def remember(self, requests: Requests, lists: Sequence[Lists], at_ms: Times) -> None:
        """Lists are made of the learners' lists: those of a sample are judged by the next click.

        `at_ms` are the newest clicks of the shoppers, each of whom comes once.
        """
        every = min(1 + self.events // (RUN * RUNS_FIRST), REMEMBERED_EVERY)
        rows = self.pending.sample(requests.shopper, at_ms, every)
        of = named(lists, situation(requests.context), rows)
        self.pending.remember(requests.shopper[rows], of, at_ms[rows])

    def judge(self, batch: Interactions, would_show: Callable[[Requests], Sequence[Lists]]) -> None:
        """Hold learners' lists against a batch that none of them has learned yet.

        `would_show` gives the lists in the order of `names`, as long as none was made to be read.
        """
        case, of = self._stood(batch) if self.pending.slots else self._now(batch, would_show)
        self.events += len(batch)
        if not len(case):
            return
        came = batch.item[case]
        requests = Requests(batch.shopper[case], batch.context[case], batch.at_ms[case])
        kept = (1 - 1 / self.memory) ** len(case)
        hit = (of.item == came[:, None, None]).any(axis=2)
        self.hits = self.hits * kept + hit.sum(axis=0)
        self.judged = self.judged * kept + len(case)
        self.mixture.learn(*of, came, lambda part: self._signs_of(requests.part(part)))

    def _stood(self, batch: Interactions) -> tuple[NDArray[np.intp], Named]:
        """The clicks that came after lists that are remembered, and those."""
        case, of = self.pending.take(batch)
        kept = cases(batch)[case]
        return case[kept], Named(of.item[kept], of.score[kept], of.situation[kept])

    def _now(
        self, batch: Interactions, would_show: Callable[[Requests], Sequence[Lists]]
    ) -> tuple[NDArray[np.intp], Named]:
        """A sample of clicks, and lists that would have been made at that moment."""
        run = (self.events + np.arange(len(batch))) // RUN
        is_judged = run % np.minimum(1 + run // RUNS_FIRST, JUDGED_EVERY) == 0
        case = np.flatnonzero(is_judged & cases(batch))
        context = batch.context[case]
        lists = would_show(Requests(batch.shopper[case], context, batch.at_ms[case]))
        return case, named(lists, situation(context), np.arange(len(case)))

    def mix(self, requests: Requests, lists: Sequence[Lists], k: int) -> Lists:
        """The learners' lists, in the order of `names`, as one of at most k items a request.

        A score is the chance that the item is next, of those listed by any learner. `because` is the
        item that the learner with most to say named, or the `reason_row` of that learner where it
        named none.
        """
        parts = [
            self._mixed(requests.part(part), [_rows(one, part) for one in lists], k)
            for at in range(0, max(len(requests), 1), ROWS_AT_ONCE)
            for part in [slice(at, at + ROWS_AT_ONCE)]
        ]
        columns = zip(*((one.item, one.score, one.because) for one in parts), strict=True)
        return Lists(*map(np.concatenate, columns))

    def said_by(self, context: Rows, lists: Sequence[Lists], item: Rows) -> NDArray[np.int8]:
        """Which learner, by its place in `names`, said most of each item of n final lists.

        NOBODY where none of them listed it.
        """
        listed = np.stack([one.item for one in lists], axis=1)
        score: Weights = np.stack([one.score for one in lists], axis=1)
        says = self.mixture.says(listed, score, situation(context)).reshape(listed.shape)
        by = np.full(item.shape, NOBODY, np.int8)
        most = np.full(item.shape, -np.inf, np.float32)
        for place in range(len(self.names)):
            same = listed[:, place, :, None] == item[:, None, :]
            said = np.where(same, says[:, place, :, None], -np.inf).max(axis=1)
            by[said > most] = place
            np.maximum(most, said, out=most)
        by[item < 0] = NOBODY
        return by

    def _signs_of(self, requests: Requests) -> SignsOf | None:
        """How signs of items are told, if anything is known of any."""
        against = self._against
        if against is None or against.is_empty:
            return None
        return lambda row, item: against.signs(requests, row, item)

    def _mixed(self, requests: Requests, lists: Sequence[Lists], k: int) -> Lists:
        item = np.stack([one.item for one in lists], axis=1)
        score: Weights = np.stack([one.score for one in lists], axis=1)
        reasons = [
            np.where(one.because >= 0, one.because, reason_row(at)) for at, one in enumerate(lists)
        ]
        says = self.mixture.says(item, score, situation(requests.context))
        of = sums(item.reshape(says.shape), says)
        because = np.stack(reasons, axis=1).ravel()[of.strongest(says)]
        signs_of = self._signs_of(requests)
        if signs_of is not None:
            of = self.mixture.with_signs(of, signs_of(of.row, of.item))
        return heaviest(of, self.mixture.chances(of), because, len(requests), k)

    def small(self) -> Arrays:
        """What the learners proved to be worth."""
        hits = {f"hits/{name}": self.hits[[at]] for at, name in enumerate(self.names)}
        counts = {"judged": np.array([self.judged]), "events": np.array([self.events])}
        return {**hits, **counts, **self.mixture.small()}

    def restore(self, arrays: Arrays) -> None:
        """Take over what `arrays` gave; of a learner that is not in it, nothing is known."""
        self.mixture.restore(arrays)
        if "events" in arrays:
            self.judged, self.events = float(arrays["judged"][0]), int(arrays["events"][0])
        for at, name in enumerate(self.names):
            self.hits[at] = arrays.get(f"hits/{name}", np.zeros(1))[0]


def _rows(lists: Lists, part: slice) -> Lists:
    return Lists(lists.item[part], lists.score[part], lists.because[part])
