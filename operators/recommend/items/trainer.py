"""Trains what is learned of items: the tables behind candidates, item lists, features, when last seen.

The order of the calls in `train` is a contract: the comments give the reasons.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from operators.catalogue.item_features import ItemFeatures
    from operators.catalogue.last_seen import LastSeen
    from operators.events.processing_errors import ProcessingErrors
    from operators.recommend.candidates.base import CandidateLearner
    from operators.recommend.candidates.bought_together import BoughtTogether
    from operators.recommend.candidates.content import Content
    from operators.recommend.item_lists import ItemLists
    from operators.recommend.items.models import ItemModels
    from operators.tables.removal import Removable
    from operators.tables.table import Snapshottable
    from state.interactions import Interactions, ItemCard, RowIndex


@dataclass
class ItemTrainer:
    """The models of items, as they are trained, and what is made of them for items.

    `models.learners` has all learners of candidates that keep nothing of shoppers; `content` is one.
    """

    models: ItemModels
    content: Content
    bought_together: BoughtTogether
    last_seen: LastSeen
    item_lists: ItemLists
    errors: ProcessingErrors

    @property
    def items(self) -> RowIndex:
        """The ids of items. Only here new items get rows."""
        return self.models.items

    @property
    def features(self) -> ItemFeatures:
        """The features of items by row."""
        return self.models.features

    def train(
        self, batch: Interactions, changed: Sequence[str], cards: Mapping[str, ItemCard]
    ) -> None:
        """Learn a batch of interactions, then the `changed` ones of the cards of all items."""
        isolate = self.errors.isolate
        if len(batch):
            with isolate("facts"):
                self.features.update(batch.item, changed, cards)
            self.last_seen.update(batch.item, batch.at_ms)
            for learner in self.models.learners:
                self._learn(learner, batch)
            with isolate("bought"):
                self.bought_together.learn_many(batch)
        # Last: learners learn by what was known of the items before the batch.
        with isolate("describe"):
            self.update_items(changed, cards)

    def update_items(self, changed: Sequence[str], cards: Mapping[str, ItemCard]) -> None:
        """Learn the new and changed cards of items. An item that nobody has seen gets a row."""
        if not changed:
            return
        rows, changed_cards = self.items.get_or_add_many(changed), [cards[name] for name in changed]
        self.features.update(rows, changed, cards)
        self.last_seen.update(rows, np.array([card.at_ms for card in changed_cards], np.int64))
        previous_groups = self.content.groups_of(rows)
        self.content.update_items(rows, changed_cards)
        self.item_lists.update_items(rows, previous_groups)

    def removable_parts(self) -> Sequence[Removable]:
        """All parts that keep something per shopper or item, but for the ids of the rows."""
        return (
            *self.models.learners,
            self.bought_together,
            self.last_seen,
            self.item_lists,
            self.features,
        )

    def stored_parts(self) -> dict[str, Snapshottable]:
        """What is stored, by the first part of the names of its arrays."""
        return {
            **{learner.name: learner for learner in self.models.learners},
            "bought": self.bought_together,
            "seen": self.last_seen,
            "written_similar": self.item_lists.published_similar,
            "written_bought": self.item_lists.published_bought,
        }

    def _learn(self, learner: CandidateLearner, batch: Interactions) -> None:
        is_learned = False
        with self.errors.isolate(learner.name):
            learner.learn_many(batch)
            is_learned = True
        if not is_learned:
            # It may have changed rows before it raised, without a mark.
            for table in learner.replicated_tables():
                table.changed_rows.mark_all()
