"""Blends the learners' candidates into one list, with weights that follow from the learners' recent
hits.

The candidates of a published list are compared with its shopper's next click (prequential evaluation,
Gama, Sebastiao and Rodrigues, 2013). Until the first list is published, the candidates for a sample of
the events are generated before the events are learned. The names of the arrays are stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.kernels.ranking.blend import blend, contributions
from operators.kernels.ranking.blend_features import context_classes, position_features
from operators.recommend.blend_model import BlendModel
from operators.recommend.candidates.learner_lists import LearnerLists
from operators.recommend.fork_join import ForkJoin
from operators.recommend.negative_feedback import FEEDBACK_PRIOR_WEIGHTS, no_feedback
from operators.recommend.pending_lists import CandidateLists, PendingLists, candidate_arrays
from operators.tables.table import TableState
from state.interactions import VIEW, ListRequests, empty_lists

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from operators.kernels.ranking.blend import Feedback
    from operators.recommend.negative_feedback import NegativeFeedback
    from operators.tables.table import Arrays
    from state.arrays import Rows, Times
    from state.interactions import Interactions, ScoredLists

    Shares = NDArray[np.float64]

EVALUATION_RUN_EVENTS = 256
FULL_EVALUATION_RUNS = 16
EVALUATE_ONE_IN = 16
"""Events are evaluated in runs of `EVALUATION_RUN_EVENTS`: all of the first `FULL_EVALUATION_RUNS`
runs, one in two of the next as many, and so on, down to one in `EVALUATE_ONE_IN`."""
STORE_ONE_IN = 8
"""Published lists are kept for evaluation in the same way, down to one in so many."""


def evaluation_cases(batch: Interactions) -> NDArray[np.bool_]:
    """bool[n]: the events that a list is compared with.

    A cart or an order of an item of the running session is no case: nobody needed a list for it.
    """
    is_new = (batch.context != batch.item[:, None]).all(axis=1)
    return np.asarray((batch.kind == VIEW) | is_new)


class Blend(TableState):
    """Sums the learners' candidates to probabilities by `BlendModel`, which learns from the next clicks.

    `prior_weights` are the learners' weights before anything is learned, above 0. Hit rates and steps of
    learning reach back about `memory_events` evaluated events.
    """

    def __init__(
        self,
        names: Sequence[str],
        prior_weights: Sequence[float],
        memory_events: int = 10_000,
        negative_feedback: NegativeFeedback | None = None,
        fork_join: ForkJoin | None = None,
    ) -> None:
        if len(names) != len(prior_weights) or not names or min(prior_weights) <= 0:
            raise ValueError(
                f"each of {list(names)} needs a prior weight above 0, got {list(prior_weights)}"
            )
        self.names = tuple(names)
        self.memory_events = memory_events
        self._negative_feedback = negative_feedback
        self._fork_join = fork_join or ForkJoin(1)
        self.model = BlendModel(
            names, prior_weights, memory_events, FEEDBACK_PRIOR_WEIGHTS if negative_feedback else ()
        )
        self.pending_lists = PendingLists(names)
        self.hits: Shares = np.zeros(len(names))
        self.evaluated = 0.0
        self.events = 0

    def hit_rates(self) -> dict[str, float]:
        """The share of recent cases in which each learner's list held the clicked item."""
        rates = self.hits / max(self.evaluated, 1.0)
        return dict(zip(self.names, rates.tolist(), strict=True))

    def weights(self) -> Shares:
        """The weight of each learner's first item, averaged over the classes of contexts; 1 in all."""
        weights = self.model.weights
        gain = np.maximum((weights[:-1].mean(axis=0) + weights[-1]).sum(axis=1), 0)
        return np.asarray(gain / max(gain.sum(), np.finfo(np.float64).tiny))

    def store_pending(
        self, requests: ListRequests, lists: Sequence[ScoredLists], at_ms: Times
    ) -> None:
        """Keep the candidates of published lists, of a sample, to be evaluated by the next click.

        Each shopper is given once; `at_ms` is their newest click.
        """
        one_in = min(
            1 + self.events // (EVALUATION_RUN_EVENTS * FULL_EVALUATION_RUNS), STORE_ONE_IN
        )
        rows = self.pending_lists.sample(requests.shopper, at_ms, one_in)
        candidates = candidate_arrays(
            LearnerLists.stack(lists), _classes_of(requests.context), rows
        )
        self.pending_lists.store(requests.shopper[rows], candidates, at_ms[rows])

    def update_weights(
        self, batch: Interactions, candidate_lists: Callable[[ListRequests], Sequence[ScoredLists]]
    ) -> None:
        """Evaluate the learners on a batch that none of them has learned yet, and learn the weights.

        `candidate_lists` generates the candidates in the order of `names`. It is called as long as no
        list was published.
        """
        case, candidates = (
            self._pending_cases(batch)
            if self.pending_lists.slots
            else self._immediate_cases(batch, candidate_lists)
        )
        self.events += len(batch)
        if not len(case):
            return
        clicked = batch.item[case]
        requests = ListRequests(batch.shopper[case], batch.context[case], batch.at_ms[case])
        decay = (1 - 1 / self.memory_events) ** len(case)
        hit = (candidates.item == clicked[:, None, None]).any(axis=2)
        self.hits = self.hits * decay + hit.sum(axis=0)
        self.evaluated = self.evaluated * decay + len(case)
        self.model.learn(
            *candidates, clicked, lambda part: self._feedback_columns(requests.subset(part))
        )

    def _pending_cases(self, batch: Interactions) -> tuple[NDArray[np.intp], CandidateLists]:
        """The indexes of clicks that evaluate a kept list, and the candidates of these lists."""
        case, candidates = self.pending_lists.take_for(batch)
        is_case = evaluation_cases(batch)[case]
        return case[is_case], CandidateLists(
            candidates.item[is_case], candidates.score[is_case], candidates.context_class[is_case]
        )

    def _immediate_cases(
        self, batch: Interactions, candidate_lists: Callable[[ListRequests], Sequence[ScoredLists]]
    ) -> tuple[NDArray[np.intp], CandidateLists]:
        """The indexes of a sample of clicks, and the candidates of the moment before each."""
        run = (self.events + np.arange(len(batch))) // EVALUATION_RUN_EVENTS
        is_evaluated = run % np.minimum(1 + run // FULL_EVALUATION_RUNS, EVALUATE_ONE_IN) == 0
        case = np.flatnonzero(is_evaluated & evaluation_cases(batch))
        context = batch.context[case]
        lists = candidate_lists(ListRequests(batch.shopper[case], context, batch.at_ms[case]))
        return case, candidate_arrays(
            LearnerLists.stack(lists), _classes_of(context), np.arange(len(case))
        )

    def blend(self, requests: ListRequests, lists: Sequence[ScoredLists], k: int) -> ScoredLists:
        """Blend the learners' candidates, in the order of `names`, into a list of at most k items a
        request.

        A score is the probability that the item is clicked next, among all candidates. `reason_item` is
        that of the learner that adds most, or the learner's `reason_code` if it names none.
        """
        stacked, blended = LearnerLists.stack(lists), empty_lists(len(requests), k)
        place, log_place = position_features(stacked.item.shape[2])
        weights, feedback = self.model.class_weights(), self._feedback_columns(requests)
        feedback_weights = self.model.feedback_weights.astype(np.float32)

        def blend_part(part: slice) -> None:
            blend(
                stacked.item,
                stacked.score,
                stacked.reason_item,
                requests.context,
                weights,
                place,
                log_place,
                feedback,
                feedback_weights,
                part.start,
                part.stop,
                blended.item,
                blended.score,
                blended.reason_item,
            )

        self._fork_join.map(blend_part, len(requests))
        return blended

    def contributions(
        self, context: Rows, lists: Sequence[ScoredLists], rows: NDArray[np.intp], item: Rows
    ) -> NDArray[np.int8]:
        """The learner, as an index in `names`, that adds most to each item of some of n final lists.

        NO_ROW if the item is no learner's candidate.
        """
        stacked, learner_index = (
            LearnerLists.stack(lists),
            np.empty((len(rows), item.shape[1]), np.int8),
        )
        place, log_place = position_features(stacked.item.shape[2])
        contributions(
            stacked.item,
            stacked.score,
            rows,
            context,
            self.model.class_weights(),
            place,
            log_place,
            np.ascontiguousarray(item),
            learner_index,
        )
        return learner_index

    def _feedback_columns(self, requests: ListRequests) -> Feedback:
        """What the shoppers of requests did with lists, as the kernels take it."""
        if self._negative_feedback is None or self._negative_feedback.is_empty:
            return no_feedback(len(requests))
        return self._negative_feedback.columns(requests)

    def scalars(self) -> Arrays:
        """Hits, counts and the weights, by learner."""
        hits = {f"hits/{name}": self.hits[[at]] for at, name in enumerate(self.names)}
        counts = {"judged": np.array([self.evaluated]), "events": np.array([self.events])}
        return {**hits, **counts, **self.model.scalars()}

    def restore(self, arrays: Arrays) -> None:
        """Go on from the arrays of a snapshot; a learner that is not in them begins with nothing."""
        self.model.restore(arrays)
        if "events" in arrays:
            self.evaluated, self.events = float(arrays["judged"][0]), int(arrays["events"][0])
        for at, name in enumerate(self.names):
            self.hits[at] = arrays.get(f"hits/{name}", np.zeros(1))[0]


def _classes_of(context: Rows) -> NDArray[np.int8]:
    """The class of each context."""
    classes = np.empty(len(context), np.int8)
    context_classes(context, classes)
    return classes
