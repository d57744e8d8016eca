"""The parts that lists are made of: one object holds them, stores them and removes rows from them.

`factory.py` creates and connects the parts. A new part that keeps something of shoppers or items needs a
field here, a line in `stored_parts` (its keys are stored names: never change one) and in the removals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from operators.tables.table import Snapshottable, Table, TableState, strip_prefix
from state.arrays import NO_ROW

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from operators.catalogue.item_features import ItemFeatures
    from operators.catalogue.last_seen import LastSeen
    from operators.events.processing_errors import ProcessingErrors
    from operators.recommend.blend import Blend
    from operators.recommend.candidates.base import CandidateLearner
    from operators.recommend.candidates.bought_together import BoughtTogether
    from operators.recommend.candidates.content import Content
    from operators.recommend.candidates.generators import CandidateGenerators
    from operators.recommend.candidates.popularity import Popularity
    from operators.recommend.exploration import Exploration
    from operators.recommend.item_lists import ItemLists
    from operators.recommend.negative_feedback import NegativeFeedback
    from operators.recommend.online_evaluation import OnlineEvaluation
    from operators.recommend.popular_lists import PopularLists
    from operators.recommend.published_index import PublishedIndex
    from operators.recommend.rendering import ListRenderer
    from operators.recommend.rules.rules import RuleChain
    from operators.recommend.session_contexts import SessionContexts
    from operators.tables.table import Arrays
    from state.arrays import Rows
    from state.interactions import RowIndex


@dataclass
class RecommenderComponents(TableState):
    """The parts of one recommender. They share the rows of `shoppers` and of `items`.

    A list has `k` items. `learners` are all candidate generators, in the order in which the blend names
    them; `content`, `popularity` and `bought_together` have uses beside that.
    """

    k: int
    shoppers: RowIndex
    items: RowIndex
    errors: ProcessingErrors
    learners: tuple[CandidateLearner, ...]
    content: Content
    popularity: Popularity
    bought_together: BoughtTogether
    session_contexts: SessionContexts
    last_seen: LastSeen
    item_features: ItemFeatures
    generators: CandidateGenerators
    blend: Blend
    negative_feedback: NegativeFeedback
    rules: RuleChain
    exploration: Exploration
    renderer: ListRenderer
    item_lists: ItemLists
    popular_lists: PopularLists
    online_evaluation: OnlineEvaluation
    published_index: PublishedIndex

    def merge_or_erase(self, shopper: str, user: str = "") -> None:
        """A shopper is no more: merged into a user, who goes on with their session, or erased."""
        merged_into = self.shoppers.get_or_add(user) if user else NO_ROW
        row = self.shoppers.get(shopper)
        self.session_contexts.merge_or_erase(row, merged_into)
        self.blend.pending_lists.remove_shoppers(np.array([row], np.int32))
        self.online_evaluation.remove_shoppers(np.array([row], np.int32))
        self.published_index.remove_rows(np.array([row], np.int32))
        self.rules.merge_or_erase(row, merged_into)
        self.negative_feedback.merge_or_erase(row, merged_into)
        self.exploration.remove_shoppers(np.array([row], np.int32))

    def unlearn_shoppers(self, rows: Rows) -> None:
        """These shoppers taught nothing of themselves, and were shown nothing; they keep their rows."""
        for learner in self.learners:
            learner.remove_shoppers(rows)
        self.bought_together.remove_shoppers(rows)
        self.session_contexts.remove_shoppers(rows)
        self.blend.pending_lists.remove_shoppers(rows)
        self.online_evaluation.remove_shoppers(rows)
        self.rules.already_bought.remove_shoppers(rows)
        self.negative_feedback.remove_shoppers(rows)
        self.exploration.remove_shoppers(rows)
        self.published_index.remove_rows(rows)

    def remove_shoppers(self, rows: Rows) -> None:
        """These shoppers were never seen; their rows are free."""
        self.unlearn_shoppers(rows)
        self.shoppers.remove(rows)

    def remove_items(self, rows: Rows) -> None:
        """These items were never seen; their rows are free."""
        for learner in self.learners:
            learner.remove_items(rows)
        self.bought_together.remove_items(rows)
        self.popular_lists.remove_items(rows)
        self.session_contexts.remove_items(rows)
        self.blend.pending_lists.remove_items(rows)
        self.online_evaluation.remove_items(rows)
        self.last_seen.remove_rows(rows)
        self.rules.already_bought.remove_items(rows)
        self.negative_feedback.remove_items(rows)
        self.exploration.remove_items(rows)
        self.item_lists.remove_items(rows)
        self.item_features.remove_items(rows)
        self.items.remove(rows)

    def row_indexes(self) -> dict[str, RowIndex]:
        """The ids behind the rows of `arrays`, stored beside them."""
        return {"shoppers": self.shoppers, "items": self.items, "scopes": self.popular_lists.scopes}

    def tables(self) -> list[Table]:
        """The tables of all parts."""
        return [
            table.prefixed(f"{part}/")
            for part, owner in self.stored_parts().items()
            for table in owner.tables()
        ]

    def scalars(self) -> Arrays:
        """The scalars of all parts."""
        return {
            f"{part}/{name}": array
            for part, owner in self.stored_parts().items()
            for name, array in owner.scalars().items()
        }

    def restore(self, arrays: Arrays) -> None:
        """Restore what `arrays` gave, with the same arguments; `restore_ids` belongs to it."""
        for part, owner in self.stored_parts().items():
            part_arrays = strip_prefix(f"{part}/", arrays)
            if part_arrays:  # a learner that came later begins with nothing
                owner.restore(part_arrays)

    def restore_ids(self, ids: Mapping[str, Sequence[str]]) -> None:
        """Restore the ids of `row_indexes`. Of an index that was empty nothing is stored."""
        for name, row_index in self.row_indexes().items():
            row_index.restore(ids.get(name, ()))
        self.renderer.reset()

    def stored_parts(self) -> dict[str, Snapshottable]:
        """What is stored, by the first part of the names of its arrays."""
        return {
            **{learner.name: learner for learner in self.learners},
            "bought": self.bought_together,
            "scoped": self.popular_lists.scoped,
            "contexts": self.session_contexts,
            "blend": self.blend,
            "pending": self.blend.pending_lists,
            "seen": self.last_seen,
            "served": self.online_evaluation,
            "had": self.rules.already_bought,
            "against": self.negative_feedback,
            "exploration": self.exploration,
            "written": self.published_index,
            "written_similar": self.item_lists.published_similar,
            "written_bought": self.item_lists.published_bought,
            "trending": self.popular_lists.trending,
        }
