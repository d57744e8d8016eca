"""Propensity: chances learned from outcomes that come late, judged before they are learned."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pytest
from river import linear_model, metrics, optim
from sklearn.metrics import roc_auc_score

from operators.learners.online_glm import Link, OnlineGlm
from operators.propensity.progressive import Progressive
from operators.propensity.waiting import ALL, Waiting
from operators.visit import Rules, Shoppers
from state.config import Lifecycle, Profiles, Sessions, State
from state.events import Event, Item
from state.messages import BatchId, Totals
from state.shopper import Session
from tests.streams import GAP_MS, MINUTE_MS, START_MS, event, view

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
        river.learn_many(frame, pd.Series(truth[block]))
        ours.learn(points[block], truth[block])
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
    assert judge.auc == pytest.approx(roc_auc_score(truth, chances), abs=1e-3)
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
