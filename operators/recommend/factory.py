"""Creates the parts of a recommender and connects them: the only file that knows how all of them fit.

Change it when a part is added or needs another part. What the parts do is in their own files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.catalogue.item_features import ItemFeatures
from operators.catalogue.last_seen import LastSeen
from operators.events.processing_errors import ProcessingErrors
from operators.recommend.blend import Blend
from operators.recommend.candidates.bought_together import BoughtTogether
from operators.recommend.candidates.content import Content
from operators.recommend.candidates.covisitation import Covisitation
from operators.recommend.candidates.generators import CandidateGenerators
from operators.recommend.candidates.popularity import Popularity
from operators.recommend.candidates.registry import LEARNERS, prior_weight
from operators.recommend.candidates.scoped_popularity import ScopedPopularity
from operators.recommend.components import RecommenderComponents
from operators.recommend.exploration import Exploration
from operators.recommend.fallback import PopularFallback
from operators.recommend.item_lists import ItemLists
from operators.recommend.negative_feedback import NegativeFeedback
from operators.recommend.online_evaluation import LIST_TTL_S, OnlineEvaluation
from operators.recommend.popular_lists import PopularLists
from operators.recommend.published_index import ShopperListIndex
from operators.recommend.reasons import EXPLORED, OWN_BRAND, reason_code, rule_reason
from operators.recommend.rendering import ListRenderer
from operators.recommend.rules.rules import RuleChain
from operators.recommend.session_contexts import SessionContexts
from state import config_lists
from state.interactions import RowIndex
from state.times import DAY_MS, HOUR_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.recommend.candidates.base import CandidateLearner


def components_from_config(lists: config_lists.Lists) -> RecommenderComponents:
    """The parts that a configuration asks for."""
    half_life_ms = round(lists.popularity_half_life_hours * HOUR_MS)
    return build_components(
        covisitation=Covisitation(half_life_ms=round(lists.covisitation_half_life_days * DAY_MS)),
        popularity=Popularity(half_life_ms=half_life_ms),
        scoped_popularity=ScopedPopularity(half_life_ms=half_life_ms),
        k=lists.k,
        allow_repeats=lists.allow_repeats,
        online_evaluation=lists.served,
        memory_events=lists.blend_memory_events,
        rules=lists.rules,
        exploration=lists.exploration,
    )


def build_components(
    *,
    covisitation: Covisitation | None = None,
    popularity: Popularity | None = None,
    scoped_popularity: ScopedPopularity | None = None,
    other_learners: Sequence[CandidateLearner] | None = None,
    k: int = 20,
    pool: int = 24,
    context_items: int = 10,
    allow_repeats: bool = True,
    memory_events: int = 10_000,
    online_evaluation: config_lists.Served | None = None,
    rules: config_lists.ListRules | None = None,
    exploration: config_lists.Exploration | None = None,
) -> RecommenderComponents:
    """All parts, connected.

    A list has `k` items if the shop has as many, none twice. Each learner generates `pool` candidates.
    With `allow_repeats` a list may hold the last `context_items` items of the running session, for shops
    where people come back to what they saw. `other_learners` stand in for those of the registry beside
    co-visitation, content and popularity, which always are there.
    """
    covisitation, popularity = covisitation or Covisitation(), popularity or Popularity()
    content, bought_together = Content(), BoughtTogether()
    learners = _learners(covisitation, other_learners, content, popularity)
    names = [learner.name for learner in learners]
    popular = names.index(popularity.name)
    left_out = 0 if allow_repeats else context_items
    shoppers, items = RowIndex(), RowIndex()
    errors, negative_feedback = ProcessingErrors("learn"), NegativeFeedback()
    item_features, renderer = ItemFeatures(items), ListRenderer(names, items)
    fallback = PopularFallback(popularity, item_features, reason_code(popular), left_out)
    list_rules = RuleChain(
        rules or config_lists.ListRules(), item_features, fallback, rule_reason(names, OWN_BRAND)
    )
    out_of_stock = list_rules.out_of_stock
    return RecommenderComponents(
        k=k,
        shoppers=shoppers,
        items=items,
        errors=errors,
        learners=learners,
        content=content,
        popularity=popularity,
        bought_together=bought_together,
        session_contexts=SessionContexts(context_items),
        last_seen=LastSeen(),
        item_features=item_features,
        generators=CandidateGenerators(
            learners,
            covisitation,
            errors,
            pool=max(pool, k) + left_out,
            allow_repeats=allow_repeats,
        ),
        blend=Blend(
            names,
            [prior_weight(name) for name in names],
            memory_events=memory_events,
            negative_feedback=negative_feedback,
        ),
        negative_feedback=negative_feedback,
        rules=list_rules,
        exploration=Exploration(
            names, exploration or config_lists.Exploration(), rule_reason(names, EXPLORED)
        ),
        renderer=renderer,
        item_lists=ItemLists(
            covisitation, content, bought_together, out_of_stock, items, renderer, k
        ),
        popular_lists=PopularLists(
            popularity,
            scoped_popularity or ScopedPopularity(),
            item_features,
            out_of_stock,
            renderer,
            k,
            popular,
        ),
        online_evaluation=OnlineEvaluation(names, k, online_evaluation or config_lists.Served()),
        published_index=ShopperListIndex(k, LIST_TTL_S),
    )


def _learners(
    covisitation: Covisitation,
    others: Sequence[CandidateLearner] | None,
    content: Content,
    popularity: Popularity,
) -> tuple[CandidateLearner, ...]:
    """All learners; by default one of each that is registered."""
    named = (covisitation.name, content.name, popularity.name)
    if others is None:
        others = [create() for name, create in LEARNERS.items() if name not in named]
    return (covisitation, *others, content, popularity)
