"""From events to top lists: the order in which the parts work.

A batch gets its contexts, judges the learners by what they would have shown, and is learned; then
lists are made for whoever asks. Ids are strings outside and rows inside; this file is the border.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.recommend.components import Parts
from operators.recommend.negative_feedback import TURNED_DOWN
from operators.recommend.rendering import own
from state.interactions import Interactions, Lists, Requests

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from operators.recommend.negative_feedback import Signals
    from operators.recommend.rendering import RankedLists
    from state.interactions import Card, Events


class Recommender(Parts):
    """Learns batches of events, and makes the lists of shoppers."""

    def learn(self, events: Events) -> Interactions | None:
        """Judge the learners by a batch, then learn it; gives its rows, if it has any."""
        if not events.items:
            with self.faults.apart("describe"):
                self.describe(events.changed, events.cards)
            return None
        batch = self._interactions(events)
        apart = self.faults.apart
        with apart("facts"):
            self.facts.learn(batch.item, events.changed, events.cards)
        with apart("blend"):
            self.blend.judge(batch, self.asked.would_show)
        self.seen.see(batch.item, batch.at_ms)
        for learner in self.learners:
            with apart(learner.name):
                learner.learn_many(batch)
        with apart("bought"):
            self.bought.learn_many(batch)
        with apart("rules"):
            self.rules.learn(batch)
        with apart("against"):
            self.against.learn(batch)
        with apart("exploration"):
            self.exploration.learn(batch)
        with apart("popular"):
            self.of_all.learn(events, batch)
        # Last: learners are judged, and learn, by what was known of items before the batch.
        with apart("describe"):
            self.describe(events.changed, events.cards)
        return batch

    def describe(self, changed: Sequence[str], cards: Mapping[str, Card]) -> None:
        """Hear what items are whose card is new or changed; a new one has a row from now on."""
        if not changed:
            return
        rows, told = self.items.take(changed), [cards[name] for name in changed]
        self.facts.learn(rows, changed, cards)
        self.seen.see(rows, np.array([card.at_ms for card in told], np.int64))
        former = self.content.groups_of(rows)
        self.content.describe(rows, told)
        self.of_items.describe(rows, former)

    def hear(self, signals: Signals) -> None:
        """Learn what came of items: given back, shown, clicked in a list."""
        if len(signals.item):
            apart = self.faults.apart
            with apart("against"):
                self.against.hear(signals)
            with apart("exploration"):
                self.exploration.hear(signals)
            with apart("rules"):
                refunded = signals.of_kind(TURNED_DOWN)
                self.rules.bought.pairs.drop(refunded.shopper, refunded.item)

    def rank(self, shoppers: Sequence[str], now_ms: int) -> RankedLists:
        """A list for each shopper; one never seen gets what is popular. It teaches nothing."""
        requests = self.requests(shoppers, now_ms)
        return self._shown(requests, self.asked.would_show(requests))

    def serve(self, shoppers: Sequence[str], now_ms: int) -> RankedLists:
        """What `rank` gives, to be written; of a sample it is remembered until the next click."""
        requests = self.requests(shoppers, now_ms)
        lists = self.asked.would_show(requests)
        ranked = self._shown(requests, lists)
        if ranked.explored is not None:
            self.exploration.remember(requests, ranked.explored)
        known = requests.shopper >= 0
        self.written.remember(requests.shopper[known], ranked.lists.item[known], now_ms)
        at_ms = self.contexts.newest_ms(requests.shopper, now_ms)
        self.blend.remember(requests, lists, at_ms)
        kept = self.served.sample(requests.shopper)
        shown = [Lists(one.item[kept], one.score[kept], one.because[kept]) for one in lists]
        item, shopper = ranked.lists.item[kept], requests.shopper[kept]
        by = self.blend.said_by(requests.context[kept], shown, item)
        self.served.remember(shopper, item, by, at_ms[kept])
        return ranked

    def rank_apart(self, shoppers: Sequence[str], now_ms: int) -> dict[str, RankedLists]:
        """What `rank` gives, under "blend", and beside it each learner's own lists."""
        requests = self.requests(shoppers, now_ms)
        lists = self.asked.would_show(requests)
        return {
            "blend": self._shown(requests, lists),
            **{
                name: self._said(requests, own(best, place), name)
                for place, (name, best) in enumerate(zip(self.blend.names, lists, strict=True))
            },
        }

    def requests(self, shoppers: Sequence[str], now_ms: int) -> Requests:
        """What is known of who wants a list."""
        row = np.fromiter(map(self.shoppers.find, shoppers), np.int32, len(shoppers))
        return Requests(row, self.contexts.take(row), np.full(len(row), now_ms, np.int64))

    def _shown(self, requests: Requests, lists: Sequence[Lists]) -> RankedLists:
        shown, explored = self.listing.listed(requests, lists, self.k)
        ranked = self._said(requests, shown, "blend")
        ranked.explored = explored
        return ranked

    def _said(self, requests: Requests, lists: Lists, source: str) -> RankedLists:
        """Lists with their words, which say whether what they are for was looked at or bought."""
        ranked = self._captions.of(lists, source)
        ranked.bought = self.rules.bought.because_bought(requests, lists.because)
        return ranked

    def _interactions(self, events: Events) -> Interactions:
        shopper = self.shoppers.take(events.shoppers)
        item = self.items.take(events.items)
        at_ms = np.asarray(events.at_ms, np.int64)
        since_ms = np.asarray(events.session_start_ms, np.int64)
        return Interactions(
            shopper,
            item,
            np.asarray(events.kinds, np.int8),
            np.asarray(events.weights, np.float32),
            at_ms,
            self.contexts.advance(shopper, item, at_ms, since_ms),
        )
