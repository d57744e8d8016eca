"""From events to top lists: the order in which the parts work.

A batch gets its contexts, judges the learners by what they would have shown, and is learned; then
lists are made for whoever asks. Ids are strings outside and rows inside; this file is the border.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.recommend.components import RecommenderComponents
from operators.recommend.negative_feedback import NEGATIVE
from operators.recommend.rendering import with_default_reason
from state.interactions import Interactions, ListRequests, ScoredLists

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from operators.recommend.negative_feedback import FeedbackEvents
    from operators.recommend.rendering import RankedLists
    from state.interactions import EventColumns, ItemCard


class Recommender(RecommenderComponents):
    """Learns batches of events, and makes the lists of shoppers."""

    def learn(self, events: EventColumns) -> Interactions | None:
        """Judge the learners by a batch, then learn it; gives its rows, if it has any."""
        if not events.items:
            with self.faults.isolate("describe"):
                self.update_items(events.changed_items, events.cards)
            return None
        batch = self._to_interactions(events)
        isolate = self.faults.isolate
        with isolate("facts"):
            self.item_features.update(batch.item, events.changed_items, events.cards)
        with isolate("blend"):
            self.blend.update_weights(batch, self.generators.candidate_lists)
        self.last_seen.update(batch.item, batch.at_ms)
        for learner in self.learners:
            with isolate(learner.name):
                learner.learn_many(batch)
        with isolate("bought"):
            self.bought_together.learn_many(batch)
        with isolate("rules"):
            self.rules.learn(batch)
        with isolate("against"):
            self.negative_feedback.learn(batch)
        with isolate("exploration"):
            self.exploration.learn(batch)
        with isolate("popular"):
            self.popular_lists.learn(events, batch)
        # Last: learners are judged, and learn, by what was known of items before the batch.
        with isolate("describe"):
            self.update_items(events.changed_items, events.cards)
        return batch

    def update_items(self, changed: Sequence[str], cards: Mapping[str, ItemCard]) -> None:
        """Hear what items are whose card is new or changed; a new one has a row from now on."""
        if not changed:
            return
        rows, changed_cards = self.items.get_or_add_many(changed), [cards[name] for name in changed]
        self.item_features.update(rows, changed, cards)
        self.last_seen.update(rows, np.array([card.at_ms for card in changed_cards], np.int64))
        previous_groups = self.content.groups_of(rows)
        self.content.update_items(rows, changed_cards)
        self.item_lists.update_items(rows, previous_groups)

    def observe_feedback(self, feedback: FeedbackEvents) -> None:
        """Learn what came of items: given back, shown, clicked in a list."""
        if len(feedback.item):
            isolate = self.faults.isolate
            with isolate("against"):
                self.negative_feedback.observe(feedback)
            with isolate("exploration"):
                self.exploration.observe_feedback(feedback)
            with isolate("rules"):
                returned = feedback.of_kind(NEGATIVE)
                self.rules.already_bought.pairs.remove(returned.shopper, returned.item)

    def rank(self, shoppers: Sequence[str], now_ms: int) -> RankedLists:
        """A list for each shopper; one never seen gets what is popular. It teaches nothing."""
        requests = self.requests_for(shoppers, now_ms)
        return self._assemble(requests, self.generators.candidate_lists(requests))

    def recommend(self, shoppers: Sequence[str], now_ms: int) -> RankedLists:
        """What `rank` gives, to be written; of a sample it is remembered until the next click."""
        requests = self.requests_for(shoppers, now_ms)
        lists = self.generators.candidate_lists(requests)
        ranked = self._assemble(requests, lists)
        if ranked.explored is not None:
            self.exploration.store_explored(requests, ranked.explored)
        is_known = requests.shopper >= 0
        self.published_index.store(requests.shopper[is_known], ranked.lists.item[is_known], now_ms)
        at_ms = self.session_contexts.newest_ms(requests.shopper, now_ms)
        self.blend.store_pending(requests, lists, at_ms)
        sampled = self.online_evaluation.sample(requests.shopper)
        sampled_lists = [
            ScoredLists(one.item[sampled], one.score[sampled], one.reason_item[sampled])
            for one in lists
        ]
        sampled_item, sampled_shopper = ranked.lists.item[sampled], requests.shopper[sampled]
        learner_index = self.blend.contributions(
            requests.context[sampled], sampled_lists, sampled_item
        )
        self.online_evaluation.store_list(
            sampled_shopper, sampled_item, learner_index, at_ms[sampled]
        )
        return ranked

    def rank_per_learner(self, shoppers: Sequence[str], now_ms: int) -> dict[str, RankedLists]:
        """What `rank` gives, under "blend", and beside it each learner's own lists."""
        requests = self.requests_for(shoppers, now_ms)
        lists = self.generators.candidate_lists(requests)
        return {
            "blend": self._assemble(requests, lists),
            **{
                name: self._render(requests, with_default_reason(best, index), name)
                for index, (name, best) in enumerate(zip(self.blend.names, lists, strict=True))
            },
        }

    def requests_for(self, shoppers: Sequence[str], now_ms: int) -> ListRequests:
        """What is known of who wants a list."""
        row = np.fromiter(map(self.shoppers.get, shoppers), np.int32, len(shoppers))
        return ListRequests(
            row, self.session_contexts.lookup(row), np.full(len(row), now_ms, np.int64)
        )

    def _assemble(self, requests: ListRequests, lists: Sequence[ScoredLists]) -> RankedLists:
        assembled, explored = self.assembler.assemble(requests, lists, self.k)
        ranked = self._render(requests, assembled, "blend")
        ranked.explored = explored
        return ranked

    def _render(self, requests: ListRequests, lists: ScoredLists, source: str) -> RankedLists:
        """Lists with their words, which say whether what they are for was looked at or bought."""
        ranked = self.renderer.render(lists, source)
        ranked.bought = self.rules.already_bought.because_bought(requests, lists.reason_item)
        return ranked

    def _to_interactions(self, events: EventColumns) -> Interactions:
        shopper = self.shoppers.get_or_add_many(events.shoppers)
        item = self.items.get_or_add_many(events.items)
        at_ms = np.asarray(events.at_ms, np.int64)
        session_start_ms = np.asarray(events.session_start_ms, np.int64)
        return Interactions(
            shopper,
            item,
            np.asarray(events.kinds, np.int8),
            np.asarray(events.weights, np.float32),
            at_ms,
            self.session_contexts.append(shopper, item, at_ms, session_start_ms),
        )
