"""Exploration: what is shown, with which probability, and what is learned from it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest
from river import bandit, proba

from operators.recommend.exploration import UNIFORM_SHARE
from operators.recommend.feedback_events import CLICK, IMPRESSION, FeedbackEvents
from operators.recommend.standalone import StandaloneRecommender
from operators.recommend.thompson import probability_of_best
from state import config_lists, config_loader
from state.errors import ConfigurationError
from tests.operators.recommend.rules.test_rules import Shop

if TYPE_CHECKING:
    from pathlib import Path

K, PLACE = 5, 3


class Exploring(Shop):
    """A shop of 30 items with visits of all kinds, where the third place of lists of 5 is explored."""

    def __init__(self, share: float = 0.5, seed: int = 7) -> None:
        super().__init__(K)
        lists = config_lists.Lists(
            k=K, exploration=config_lists.Exploration(share=share, position=PLACE, seed=seed)
        )
        self.recommender = StandaloneRecommender.from_config(lists)
        self.click(*((f"v{n // 4}", f"i{(n // 4 * 7 + n % 4 * n) % 30}") for n in range(400)))

    def served(self, shopper: str = "v7", after_ms: int = 1) -> dict[str, Any]:
        self.at_ms += after_ms
        text = self.recommender.recommend([shopper], self.at_ms).json(self.at_ms, "1")[0]
        found: dict[str, Any] = orjson.loads(text)
        return found

    def came(self, kind: int, shopper: str, item: str) -> None:
        recommender = self.recommender
        self.at_ms += 1
        recommender.observe_feedback(
            FeedbackEvents(
                recommender.shoppers.get_or_add_many([shopper]),
                recommender.items.get_or_add_many([item]),
                np.array([kind], np.int8),
                np.array([self.at_ms]),
                np.array([PLACE - 1], np.int32),
            )
        )


def test_by_default_nothing_is_explored() -> None:
    shop = Exploring(share=0)
    assert "explore" not in shop.served()
    assert config_lists.Exploration().share == 0


@pytest.mark.slow
def test_an_item_is_shown_as_often_as_its_propensity_says() -> None:
    shop, cases = Exploring(), 3000
    seen: Counter[str] = Counter()
    propensities: dict[str, set[float]] = {}
    for _ in range(cases):
        made = shop.served()
        item, chance = made["explore"]["item"], made["explore"]["propensity"]
        assert made["items"][PLACE - 1][0] == item
        seen[item] += 1
        propensities.setdefault(item, set()).add(chance)
    assert len(seen) > 2
    for item, count in seen.items():
        (chance,) = propensities[item]
        assert abs(count / cases - chance) < 5 * (chance * (1 - chance) / cases) ** 0.5
    assert sum(chance for (chance,) in propensities.values()) == pytest.approx(1, abs=1e-4)


def test_only_the_explored_position_differs_and_has_its_reason() -> None:
    shop, plain = Exploring(), Exploring(share=0)
    tried = 0
    for _ in range(50):
        made, stood = shop.served()["items"], plain.served()["items"]
        assert len({item for item, *_ in made}) == K
        assert [e for n, e in enumerate(made) if n != PLACE - 1] == [
            e for n, e in enumerate(stood) if n != PLACE - 1
        ]
        if made[PLACE - 1][0] != stood[PLACE - 1][0]:
            tried += 1
            assert made[PLACE - 1][2] == "explored"
            assert made[PLACE - 1][1] == stood[PLACE - 1][1]
        else:
            assert made[PLACE - 1] == stood[PLACE - 1]
    assert 5 < tried < 45


def test_the_same_seed_explores_the_same() -> None:
    def tries(seed: int) -> list[str]:
        shop = Exploring(seed=seed)
        return [shop.served(f"v{n}")["explore"]["item"] for n in range(60)]

    assert tries(7) == tries(7) != tries(8)


def test_a_clicked_learner_is_explored_more_and_a_click_counts_once() -> None:
    shop = Exploring(share=1)
    exploration = shop.recommender.components.exploration
    before = exploration.learner_shares()
    liked = exploration.names.index("popularity")
    for _ in range(400):
        item = shop.served()["explore"]["item"]
        row = shop.recommender.items.get(item)
        who = shop.recommender.shoppers.get("v7")
        arm, _ = exploration.explored_pairs.get(np.array([who]), np.array([row]))
        shop.came(IMPRESSION, "v7", item)
        shop.came(IMPRESSION, "v7", item)
        if arm[0] == liked + 1:
            shop.came(CLICK, "v7", item)
            shop.came(CLICK, "v7", item)
    assert exploration.learner_shares()[liked] > 0.8 > before[liked]
    assert min(exploration.learner_shares()) >= UNIFORM_SHARE / len(before)
    assert exploration.clicks[liked] <= exploration.views[liked] + 1e-9


def test_metrics_have_impressions_and_clicks_by_learner() -> None:
    shop = Exploring(share=1)
    exploration = shop.recommender.components.exploration
    for n in range(60):
        item = shop.served()["explore"]["item"]
        shop.came(IMPRESSION, "v7", item)
        if n % 3 == 0:
            shop.came(CLICK, "v7", item)
    deltas, metrics = exploration.take_deltas(), exploration.metrics()
    assert (
        sum(seen for seen, _ in deltas.values()) > sum(clicks for _, clicks in deltas.values()) > 0
    )
    assert exploration.take_deltas() == {}
    assert [*metrics] == [*exploration.names]
    assert sum(float(one["try_share"]) for one in metrics.values()) == pytest.approx(1, abs=1e-3)
    for name, (seen, clicks) in deltas.items():
        # Metrics decay, by one in ten thousand impressions.
        assert float(metrics[name]["tried_seen"]) == pytest.approx(seen, abs=1)
        assert float(metrics[name]["tried_clicked"]) == pytest.approx(clicks, abs=1)
    assert Exploring(share=0).recommender.components.exploration.metrics() == {}


def test_shares_are_the_probabilities_of_thompson_sampling_in_river() -> None:
    """Thompson sampling of River, whose choices are counted, after the same clicks."""
    clicks, views = np.array([30.0, 40.0, 2.0]), np.array([1000.0, 1000.0, 40.0])
    policy = bandit.ThompsonSampling(reward_obj=proba.Beta(), seed=7)
    for arm in range(3):
        for n in range(int(views[arm])):
            policy.update(arm, n < clicks[arm])  # type: ignore[no-untyped-call]
    draws = Counter(policy.pull([0, 1, 2]) for _ in range(20_000))
    drawn = np.array([draws[arm] / 20_000 for arm in range(3)])
    assert np.abs(probability_of_best(clicks, views) - drawn).max() < 0.02


def test_a_restored_exploration_goes_on_alike() -> None:
    shop, other = Exploring(), Exploring()
    for _ in range(40):
        shop.came(IMPRESSION, "v7", shop.served()["explore"]["item"])
    ids = {name: one.ids for name, one in shop.recommender.components.row_indexes().items()}
    other.recommender.components.restore(shop.recommender.components.arrays())
    other.recommender.components.restore_ids(ids)
    other.at_ms = shop.at_ms
    for _ in range(20):
        assert shop.served() == other.served()


def test_a_position_beyond_the_list_is_refused(tmp_path: Path) -> None:
    wrong = ("lists.exploration.share=0.1", "lists.exploration.position=30")
    with pytest.raises(ConfigurationError, match=r"exploration.position must be at most k"):
        config_loader.load(overrides=wrong, environment={})
    wrong = ("lists.exploration.share=0.1", "lists.rules.category_cap={most: 2, among: 12}")
    with pytest.raises(ConfigurationError, match=r"exploration.position must be above"):
        config_loader.load(overrides=wrong, environment={})
