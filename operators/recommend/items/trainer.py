"""Trains what is learned of items: the tables behind candidates, item lists, features, when last seen.

The order of the calls in `train` is a contract: the comments give the reasons.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from operators.tables.table import Table, TableState, add_prefix, strip_prefix
from state.interactions import Interactions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from operators.catalogue.item_features import ItemFeatures
    from operators.catalogue.last_seen import LastSeen
    from operators.events.processing_errors import ProcessingErrors
    from operators.recommend.candidates.base import CandidateLearner
    from operators.recommend.candidates.bought_together import BoughtTogether
    from operators.recommend.candidates.content import Content
    from operators.recommend.item_lists import ItemLists
    from operators.recommend.items.models import ItemModels, ModelChanges
    from operators.recommend.items.recent_shoppers import RecentShoppers
    from operators.tables.removal import Removable
    from operators.tables.table import Arrays, Snapshottable
    from state.arrays import Rows
    from state.interactions import EventColumns, ItemCard, RowIndex


class TrainedBatch(NamedTuple):
    """What was learned of a batch, for those who make lists. Copies.

    Of each interaction of the batch the row of its item, int32[n], and its context, int32[n, r]; the
    changes of the models; the items that sold out, and those that are back in stock. With the first
    batch after a start `before` has the whole models, as they were before it.
    """

    before: ModelChanges | None
    item: Rows
    context: Rows
    changes: ModelChanges
    sold_out: Rows
    restocked: Rows


@dataclass
class ItemTrainer(TableState):
    """The models of items, as they are trained, and what is made of them for items.

    `models.learners` has all learners of candidates that keep nothing of shoppers; `content` is one.
    """

    models: ItemModels
    content: Content
    bought_together: BoughtTogether
    last_seen: LastSeen
    item_lists: ItemLists
    shoppers: RecentShoppers
    errors: ProcessingErrors
    _is_sent: bool = False

    @property
    def items(self) -> RowIndex:
        """The ids of items. Only here new items get rows."""
        return self.models.items

    @property
    def features(self) -> ItemFeatures:
        """The features of items by row."""
        return self.models.features

    def train(self, events: EventColumns) -> TrainedBatch:
        """Learn a batch of interactions, and then its cards."""
        before = None if self._is_sent else self.models.take_changes()
        self._is_sent = True
        batch = self._to_interactions(events)
        isolate = self.errors.isolate
        if len(batch):
            with isolate("facts"):
                self.features.update(batch.item, (), events.cards)
            self.last_seen.update(batch.item, batch.at_ms)
            for learner in self.models.learners:
                self._learn(learner, batch)
            with isolate("bought"):
                self.bought_together.learn_many(batch)
            self.shoppers.remove_old(int(batch.at_ms.max()))
        # Last: learners learn by what was known of the items before the batch.
        with isolate("describe"):
            self.update_items(events.changed_items, events.cards)
        sold_out, restocked = self.features.take_stock_changes()
        changes = self.models.take_changes()
        return TrainedBatch(before, batch.item, batch.context, changes, sold_out, restocked)

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

    def remove_items(self, rows: Rows) -> None:
        """Keep nothing of items, and free their rows: the ids last, parts look them up."""
        for part in self.removable_parts():
            part.remove_items(rows)
        self.items.remove(rows)

    def removable_parts(self) -> Sequence[Removable]:
        """All parts that keep something per item or recent shopper, but for the ids of the rows."""
        return (
            *self.models.learners,
            self.bought_together,
            self.shoppers.contexts,
            self.last_seen,
            self.item_lists,
            self.features,
        )

    def row_indexes(self) -> dict[str, RowIndex]:
        """The ids behind the rows of `arrays`, stored beside them."""
        return {"shoppers": self.shoppers.index, "items": self.items}

    def tables(self) -> list[Table]:
        """The tables of all parts."""
        return [
            table.prefixed(f"{part}/")
            for part, owner in self._stored_parts().items()
            for table in owner.tables()
        ]

    def scalars(self) -> Arrays:
        """The scalars of all parts."""
        scalars: dict[str, np.ndarray] = {}
        for part, owner in self._stored_parts().items():
            scalars |= add_prefix(f"{part}/", owner.scalars())
        return scalars

    def restore(self, arrays: Arrays) -> None:
        """Restore what `arrays` gave; `restore_ids` and `restore_cards` must follow."""
        for part, owner in self._stored_parts().items():
            part_arrays = strip_prefix(f"{part}/", arrays)
            if part_arrays:  # a learner that came later begins with nothing
                owner.restore(part_arrays)

    def restore_ids(self, ids: Mapping[str, Sequence[str]]) -> None:
        """Restore the ids of `row_indexes`."""
        for name, row_index in self.row_indexes().items():
            row_index.restore(ids.get(name, ()))
        self.item_lists.renderer.reset()

    def restore_cards(self, cards: Mapping[str, ItemCard]) -> None:
        """Restore the features that the stored cards say, last of all."""
        self.features.update(self.items.live_rows(), (), cards)
        self.features.take_stock_changes()
        if not self.content.items:
            # Stored by a release without that learner.
            self.update_items(sorted(cards), cards)
        self.models.mark_all()

    def _stored_parts(self) -> dict[str, Snapshottable]:
        """What is stored, by the first part of the names of its arrays."""
        return {
            **{learner.name: learner for learner in self.models.learners},
            "bought": self.bought_together,
            "contexts": self.shoppers.contexts,
            "seen": self.last_seen,
            "written_similar": self.item_lists.published_similar,
            "written_bought": self.item_lists.published_bought,
        }

    def _to_interactions(self, events: EventColumns) -> Interactions:
        """Rows of a batch; new items get one. Its items join the sessions."""
        item = self.items.get_or_add_many(events.items)
        at_ms = np.asarray(events.at_ms, np.int64)
        shopper, context = self.shoppers.append(
            events.shoppers, item, at_ms, np.asarray(events.session_start_ms, np.int64)
        )
        return Interactions(
            shopper,
            item,
            np.asarray(events.kinds, np.int8),
            np.asarray(events.weights, np.float32),
            at_ms,
            context,
        )

    def _learn(self, learner: CandidateLearner, batch: Interactions) -> None:
        is_learned = False
        with self.errors.isolate(learner.name):
            learner.learn_many(batch)
            is_learned = True
        if not is_learned:
            # It may have changed rows before it raised, without a mark.
            for table in learner.replicated_tables():
                table.changed_rows.mark_all()
