"""What lists are made of: the learners, what they share, and what is remembered of lists.

Made as a configuration asks for, stored by names, and rid of shoppers and items that are no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np

from operators.catalogue.item_features import ItemFacts
from operators.catalogue.last_seen import LastSeen
from operators.events.processing_errors import Faults
from operators.recommend.assembly import Listing
from operators.recommend.blend import Blend
from operators.recommend.candidates.content import Content
from operators.recommend.candidates.covisitation import BoughtTogether, Covisitation
from operators.recommend.candidates.generators import Asked
from operators.recommend.candidates.popularity import Popularity, ScopedPopularity
from operators.recommend.candidates.registry import LEARNERS
from operators.recommend.exploration import Exploration
from operators.recommend.item_lists import ItemLists
from operators.recommend.negative_feedback import Against
from operators.recommend.online_evaluation import LIST_TTL_S, Served
from operators.recommend.popular_lists import PopularLists
from operators.recommend.published_index import Written
from operators.recommend.rendering import EXPLORED, OWN_BRAND, RULES, Captions, reason_row
from operators.recommend.rules.rules import Rules
from operators.recommend.session_contexts import Contexts
from operators.tables.table import Kept, Stored, Table, without_prefix
from state import config
from state.interactions import NOBODY, Vocabulary
from state.times import DAY_MS, HOUR_MS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from operators.recommend.candidates.base import Learner
    from operators.tables.table import Arrays
    from state.interactions import Rows

BELIEFS: Mapping[str, float] = {
    "covisitation": 0.5,
    "session_knn": 0.5,
    "again": 0.2,
    "factors": 0.2,
    "content": 0.2,
    "popularity": 0.1,
}
UNTRIED = 0.1
"""What a learner's word counts to begin with; `UNTRIED` for one not named here."""


