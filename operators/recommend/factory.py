"""Creates the parts of a recommender and of the trainer of its items, and connects them: the only file
that knows how all of them fit.

Change it when a part is added or needs another part. What the parts do is in their own files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

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
from operators.recommend.fork_join import ForkJoin
from operators.recommend.item_lists import ItemLists
from operators.recommend.items.models import ItemModels
from operators.recommend.items.recent_shoppers import RecentShoppers
from operators.recommend.items.trainer import ItemTrainer
from operators.recommend.negative_feedback import NegativeFeedback
from operators.recommend.online_evaluation import LIST_TTL_S, OnlineEvaluation
from operators.recommend.popular_lists import PopularLists
from operators.recommend.published_index import ShopperListIndex
from operators.recommend.reasons import EXPLORED, OWN_BRAND, reason_code, rule_reason
from operators.recommend.rendering import ListRenderer
from operators.recommend.rules.fallback import PopularFallback
from operators.recommend.rules.out_of_stock import OutOfStock
from operators.recommend.rules.rules import RuleChain
from operators.recommend.session_contexts import SessionContexts
from state.config_lists import Lists
from state.interactions import RowIndex
from state.times import DAY_MS, HOUR_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.recommend.candidates.base import CandidateLearner

L = TypeVar("L")

POOL = 24
"""Candidates of each learner, if a list does not hold more."""
CONTEXT_ITEMS = 32
"""Items of the running session that are kept of each shopper, repeats too."""


def build_components(
    settings: Lists | None = None, *, other_learners: Sequence[CandidateLearner] | None = None
) -> RecommenderComponents:
    """The parts that a configuration asks for, connected; without one, those of the defaults.

    `other_learners` replace those of the registry, except co-visitation, content and popularity, which
    have uses beside generating candidates.
    """
    settings = settings or Lists()
    k, left_out = settings.k, 0 if settings.allow_repeats else CONTEXT_ITEMS
    learners = _learners(settings, other_learners)
    names = [learner.name for learner in learners]
    popularity = _only(Popularity, learners)
    index = names.index(popularity.name)
    errors, negative_feedback = ProcessingErrors("personalize"), NegativeFeedback()
    replica = _models(learners)
    item_features, renderer = replica.features, ListRenderer(names, replica.items)
    fallback = PopularFallback(popularity, item_features, reason_code(index), left_out)
    rules = RuleChain(settings.rules, item_features, fallback, rule_reason(names, OWN_BRAND))
    sold_out, fork_join = rules.out_of_stock, ForkJoin(settings.ranking_threads)
    scoped = ScopedPopularity(half_life_ms=popularity.clock.half_life_ms)
    prior_weights = [prior_weight(name) for name in names]
    return RecommenderComponents(
        k=k,
        shoppers=RowIndex(),
        errors=errors,
        replica=replica,
        learners=learners,
        session_contexts=SessionContexts(CONTEXT_ITEMS),
        generators=CandidateGenerators(
            learners,
            _only(Covisitation, learners),
            errors,
            max(POOL, k) + left_out,
            settings.allow_repeats,
            fork_join,
        ),
        blend=Blend(
            names, prior_weights, settings.blend_memory_events, negative_feedback, fork_join
        ),
        negative_feedback=negative_feedback,
        rules=rules,
        exploration=Exploration(names, settings.exploration, rule_reason(names, EXPLORED)),
        renderer=renderer,
        popular_lists=PopularLists(popularity, scoped, item_features, sold_out, renderer, k, index),
        online_evaluation=OnlineEvaluation(names, k, settings.served),
        published_index=ShopperListIndex(k, LIST_TTL_S),
    )


def build_trainer(
    settings: Lists | None = None, *, other_learners: Sequence[CandidateLearner] | None = None
) -> ItemTrainer:
    """The trainer of the models that `build_components` with the same arguments has replicas of."""
    settings = settings or Lists()
    learners = _learners(settings, other_learners)
    models = _models(learners)
    content, bought = _only(Content, learners), BoughtTogether()
    item_lists = ItemLists(
        _only(Covisitation, learners),
        content,
        bought,
        OutOfStock(settings.rules.out_of_stock, models.features),
        models.items,
        ListRenderer([learner.name for learner in learners], models.items),
        settings.k,
    )
    shoppers = RecentShoppers(CONTEXT_ITEMS, [bought])
    errors = ProcessingErrors("personalize")  # its counts are public under this name
    return ItemTrainer(models, content, bought, LastSeen(), item_lists, shoppers, errors)


def _models(learners: Sequence[CandidateLearner]) -> ItemModels:
    """The models of items, with those of the learners that keep nothing of shoppers."""
    items = RowIndex()
    with_tables = tuple(learner for learner in learners if learner.replicated_tables())
    return ItemModels(items, ItemFeatures(items), with_tables)


def _only(kind: type[L], learners: Sequence[CandidateLearner]) -> L:
    """The one learner of a kind."""
    (found,) = (learner for learner in learners if isinstance(learner, kind))
    return found


def _learners(
    settings: Lists, others: Sequence[CandidateLearner] | None
) -> tuple[CandidateLearner, ...]:
    """All learners; by default one of each that is registered."""
    covisitation = Covisitation(half_life_ms=round(settings.covisitation_half_life_days * DAY_MS))
    content = Content()
    popularity = Popularity(half_life_ms=round(settings.popularity_half_life_hours * HOUR_MS))
    named = (covisitation.name, content.name, popularity.name)
    if others is None:
        others = [create() for name, create in LEARNERS.items() if name not in named]
    return (covisitation, *others, content, popularity)
