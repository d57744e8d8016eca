"""Propensity: models learn from late outcomes, and are evaluated before they learn them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from operators.segments.propensity.amount_model import AmountModel
from operators.segments.propensity.built_in_segments import (
    READY,
    ScoredRows,
    assign,
    compute_thresholds,
)
from operators.segments.propensity.chance_model import ChanceModel
from operators.segments.propensity.propensity import PropensityModels
from operators.shards.config import ProcessorConfig
from operators.shards.processor import ShopperProcessor
from operators.shards.shard_shoppers import ShardShoppers
from state import config
from state import keys as state_keys
from state.config import Lifecycle, Profiles, Sessions, State
from state.events import Event, Item
from state.messages import BatchId, ShardTotals
from state.shopper import Session
from state.times import DAY_MS
from tests.chances import Followed, followed
from tests.streams import GAP_MS, MINUTE_MS, START_MS, event, view

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def cart(event_id: str, at_ms: int) -> Event:
    return event("cart_add", event_id, at_ms, items=(Item("mug"),))


def purchase(event_id: str, at_ms: int) -> Event:
    return event("purchase", event_id, at_ms, items=(Item("mug"),), order_id=event_id)


def shoppers_that_decide_at_each_event() -> tuple[ShardShoppers, ShopperProcessor]:
    settings = config.Propensity(sampled_share=1.0)
    rules = ProcessorConfig.from_config(
        Sessions(), Profiles(), State(), Lifecycle(), propensity=settings
    )
    shoppers = ShardShoppers(rules, {}, ShardTotals())
    return shoppers, ShopperProcessor(shoppers)


def outcomes_of(*events: Event) -> list[int]:
    """The label of the decision at each event, in the order of events."""
    shoppers, processor = shoppers_that_decide_at_each_event()
    processor.begin_batch(BatchId("p", 0), 0, 0, last=False)
    for place, one in enumerate(events):
        processor.process_event("ann", one, place, 0, known=False)
    marks = [one[:8] for one in shoppers.output.decisions]
    processor.end_batch()
    processor.begin_batch(BatchId("p", 1), 0, START_MS + 400 * MINUTE_MS, last=False)
    told = b"".join(shoppers.output.session_outcomes)
    found = {told[at + 8 : at + 16]: told[at + 16] for at in range(0, len(told), 17)}
    return [found[mark] for mark in marks]


def test_the_label_of_a_decision_is_a_purchase_after_it_in_the_same_session() -> None:
    at = 0
    assert outcomes_of(view("a", at), cart("b", at + 1), purchase("c", at + 2)) == [1, 1, 0]
    assert outcomes_of(purchase("c", at), view("a", at + 1)) == [0, 0]
    later = at + GAP_MS + 1
    assert outcomes_of(view("a", at), purchase("c", later)) == [0, 0]


def test_merged_sessions_keep_the_decisions_of_both() -> None:
    first, second = Session(0, 10, purchases=0), Session(20, 30, purchases=0)
    first.add_decision(b"1" * 8)
    first.purchases = 1
    second.add_decision(b"2" * 8)
    first.merge(second)
    over = (7).to_bytes(8, "little")
    assert first.decision_outcomes(7) == over + b"1" * 8 + b"\1" + over + b"2" * 8 + b"\0"


def sessions_learned(seed: int, sessions: int, *, shuffled: bool) -> PropensityModels:
    """Sessions of which those with many views end with a purchase; outcomes are the true ones, or
    random."""
    rng = np.random.default_rng(seed)
    propensity = PropensityModels(config.Propensity(labels_min=20, horizon_days=0))
    (_, processor), at_ms, place = shoppers_that_decide_at_each_event(), 0, 0
    for batch in range(sessions):
        watermark_ms = START_MS + at_ms
        processor.begin_batch(BatchId("p", batch), 0, watermark_ms, last=False)
        name, buys = f"s{batch}", rng.random() < 0.4
        views = 2 + 3 * buys
        for step in range(views):
            one = view(f"{batch}.{step}", at_ms + step)
            processor.process_event(name, one, place, watermark_ms, known=False)
        if buys:
            one = purchase(f"{batch}.o", at_ms + views)
            processor.process_event(name, one, place, watermark_ms, known=False)
        visited = processor.end_batch()
        if shuffled:
            told = b"".join(visited.session_outcomes)
            visited.session_outcomes = [
                told[at : at + 16] + bytes([rng.random() < 0.3]) for at in range(0, len(told), 17)
            ]
        propensity.observe_batch([visited], [], lambda: np.zeros(0, np.int64), watermark_ms)
        at_ms += MINUTE_MS * 5
    return propensity


def figures_of(propensity: PropensityModels, name: str) -> dict[str, float]:
    writes = {write[1]: write for write in propensity.model_writes(0) if write[0] == "HSET"}
    found = dict(zip(writes[key_of(name)][2::2], writes[key_of(name)][3::2], strict=True))
    return {field: float(found[field]) for field in ("auc", "log_loss", "log_loss_of_rate")}


def key_of(name: str) -> str:
    return state_keys.model_key(name)


def test_random_outcomes_cannot_be_predicted() -> None:
    figures = figures_of(sessions_learned(4, 600, shuffled=True), "p_buy_session")
    assert figures["auc"] == pytest.approx(0.5, abs=0.06)


def test_a_signal_within_a_session_is_learned() -> None:
    figures = figures_of(sessions_learned(4, 600, shuffled=False), "p_buy_session")
    assert figures["auc"] > 0.7
    assert figures["log_loss"] < figures["log_loss_of_rate"]


DAYS = 90
PEOPLE = 200
MONTH = config.Propensity(sampled_share=0.0, labels_min=20, horizon_days=10, churn_days=5)


def month(seed: int, *, known: bool) -> list[Event]:
    """Each day a part of the shoppers visits, and half of these buy: the keen ones far more often. Where
    these are not `known`, they are others each day."""
    rng = np.random.default_rng(seed)
    keen = np.array([is_keen(f"p{row}") for row in range(PEOPLE)])
    events: list[Event] = []
    for day in range(DAYS):
        of_day = keen if known else rng.permutation(keen)
        visits = rng.random(PEOPLE) < np.where(of_day, 0.5, 0.05)
        for row in np.flatnonzero(visits | (day == 0)).tolist():
            at_ms, who = day * DAY_MS + row * MINUTE_MS, f"p{row}"
            events.append(view(f"{day}.{row}", at_ms, None, user_id=who))
            if rng.random() < 0.5:
                name = f"{day}.{row}.o"
                of = (Item("mug"),)
                events.append(
                    event(
                        "purchase", name, at_ms + 1, None, who, items=of, order_id=name, value=20.0
                    )
                )
    return events


def is_keen(name: str) -> bool:
    return int(name[1:]) % 4 == 0


def test_predictions_are_at_the_level_of_recent_outcomes() -> None:
    rng = np.random.default_rng(1)
    chance, amount = ChanceModel(2, 100), AmountModel(2, 100)
    for rate in (0.5,) * 20 + (0.1,) * 20:
        points = rng.normal(size=(500, 2))
        came = (rng.random(500) < rate).astype(np.float64)
        chance.learn(points, chance.predict(points), came, came)
        amount.learn(points, amount.predict(points), 40.0 * came)
    points = rng.normal(size=(500, 2))
    assert chance.predict(points).mean() == pytest.approx(0.1, abs=0.02)
    assert amount.predict(points).mean() == pytest.approx(4.0, abs=1.5)


@pytest.fixture(scope="module")
def keen_month() -> Followed:
    return followed(month(5, known=True), MONTH)


def test_buyers_and_churned_shoppers_are_learned(keen_month: Followed) -> None:
    for name in ("p_buy_30d", "p_churn"):
        figures = figures_of(keen_month.propensity, name)
        assert figures["auc"] > 0.7
        assert figures["log_loss"] < figures["log_loss_of_rate"]


def test_equal_shoppers_cannot_be_ranked() -> None:
    alike = followed(month(6, known=False), MONTH)
    assert figures_of(alike.propensity, "p_buy_30d")["auc"] == pytest.approx(0.5, abs=0.07)


def test_built_in_segments_have_their_defined_shares(keen_month: Followed) -> None:
    assert keen_month.propensity.status == "live"
    keen = {name for name in keen_month.names if is_keen(name)}
    ready = keen_month.of("propensity-ready-to-buy")
    assert 0.15 * PEOPLE < len(ready) < 0.27 * PEOPLE
    assert len(ready & keen) > 0.9 * len(ready)
    assert 0.05 * PEOPLE < len(keen_month.of("propensity-high-value")) < 0.15 * PEOPLE
    assert keen_month.of("propensity-potential-vips") <= ready
    assert not ready & keen_month.of("propensity-dormant")


def test_a_score_that_moves_around_a_threshold_moves_no_shopper() -> None:
    chance = np.linspace(0.0, 1.0, 1001)
    by = compute_thresholds(chance, chance)
    none, long_ago = np.zeros(1, np.uint8), np.zeros(1, np.int64)

    def ready(score: float, member: NDArray[np.uint8]) -> NDArray[np.uint8]:
        scored = ScoredRows(np.array([score]), np.zeros(1), long_ago, np.zeros(1, np.bool_), member)
        return assign(by, scored, DAY_MS) & np.uint8(READY)

    assert ready(0.79, none) == 0
    entered = ready(0.81, none)
    assert entered == READY
    assert ready(0.79, entered) == READY
    assert ready(0.77, entered) == 0