class Parts(Kept):
    """Learners beside each other, what they share, and the blend of their lists.

    `others` are the learners besides the three that do more than lists; by default those of the
    registry. `beliefs`, by name, and `memory` are those of `Blend`.

    A list has `k` items where the shop has as many, none twice. With `allow_repeats` the item just
    looked at and those before it may be listed, for shops where people come back to what they saw;
    without, the last `reach` items of the running session are left out.
    """

    def __init__(
        self,
        *,
        covisitation: Covisitation | None = None,
        popularity: Popularity | None = None,
        content: Content | None = None,
        others: Sequence[Learner] | None = None,
        bought: BoughtTogether | None = None,
        scoped: ScopedPopularity | None = None,
        beliefs: Mapping[str, float] = BELIEFS,
        k: int = 20,
        pool: int = 24,
        reach: int = 10,
        allow_repeats: bool = True,
        memory: int = 10_000,
        served: config.Served | None = None,
        rules: config.ListRules | None = None,
        exploration: config.Exploration | None = None,
    ) -> None:
        self.covisitation = covisitation or Covisitation()
        self.popularity = popularity or Popularity()
        self.content = content or Content()
        own = (self.covisitation.name, self.content.name, self.popularity.name)
        if others is None:
            others = [make() for name, make in LEARNERS.items() if name not in own]
        self.learners: tuple[Learner, ...] = (
            self.covisitation,
            *others,
            self.content,
            self.popularity,
        )
        names = [learner.name for learner in self.learners]
        self.shoppers, self.items = Vocabulary(), Vocabulary()
        self.faults = Faults("learn")
        self.contexts = Contexts(reach)
        self.seen = LastSeen()
        self.against = Against()
        self.blend = Blend(
            names,
            [beliefs.get(name, UNTRIED) for name in names],
            memory=memory,
            against=self.against,
        )
        self.served = Served(names, k, served or config.Served())
        self.facts = ItemFacts(self.items)
        self.rules = Rules(
            rules or config.ListRules(), self.facts, reason_row(len(names) + RULES.index(OWN_BRAND))
        )
        explored = reason_row(len(names) + RULES.index(EXPLORED))
        self.exploration = Exploration(names, exploration or config.Exploration(), explored)
        self.written = Written(k, LIST_TTL_S)
        self.k = k
        self.asked = Asked(
            self.learners,
            self.covisitation,
            self.faults,
            pool=max(pool, k) + (0 if allow_repeats else reach),
            allow_repeats=allow_repeats,
        )
        self.listing = Listing(
            self.blend,
            self.rules,
            self.exploration,
            self.popularity,
            reach=reach,
            allow_repeats=allow_repeats,
        )
        self._captions = Captions(names, self.items)
        self.bought = bought or BoughtTogether()
        self.of_items = ItemLists(
            self.covisitation,
            self.content,
            self.bought,
            self.rules,
            self.items,
            self._captions,
            k,
        )
        scoped = scoped or ScopedPopularity()
        place = names.index(self.popularity.name)
        self.of_all = PopularLists(self.popularity, scoped, self.rules, self._captions, k, place)

    @classmethod
    def of(cls, lists: config.Lists) -> Self:
        """Those that a configuration asks for."""
        half_life_ms = round(lists.popularity_half_life_hours * HOUR_MS)
        return cls(
            covisitation=Covisitation(
                half_life_ms=round(lists.covisitation_half_life_days * DAY_MS)
            ),
            popularity=Popularity(half_life_ms=half_life_ms),
            scoped=ScopedPopularity(half_life_ms=half_life_ms),
            k=lists.k,
            allow_repeats=lists.allow_repeats,
            served=lists.served,
            memory=lists.blend_memory_events,
            rules=lists.rules,
            exploration=lists.exploration,
        )

    def leave(self, shopper: str, user: str = "") -> None:
        """A shopper is no more: merged into a user, who goes on with their session, or erased."""
        heir = self.shoppers.row(user) if user else NOBODY
        row = self.shoppers.find(shopper)
        self.contexts.leave(row, heir)
        self.blend.pending.forget_shoppers(np.array([row], np.int32))
        self.served.forget_shoppers(np.array([row], np.int32))
        self.written.forget(np.array([row], np.int32))
        self.rules.leave(row, heir)
        self.against.leave(row, heir)
        self.exploration.forget_shoppers(np.array([row], np.int32))

    def unlearn_shoppers(self, rows: Rows) -> None:
        """These shoppers taught nothing of themselves, and were shown nothing; they keep their rows."""
        for learner in self.learners:
            learner.forget_shoppers(rows)
        self.bought.forget_shoppers(rows)
        self.contexts.forget_shoppers(rows)
        self.blend.pending.forget_shoppers(rows)
        self.served.forget_shoppers(rows)
        self.rules.bought.forget_shoppers(rows)
        self.against.forget_shoppers(rows)
        self.exploration.forget_shoppers(rows)
        self.written.forget(rows)

    def forget_shoppers(self, rows: Rows) -> None:
        """These shoppers were never seen; their rows are free."""
        self.unlearn_shoppers(rows)
        self.shoppers.forget(rows)

    def forget_items(self, rows: Rows) -> None:
        """These items were never seen; their rows are free."""
        for learner in self.learners:
            learner.forget_items(rows)
        self.bought.forget_items(rows)
        self.of_all.forget_items(rows)
        self.contexts.forget_items(rows)
        self.blend.pending.forget_items(rows)
        self.served.forget_items(rows)
        self.seen.forget(rows)
        self.rules.bought.forget_items(rows)
        self.against.forget_items(rows)
        self.exploration.forget_items(rows)
        self.of_items.forget(rows)
        self.facts.forget(rows)
        self.items.forget(rows)

    def vocabularies(self) -> dict[str, Vocabulary]:
        """The ids behind the rows of `arrays`; part of a snapshot."""
        return {"shoppers": self.shoppers, "items": self.items, "scopes": self.of_all.scopes}

    def tables(self) -> list[Table]:
        """The tables of all parts."""
        return [
            table.named(f"{part}/")
            for part, owner in self._parts().items()
            for table in owner.tables()
        ]

    def small(self) -> Arrays:
        """What is small of all parts."""
        return {
            f"{part}/{name}": array
            for part, owner in self._parts().items()
            for name, array in owner.small().items()
        }

    def restore(self, arrays: Arrays, vocabularies: Mapping[str, Sequence[str]]) -> None:
        """Take over what `arrays` and the ids of `vocabularies` were, of the same arguments.

        Of a vocabulary that was empty nothing is stored.
        """
        for part, owner in self._parts().items():
            of_part = without_prefix(f"{part}/", arrays)
            if of_part:  # a learner that came later begins with nothing
                owner.restore(of_part)
        for name, vocabulary in self.vocabularies().items():
            vocabulary.restore(vocabularies.get(name, ()))
        self._captions.restart()

    def _parts(self) -> dict[str, Stored]:
        """What is stored, by the first part of the names of its arrays."""
        return {
            **{learner.name: learner for learner in self.learners},
            "bought": self.bought,
            "scoped": self.of_all.scoped,
            "contexts": self.contexts,
            "blend": self.blend,
            "pending": self.blend.pending,
            "seen": self.seen,
            "served": self.served,
            "had": self.rules.bought,
            "against": self.against,
            "exploration": self.exploration,
            "written": self.written,
            "written_similar": self.of_items.written_similar,
            "written_bought": self.of_items.written_bought,
            "trending": self.of_all.trending,
        }
