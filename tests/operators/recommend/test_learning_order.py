"""The orders inside learning: each test fails when two calls are swapped.

1. Learners are evaluated by what they knew before a batch, and learn it then.
2. The cards of a batch come last: learners learn by what was known of the items before.
3. The feedback of a batch comes before its views.
"""

from __future__ import annotations

import numpy as np

from operators.kernels.ranking.content import CATEGORY
from operators.recommend.candidates.content import NEW_ITEM_WEIGHT
from operators.recommend.feedback_events import IMPRESSION, FeedbackEvents
from operators.recommend.standalone import StandaloneRecommender
from state.events import Item, Reco
from state.interactions import VIEW, EventColumns, ItemCard
from tests.operators.personalize.test_step import batches
from tests.personalization import Personalization
from tests.streams import event, flow_settings

NOW_MS = 1_700_000_000_000
DAY_VIEWS = [("ann", "mug"), ("ann", "cup"), ("bob", "mug"), ("bob", "cup")]


def views(
    rows: list[tuple[str, str]], at_ms: int = NOW_MS, cards: dict[str, ItemCard] | None = None
) -> EventColumns:
    """Views of (shopper, item), a millisecond apart, in one session each; `cards` came with them."""
    n = len(rows)
    shoppers, items = [shopper for shopper, _ in rows], [item for _, item in rows]
    times = [at_ms + after_ms for after_ms in range(n)]
    nothing = [None] * n
    known = cards or {}
    return EventColumns(
        shoppers,
        items,
        [VIEW] * n,
        [1.0] * n,
        times,
        [NOW_MS] * n,
        nothing,
        nothing,
        known,
        list(known),
    )


def test_learners_are_evaluated_before_they_learn_a_batch() -> None:
    recommender = StandaloneRecommender()
    blend = recommender.components.blend
    recommender.learn(views(DAY_VIEWS))
    assert round(blend.evaluated) == 4
    assert set(blend.hit_rates().values()) == {0.0}, "no learner knew any of these items"
    recommender.learn(views(DAY_VIEWS, NOW_MS + 1000))
    hit_rates = {name: round(rate, 2) for name, rate in blend.hit_rates().items()}
    assert hit_rates == {
        "covisitation": 0.5,
        "session_knn": 0.5,
        "again": 0.5,
        "often": 0.5,
        "factors": 0.5,
        "content": 0.0,
        "popularity": 0.5,
    }


def test_a_published_list_is_evaluated_by_the_candidates_of_its_time() -> None:
    """The batch holds many views of a new item, which no learner could know."""
    recommender = StandaloneRecommender()
    recommender.learn(views(DAY_VIEWS))
    recommender.recommend(["ann"], NOW_MS + 10)
    recommender.learn(views([("ann", "new"), *[(f"w{n}", "new") for n in range(30)]], NOW_MS + 20))
    assert recommender.components.blend.hits.max() < 2.0
    assert recommender.components.online_evaluation.take_deltas().hits == 0


def test_the_cards_of_a_batch_are_learned_after_its_views() -> None:
    recommender = StandaloneRecommender()
    content = recommender.trainer.content
    card = {"mug": ItemCard(NOW_MS, None, ("kitchen",), None, None)}
    recommender.learn(views([("ann", "mug")], cards=card))
    group = content.attributes.group[recommender.items.get("mug"), CATEGORY]
    _, weight = content.table.lookup(np.array([group], np.int32))
    assert weight.sum() == NEW_ITEM_WEIGHT, "the view was learned without the card"
    recommender.learn(views([("ann", "mug")]))
    _, weight = content.table.lookup(np.array([group], np.int32))
    assert weight.sum() == NEW_ITEM_WEIGHT + 1


def test_a_view_after_an_impression_of_the_same_batch_is_a_click() -> None:
    recommender = StandaloneRecommender()
    recommender.learn(views(DAY_VIEWS))
    ann, mug = (
        rows.get_or_add_many([name])
        for rows, name in ((recommender.shoppers, "ann"), (recommender.items, "mug"))
    )
    shown = FeedbackEvents(
        ann, mug, np.array([IMPRESSION], np.int8), np.array([NOW_MS + 5]), np.zeros(1, np.int32)
    )
    recommender.observe_feedback(shown)
    assert len(recommender.components.negative_feedback.impressions) == 1
    recommender.learn(views([("ann", "mug")], NOW_MS + 6))
    assert len(recommender.components.negative_feedback.impressions) == 0


def test_the_step_observes_feedback_before_it_learns_the_views_of_a_batch() -> None:
    step = Personalization(flow_settings())
    first = [event("item_view", f"v{n}", n, "ann", items=(Item("mug"),)) for n in range(2)]
    second = [
        event("reco_view", "shown", 10, "ann", items=(Item("mug"),), reco=Reco(position=1)),
        event("item_view", "clicked", 11, "ann", items=(Item("mug"),)),
    ]
    for parts in batches([first, second]):
        step.process_batch(parts)
    impressions = step.state.recommender.components.negative_feedback.impressions
    assert len(impressions) == 0, "the view is the click that follows the impression"
