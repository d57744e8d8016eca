"""The parts that lists are made of: one object holds them, stores them and removes rows from them.

What is learned of items is trained elsewhere (`ItemTrainer`) and read from `replica`.

`factory.py` creates and connects the parts. A new part that keeps something of shoppers or items needs a
field here, a line in `stored_parts` (its keys are stored names: never change one) and in the removals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from operators.tables.table import Snapshottable, Table, TableState, strip_prefix

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from operators.catalogue.item_features import ItemFeatures
    from operators.events.processing_errors import ProcessingErrors
    from operators.recommend.blend import Blend
    from operators.recommend.candidates.base import CandidateLearner
    from operators.recommend.candidates.generators import CandidateGenerators
    from operators.recommend.exploration import Exploration
    from operators.recommend.items.models import ItemModels
    from operators.recommend.negative_feedback import NegativeFeedback
    from operators.recommend.online_evaluation import OnlineEvaluation
    from operators.recommend.popular_lists import PopularLists
    from operators.recommend.published_index import ShopperListIndex
    from operators.recommend.rendering import ListRenderer
    from operators.recommend.rules.rules import RuleChain
    from operators.recommend.session_contexts import SessionContexts
    from operators.tables.removal import Removable
    from operators.tables.table import Arrays
    from state.arrays import Rows
    from state.interactions import RowIndex


@dataclass
class RecommenderComponents(TableState):
    """The parts of one recommender. They share the rows of `shoppers` and of `items`.

    A list has `k` items. `learners` are all candidate generators, in the order in which the blend names
    them. Those that keep something of shoppers learn here; those of `replica` are replicas.
    """

    k: int
    shoppers: RowIndex
    errors: ProcessingErrors
    replica: ItemModels
    learners: tuple[CandidateLearner, ...]
    session_contexts: SessionContexts
    generators: CandidateGenerators
    blend: Blend
    negative_feedback: NegativeFeedback
    rules: RuleChain
    exploration: Exploration
    renderer: ListRenderer
    popular_lists: PopularLists
    online_evaluation: OnlineEvaluation
    published_index: ShopperListIndex

    @property
    def items(self) -> RowIndex:
        """The ids of items, as lists are made by them."""
        return self.replica.items

    @property
    def item_features(self) -> ItemFeatures:
        """The features of items, as lists are made by them."""
        return self.replica.features

    @property
    def shopper_learners(self) -> list[CandidateLearner]:
        """The learners that keep something of shoppers: they learn here."""
        return [one for one in self.learners if not one.replicated_tables()]

    def removable_parts(self) -> Sequence[Removable]:
        """All parts that keep something per shopper or item, but for the ids of the rows."""
        return (
            *self.shopper_learners,
            self.popular_lists,
            self.session_contexts,
            self.blend.pending_lists,
            self.online_evaluation,
            self.rules.already_bought,
            self.negative_feedback,
            self.exploration,
            self.published_index,
        )

    def unlearn_shoppers(self, rows: Rows) -> None:
        """Keep nothing of these shoppers but their rows."""
        for part in self.removable_parts():
            part.remove_shoppers(rows)

    def row_indexes(self) -> dict[str, RowIndex]:
        """The ids behind the rows of `arrays`, stored beside them."""
        return {"shoppers": self.shoppers, "scopes": self.popular_lists.scopes}

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
            **{learner.name: learner for learner in self.shopper_learners},
            "scoped": self.popular_lists.scoped,
            "contexts": self.session_contexts,
            "blend": self.blend,
            "pending": self.blend.pending_lists,
            "served": self.online_evaluation,
            "had": self.rules.already_bought,
            "against": self.negative_feedback,
            "exploration": self.exploration,
            "written": self.published_index,
            "trending": self.popular_lists.trending,
        }
