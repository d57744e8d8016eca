"""Propensity: chances learned from outcomes that come late, judged before they are learned."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pytest
from river import linear_model, metrics, optim
from sklearn.metrics import roc_auc_score

from operators.features import feature_row, feature_rows
from operators.learners.online_glm import Link, OnlineGlm
from operators.propensity.amounts import AmountModel
from operators.propensity.model import ChanceModel
from operators.propensity.progressive import Progressive
from operators.propensity.propensity import Propensity
from operators.propensity.ready_made import READY, Scored, decide, thresholds
from operators.propensity.waiting import ALL, Waiting
from operators.visit import Rules, Shoppers
from state import config
from state import keys as state_keys
from state.config import Lifecycle, Profiles, Sessions, State
from state.events import Event, Item
from state.messages import BatchId, Totals
from state.money import MICROS
from state.shopper import Session, Shopper
from state.times import DAY_MS
from tests.streams import GAP_MS, MINUTE_MS, START_MS, event, view

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from state.messages import Transition

    Floats = NDArray[np.float64]


def stream(seed: int, n: int, *, amounts: bool = False) -> tuple[Floats, Floats]:
    """Points with a column of ones, and what came of them."""
    rng = np.random.default_rng(seed)
    points = np.column_stack([np.ones(n), rng.normal(size=(n, 3))])
    raw = points @ [-1.0, 1.5, -0.5, 0.0]
    if amounts:
        return points, rng.poisson(np.exp(raw)).astype(np.float64)
    return points, (rng.random(n) < 1 / (1 + np.exp(-raw))).astype(np.float64)


@pytest.mark.parametrize("link", ["logistic", "exponential"])
def test_it_finds_the_weights_that_river_finds(link: Link) -> None:
    points, truth = stream(1, 640, amounts=link == "exponential")
    optimizer = optim.AdaGrad(0.1)
    river: Any = linear_model.LogisticRegression(optimizer, intercept_lr=0.0)
    if link == "exponential":
        river = linear_model.LinearRegression(
            optimizer, loss=optim.losses.Poisson(), intercept_lr=0.0
        )
    ours = OnlineGlm(4, link, 0.1)
    for start in range(0, len(points), 16):
        block = slice(start, start + 16)
        frame = pd.DataFrame(points[block], columns=list("abcd"))
        weight = 1.0 if start % 32 else 0.25
        river.learn_many(frame, pd.Series(truth[block]), w=weight)
        ours.learn(points[block], truth[block], weight)
    assert ours.weights.tolist() == pytest.approx([river.weights[name] for name in "abcd"])


def test_auc_and_log_loss_are_those_of_others_and_calibration_shows() -> None:
    points, truth = stream(2, 20_000)
    chances = 1 / (1 + np.exp(-points @ [-1.0, 1.5, -0.5, 0.0]))
    judge = Progressive(half_life=1e12)
    river: Any = metrics.LogLoss()  # type: ignore[no-untyped-call]
    for start in range(0, len(truth), 700):
        judge.take(chances[start : start + 700], truth[start : start + 700])
    for happened, chance in zip(truth.tolist(), chances.tolist(), strict=True):
        river.update(bool(happened), chance)
    assert judge.auc == pytest.approx(roc_auc_score(truth, chances), abs=2e-3)
    assert judge.log_loss == pytest.approx(river.get(), rel=1e-6)
    assert judge.calibration_error < 0.02
    assert judge.rate == pytest.approx(truth.mean())
    overstated = Progressive()
    overstated.take(np.sqrt(chances), truth)
    assert overstated.calibration_error > 0.1


def test_a_judge_that_has_heard_nothing_says_nothing() -> None:
    judge = Progressive()
    assert math.isnan(judge.auc)
    assert math.isnan(judge.log_loss)
    assert judge.reliability() == []


def keys(*values: int) -> NDArray[np.uint64]:
    return np.array(values, np.uint64)


def test_a_decision_is_found_again_once_with_what_was_said_of_it() -> None:
    waiting = Waiting(64, 2)
    waiting.add(
        keys(7, 9), np.array([[1, 2], [3, 4]], np.float32), np.array([0.1, 0.2], np.float32)
    )
    places, points, said = waiting.take(keys(5, 9))
    assert (places.tolist(), points.tolist(), said.tolist()) == ([1], [[3, 4]], [np.float32(0.2)])
    assert len(waiting.take(keys(9))[0]) == 0
    assert len(waiting) == 1


def test_with_too_many_a_share_that_chance_chose_is_followed() -> None:
    rng = np.random.default_rng(3)
    waiting = Waiting(64, 1)
    drawn = rng.integers(1, ALL, 5000, np.uint64, endpoint=True)
    for start in range(0, 5000, 50):
        some = drawn[start : start + 50]
        waiting.add(some, np.zeros((50, 1), np.float32), np.zeros(50, np.float32))
        assert len(waiting) <= 64
    followed = np.flatnonzero(drawn <= np.uint64(waiting.bar))
    assert 16 < len(followed) <= 64
    assert waiting.take(drawn)[0].tolist() == followed.tolist()


def cart(event_id: str, at_ms: int) -> Event:
    return event("cart_add", event_id, at_ms, items=(Item("mug"),))


def purchase(event_id: str, at_ms: int) -> Event:
    return event("purchase", event_id, at_ms, items=(Item("mug"),), order_id=event_id)


def shoppers_that_decide_at_each_event() -> Shoppers:
    rules = Rules.of(Sessions(), Profiles(), State(), Lifecycle(), decided_share=1.0)
    return Shoppers(rules, {}, Totals())


def outcomes_of(*events: Event) -> list[int]:
    """What came of the decision at each event, by the order of events."""
    shoppers = shoppers_that_decide_at_each_event()
    shoppers.begin(BatchId("p", 0), 0, 0, last=False)
    for place, one in enumerate(events):
        shoppers.fold("ann", one, place, 0, known=False)
    marks = [one[:8] for one in shoppers.out.decided]
    shoppers.finish()
    shoppers.begin(BatchId("p", 1), 0, START_MS + 400 * MINUTE_MS, last=False)
    told = b"".join(shoppers.out.outcomes)
    found = {told[at : at + 8]: told[at + 8] for at in range(0, len(told), 9)}
    return [found[mark] for mark in marks]


def test_the_outcome_of_a_decision_is_a_purchase_after_it_in_the_same_session() -> None:
    at = 0
    assert outcomes_of(view("a", at), cart("b", at + 1), purchase("c", at + 2)) == [1, 1, 0]
    assert outcomes_of(purchase("c", at), view("a", at + 1)) == [0, 0]
    later = at + GAP_MS + 1
    assert outcomes_of(view("a", at), purchase("c", later)) == [0, 0]


def test_sessions_that_become_one_keep_what_was_decided_in_either() -> None:
    first, second = Session(0, 10, purchases=0), Session(20, 30, purchases=0)
    first.decide(b"1" * 8)
    first.purchases = 1
    second.decide(b"2" * 8)
    first.absorb(second)
    assert first.outcomes() == b"1" * 8 + b"\1" + b"2" * 8 + b"\0"


def sessions_learned(seed: int, sessions: int, *, shuffled: bool) -> Propensity:
    """Sessions of which those with many views end with a purchase; outcomes told at random, or as
    they are."""
    rng = np.random.default_rng(seed)
    propensity = Propensity(config.Propensity(labels_min=20, horizon_days=0))
    shoppers, at_ms, place = shoppers_that_decide_at_each_event(), 0, 0
    for batch in range(sessions):
        shoppers.begin(BatchId("p", batch), 0, START_MS + at_ms, last=False)
        name, buys = f"s{batch}", rng.random() < 0.4
        views = 2 + 3 * buys
        for step in range(views):
            shoppers.fold(name, view(f"{batch}.{step}", at_ms + step), place, 0, known=False)
        if buys:
            shoppers.fold(name, purchase(f"{batch}.o", at_ms + views), place, 0, known=False)
        visited = shoppers.finish()
        if shuffled:
            told = b"".join(visited.outcomes)
            visited.outcomes = [
                told[at : at + 8] + bytes([rng.random() < 0.3]) for at in range(0, len(told), 9)
            ]
        propensity.learn([visited])
        at_ms += MINUTE_MS * 5
    return propensity


def figures_of(propensity: Propensity, name: str) -> dict[str, float]:
    writes = {write[1]: write for write in propensity.models(0)}
    found = dict(zip(writes[key_of(name)][2::2], writes[key_of(name)][3::2], strict=True))
    return {field: float(found[field]) for field in ("auc", "log_loss", "log_loss_of_rate")}


def key_of(name: str) -> str:
    return state_keys.model_key(name)


def test_what_chance_decides_afterwards_cannot_be_foretold() -> None:
    figures = figures_of(sessions_learned(4, 600, shuffled=True), "p_buy_session")
    assert figures["auc"] == pytest.approx(0.5, abs=0.06)


def test_what_a_session_shows_is_learned_before_its_end() -> None:
    figures = figures_of(sessions_learned(4, 600, shuffled=False), "p_buy_session")
    assert figures["auc"] > 0.7
    assert figures["log_loss"] < figures["log_loss_of_rate"]


DAYS = 120
PEOPLE = 300


class Month:
    """People of whom a part visits and buys each day, followed by the models for `DAYS` days."""

    def __init__(self, seed: int, *, known: bool) -> None:
        self.rng = np.random.default_rng(seed)
        self.propensity = Propensity(
            config.Propensity(labels_min=20, horizon_days=10, churn_days=5)
        )
        self.names = [f"p{row}" for row in range(PEOPLE)]
        self.keen = np.arange(PEOPLE) % 4 == 0
        self.shoppers = [Shopper(True, START_MS, START_MS) for _ in self.names]
        self.members: set[tuple[str, str]] = set()
        self.moves = 0
        self.known = known

    def day(self, day: int) -> None:
        at_ms = START_MS + day * DAY_MS
        keen = self.keen if self.known else self.rng.permutation(self.keen)
        here = np.flatnonzero(self.rng.random(PEOPLE) < np.where(keen, 0.5, 0.05)).astype(np.int32)
        if day == 0:
            here = np.arange(PEOPLE, dtype=np.int32)
        propensity = self.propensity
        for row in here.tolist():
            shopper = self.shoppers[row]
            shopper.last_ms = at_ms
            shopper.sessions += 1
            if self.rng.random() < 0.5:
                shopper.purchases += 1
                shopper.revenue_micros += 20 * MICROS
                shopper.last_purchase_ms = at_ms
                propensity.order(row, 20 * MICROS, at_ms)
        raw = feature_rows(feature_row(self.shoppers[row], 0.0, None) for row in here.tolist())
        propensity.see(here, raw)
        scores = propensity.score(here, raw)
        names = [self.names[row] for row in here.tolist()]
        self.take(propensity.decide(names, here, scores, np.full(len(here), at_ms)))
        self.take(propensity.advance(self.names, at_ms))

    def take(self, transitions: list[Transition]) -> None:
        for name, sid, entered, _ in transitions:
            assert ((name, sid) in self.members) != entered
            self.members ^= {(name, sid)}
            self.moves += 1

    def of(self, sid: str) -> set[str]:
        return {name for name, other in self.members if other == sid}


def test_chances_and_amounts_are_at_the_level_of_recent_outcomes() -> None:
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
def month() -> Month:
    followed = Month(5, known=True)
    assert {one.status for one in followed.propensity.redefined()} == {
        "learning: 0 of 20 outcomes that came true"
    }
    for day in range(DAYS):
        followed.day(day)
    return followed


def test_who_buys_within_days_and_who_stays_away_is_learned(month: Month) -> None:
    for name in ("p_buy_30d", "p_churn"):
        figures = figures_of(month.propensity, name)
        assert figures["auc"] > 0.7
        assert figures["log_loss"] < figures["log_loss_of_rate"]


def test_nothing_is_foretold_where_everybody_is_alike() -> None:
    followed = Month(6, known=False)
    for day in range(DAYS):
        followed.day(day)
    assert figures_of(followed.propensity, "p_buy_30d")["auc"] == pytest.approx(0.5, abs=0.07)


def test_ready_made_segments_are_the_shares_their_names_say(month: Month) -> None:
    assert {one.status for one in month.propensity.redefined()} == {"live"}
    keen = {name for name, is_keen in zip(month.names, month.keen, strict=True) if is_keen}
    ready = month.of("propensity-ready-to-buy")
    assert 0.15 * PEOPLE < len(ready) < 0.27 * PEOPLE
    assert len(ready & keen) > 0.9 * len(ready)
    assert 0.05 * PEOPLE < len(month.of("propensity-high-value")) < 0.15 * PEOPLE
    assert month.of("propensity-potential-vips") <= ready
    assert not ready & month.of("propensity-dormant")


def test_a_model_that_was_restored_goes_on_alike(month: Month) -> None:
    other = Month(7, known=True)
    for day in range(60):
        other.day(day)
    arrays = dict(other.propensity.arrays())
    twin = Month(7, known=True)
    for day in range(60):
        twin.day(day)
    twin.propensity = Propensity(config.Propensity(labels_min=20, horizon_days=10, churn_days=5))
    twin.propensity.restore(arrays)
    for day in range(60, 90):
        other.day(day)
        twin.day(day)
    assert twin.members == other.members
    assert same(twin.propensity.arrays(), other.propensity.arrays())


def same(one: Mapping[str, NDArray[Any]], other: Mapping[str, NDArray[Any]]) -> bool:
    return one.keys() == other.keys() and all(
        one[name].tobytes() == other[name].tobytes() for name in one
    )


def test_a_score_that_moves_to_and_fro_about_a_threshold_moves_nobody() -> None:
    chance = np.linspace(0.0, 1.0, 1001)
    by = thresholds(chance, chance)
    none, long_ago = np.zeros(1, np.uint8), np.zeros(1, np.int64)

    def ready(score: float, member: NDArray[np.uint8]) -> NDArray[np.uint8]:
        scored = Scored(np.array([score]), np.zeros(1), long_ago, np.zeros(1, np.bool_), member)
        return decide(by, scored, DAY_MS) & np.uint8(READY)

    assert ready(0.79, none) == 0
    entered = ready(0.81, none)
    assert entered == READY
    assert ready(0.79, entered) == READY
    assert ready(0.77, entered) == 0
