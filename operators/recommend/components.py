"""What lists are made of: the learners, what they share, and what is remembered of lists.

Made as a configuration asks for, stored by names, and rid of shoppers and items that are no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np

from operators.catalogue.item_features import ItemFeatures
from operators.catalogue.last_seen import LastSeen
from operators.events.processing_errors import ProcessingErrors
from operators.recommend.assembly import ListAssembler
from operators.recommend.blend import Blend
from operators.recommend.candidates.content import Content
from operators.recommend.candidates.covisitation import BoughtTogether, Covisitation
from operators.recommend.candidates.generators import CandidateGenerators
from operators.recommend.candidates.popularity import Popularity, ScopedPopularity
from operators.recommend.candidates.registry import LEARNERS
from operators.recommend.exploration import Exploration
from operators.recommend.item_lists import ItemLists
from operators.recommend.negative_feedback import NegativeFeedback
from operators.recommend.online_evaluation import LIST_TTL_S, OnlineEvaluation
from operators.recommend.popular_lists import PopularLists
from operators.recommend.published_index import PublishedIndex
from operators.recommend.rendering import (
    EXPLORED,
    OWN_BRAND,
    RULE_REASONS,
    ListRenderer,
    reason_code,
)
from operators.recommend.rules.rules import RuleChain
from operators.recommend.session_contexts import SessionContexts
from operators.tables.table import Snapshottable, Table, TableState, strip_prefix
from state import config
from state.arrays import NO_ROW
from state.interactions import RowIndex
from state.times import DAY_MS, HOUR_MS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from operators.recommend.candidates.base import CandidateLearner
    from operators.tables.table import Arrays
    from state.arrays import Rows

PRIOR_WEIGHTS: Mapping[str, float] = {
    "covisitation": 0.5,
    "session_knn": 0.5,
    "again": 0.2,
    "factors": 0.2,
    "content": 0.2,
    "popularity": 0.1,
}
PRIOR_DEFAULT = 0.1
"""What a learner's word counts to begin with; `PRIOR_DEFAULT` for one not named here."""


class RecommenderComponents(TableState):
    """Learners beside each other, what they share, and the blend of their lists.

    `other_learners` are the learners besides the three that do more than lists; by default those of the
    registry. `prior_weights`, by name, and `memory_events` are those of `Blend`.

    A list has `k` items where the shop has as many, none twice. With `allow_repeats` the item just
    looked at and those before it may be listed, for shops where people come back to what they saw;
    without, the last `context_items` items of the running session are left out.
    """

    def __init__(
        self,
        *,
        covisitation: Covisitation | None = None,
        popularity: Popularity | None = None,
        content: Content | None = None,
        other_learners: Sequence[CandidateLearner] | None = None,
        bought_together: BoughtTogether | None = None,
        scoped_popularity: ScopedPopularity | None = None,
        prior_weights: Mapping[str, float] = PRIOR_WEIGHTS,
        k: int = 20,
        pool: int = 24,
        context_items: int = 10,
        allow_repeats: bool = True,
        memory_events: int = 10_000,
        online_evaluation: config.Served | None = None,
        rules: config.ListRules | None = None,
        exploration: config.Exploration | None = None,
    ) -> None:
        self.covisitation = covisitation or Covisitation()
        self.popularity = popularity or Popularity()
        self.content = content or Content()
        always_there = (self.covisitation.name, self.content.name, self.popularity.name)
        if other_learners is None:
            other_learners = [make() for name, make in LEARNERS.items() if name not in always_there]
        self.learners: tuple[CandidateLearner, ...] = (
            self.covisitation,
            *other_learners,
            self.content,
            self.popularity,
        )
        names = [learner.name for learner in self.learners]
        self.shoppers, self.items = RowIndex(), RowIndex()
        self.faults = ProcessingErrors("learn")
        self.session_contexts = SessionContexts(context_items)
        self.last_seen = LastSeen()
        self.negative_feedback = NegativeFeedback()
        self.blend = Blend(
            names,
            [prior_weights.get(name, PRIOR_DEFAULT) for name in names],
            memory_events=memory_events,
            negative_feedback=self.negative_feedback,
        )
        self.online_evaluation = OnlineEvaluation(names, k, online_evaluation or config.Served())
        self.item_features = ItemFeatures(self.items)
        self.rules = RuleChain(
            rules or config.ListRules(),
            self.item_features,
            reason_code(len(names) + RULE_REASONS.index(OWN_BRAND)),
        )
        explored_reason = reason_code(len(names) + RULE_REASONS.index(EXPLORED))
        self.exploration = Exploration(names, exploration or config.Exploration(), explored_reason)
        self.published_index = PublishedIndex(k, LIST_TTL_S)
        self.k = k
        self.generators = CandidateGenerators(
            self.learners,
            self.covisitation,
            self.faults,
            pool=max(pool, k) + (0 if allow_repeats else context_items),
            allow_repeats=allow_repeats,
        )
        self.assembler = ListAssembler(
            self.blend,
            self.rules,
            self.exploration,
            self.popularity,
            context_items=context_items,
            allow_repeats=allow_repeats,
        )
        self.renderer = ListRenderer(names, self.items)
        self.bought_together = bought_together or BoughtTogether()
        self.item_lists = ItemLists(
            self.covisitation,
            self.content,
            self.bought_together,
            self.rules,
            self.items,
            self.renderer,
            k,
        )
        scoped_popularity = scoped_popularity or ScopedPopularity()
        index = names.index(self.popularity.name)
        self.popular_lists = PopularLists(
            self.popularity, scoped_popularity, self.rules, self.renderer, k, index
        )

    @classmethod
    def from_config(cls, lists: config.Lists) -> Self:
        """Those that a configuration asks for."""
        half_life_ms = round(lists.popularity_half_life_hours * HOUR_MS)
        return cls(
            covisitation=Covisitation(
                half_life_ms=round(lists.covisitation_half_life_days * DAY_MS)
            ),
            popularity=Popularity(half_life_ms=half_life_ms),
            scoped_popularity=ScopedPopularity(half_life_ms=half_life_ms),
            k=lists.k,
            allow_repeats=lists.allow_repeats,
            online_evaluation=lists.served,
            memory_events=lists.blend_memory_events,
            rules=lists.rules,
            exploration=lists.exploration,
        )

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

    def vocabularies(self) -> dict[str, RowIndex]:
        """The ids behind the rows of `arrays`; part of a snapshot."""
        return {"shoppers": self.shoppers, "items": self.items, "scopes": self.popular_lists.scopes}

    def tables(self) -> list[Table]:
        """The tables of all parts."""
        return [
            table.prefixed(f"{part}/")
            for part, owner in self.stored_parts().items()
            for table in owner.tables()
        ]

    def scalars(self) -> Arrays:
        """What is small of all parts."""
        return {
            f"{part}/{name}": array
            for part, owner in self.stored_parts().items()
            for name, array in owner.scalars().items()
        }

    def restore(self, arrays: Arrays, vocabularies: Mapping[str, Sequence[str]]) -> None:
        """Take over what `arrays` and the ids of `vocabularies` were, of the same arguments.

        Of a vocabulary that was empty nothing is stored.
        """
        for part, owner in self.stored_parts().items():
            part_arrays = strip_prefix(f"{part}/", arrays)
            if part_arrays:  # a learner that came later begins with nothing
                owner.restore(part_arrays)
        for name, vocabulary in self.vocabularies().items():
            vocabulary.restore(vocabularies.get(name, ()))
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
