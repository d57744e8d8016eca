"""Learns batches of events and makes the lists of shoppers: the order in which the parts work.

Items are learned by an `ItemTrainer`; lists are made by a replica of what it learned.

Ids are strings outside and rows inside; this file is the border. A batch is evaluated, then written over
the replica, then learned: tests/operators/recommend/test_learning_order.py fails when two of them are
swapped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np

from operators.recommend.factory import build_components
from operators.recommend.feedback_events import NEGATIVE
from operators.recommend.reasons import with_default_reason
from state.interactions import Interactions, ListRequests, ScoredLists

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.recommend.components import RecommenderComponents
    from operators.recommend.exploration import ExplorationSlots
    from operators.recommend.feedback_events import FeedbackEvents
    from operators.recommend.items.models import ModelChanges
    from operators.recommend.rendering import RankedLists
    from state import config_lists
    from state.arrays import Rows
    from state.interactions import EventColumns


class Recommender:
    """Learns what shoppers did with items, and makes a list for each shopper who needs one."""

    def __init__(self, components: RecommenderComponents | None = None) -> None:
        self.components = components or build_components()
        self.shoppers = self.components.shoppers
        self.items = self.components.items

    @classmethod
    def from_config(cls, lists: config_lists.Lists) -> Self:
        """The recommender that a configuration asks for."""
        return cls(build_components(lists))

    def observe_feedback(self, feedback: FeedbackEvents) -> None:
        """Learn what shoppers did with lists, and what they put back or returned.

        Call it before all else of the same batch: feedback counts for items as they were known before
        the batch, and a view in the batch counts as a click in a list only if its impression is known.
        """
        if len(feedback.item):
            parts, isolate = self.components, self.components.errors.isolate
            with isolate("against"):
                parts.negative_feedback.observe(feedback)
            with isolate("exploration"):
                parts.exploration.observe_feedback(feedback)
            with isolate("rules"):
                returned = feedback.of_kind(NEGATIVE)
                parts.rules.already_bought.pairs.remove(returned.shopper, returned.item)

    def write_replica(self, changes: ModelChanges | None) -> None:
        """Write changes of the trained models of items over the replica."""
        if changes is not None:
            self.components.replica.write(changes)

    def evaluate(self, events: EventColumns, item: Rows, context: Rows) -> Interactions:
        """Evaluate the learners on a batch, which joins the sessions. Returns the batch as rows.

        Call it before the changes of the batch are written over the replica: learners are evaluated by
        what was known before the batch. `item` and `context` are what the trainer of items gave.
        """
        shopper = self.shoppers.get_or_add_many(events.shoppers)
        at_ms = np.asarray(events.at_ms, np.int64)
        batch = Interactions(
            shopper,
            item,
            np.asarray(events.kinds, np.int8),
            np.asarray(events.weights, np.float32),
            at_ms,
            context,
        )
        if len(batch):
            parts = self.components
            parts.session_contexts.store(shopper, item, at_ms, context)
            with parts.errors.isolate("blend"):
                parts.blend.update_weights(batch, parts.generators.candidate_lists)
        return batch

    def learn_batch(self, events: EventColumns, batch: Interactions) -> None:
        """Learn what is kept of shoppers, and what is counted by scope, after `evaluate`."""
        if not len(batch):
            return
        parts, isolate = self.components, self.components.errors.isolate
        for learner in parts.shopper_learners:
            with isolate(learner.name):
                learner.learn_many(batch)
        with isolate("rules"):
            parts.rules.learn(batch)
        with isolate("against"):
            parts.negative_feedback.learn(batch)
        with isolate("exploration"):
            parts.exploration.learn(batch)
        with isolate("popular"):
            parts.popular_lists.learn(events, batch)

    def rank(self, shoppers: Sequence[str], now_ms: int) -> RankedLists:
        """A list for each shopper; an unknown shopper gets popular items. Changes nothing."""
        requests = self.requests_for(shoppers, now_ms)
        return self._make_lists(requests, self._generate(requests))

    def recommend(self, shoppers: Sequence[str], now_ms: int) -> RankedLists:
        """The lists of `rank`, to be published: they are kept to be compared with the next clicks."""
        requests = self.requests_for(shoppers, now_ms)
        candidates = self._generate(requests)
        ranked = self._make_lists(requests, candidates)
        self._store_published(requests, candidates, ranked, now_ms)
        return ranked

    def rank_per_learner(self, shoppers: Sequence[str], now_ms: int) -> dict[str, RankedLists]:
        """The lists of `rank` under "blend", and each learner's own lists under its name."""
        requests = self.requests_for(shoppers, now_ms)
        candidates = self._generate(requests)
        ranked = {"blend": self._make_lists(requests, candidates)}
        for index, learner in enumerate(self.components.learners):
            lists = with_default_reason(candidates[index], index)
            ranked[learner.name] = self._render(requests, lists, learner.name)
        return ranked

    def assemble(
        self, requests: ListRequests, candidates: Sequence[ScoredLists], k: int
    ) -> tuple[ScoredLists, ExplorationSlots | None]:
        """One list of k items a request from the learners' lists, and what is explored in it."""
        parts = self.components
        blended = parts.blend.blend(requests, candidates, parts.rules.candidates_needed(k))
        ruled = parts.rules.apply(requests, blended, k)
        return parts.exploration.insert_explored(
            requests, candidates, ruled, parts.rules.hidden_mask
        )

    def requests_for(self, shoppers: Sequence[str], now_ms: int) -> ListRequests:
        """The rows of shoppers, and what they looked at in their running sessions."""
        row = np.fromiter(map(self.shoppers.get, shoppers), np.int32, len(shoppers))
        context = self.components.session_contexts.lookup(row)
        return ListRequests(row, context, np.full(len(row), now_ms, np.int64))

    def _generate(self, requests: ListRequests) -> Sequence[ScoredLists]:
        return self.components.generators.candidate_lists(requests)

    def _make_lists(self, requests: ListRequests, candidates: Sequence[ScoredLists]) -> RankedLists:
        """Blend, apply the rules, explore, render."""
        lists, explored = self.assemble(requests, candidates, self.components.k)
        ranked = self._render(requests, lists, "blend")
        ranked.explored = explored
        return ranked

    def _render(self, requests: ListRequests, lists: ScoredLists, source: str) -> RankedLists:
        """Lists with ids and reasons; a reason says whether the shopper viewed or bought its item."""
        ranked = self.components.renderer.render(lists, source)
        already_bought = self.components.rules.already_bought
        ranked.bought = already_bought.because_bought(requests, lists.reason_item)
        return ranked

    def _store_published(
        self,
        requests: ListRequests,
        candidates: Sequence[ScoredLists],
        ranked: RankedLists,
        now_ms: int,
    ) -> None:
        """Keep what is needed to find, explore and evaluate these lists after they are published."""
        parts = self.components
        if ranked.explored is not None:
            parts.exploration.store_explored(requests, ranked.explored)
        is_known = requests.shopper >= 0
        parts.published_index.store(requests.shopper[is_known], ranked.lists.item[is_known], now_ms)
        at_ms = parts.session_contexts.newest_ms(requests.shopper, now_ms)
        parts.blend.store_pending(requests, candidates, at_ms)
        sampled = parts.online_evaluation.sample(requests.shopper)
        item = ranked.lists.item
        learner = parts.blend.contributions(requests.context, candidates, sampled, item)
        parts.online_evaluation.store_list(
            requests.shopper[sampled], item[sampled], learner, at_ms[sampled]
        )
