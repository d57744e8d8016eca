"""Weekly models: predicted and evaluated from what was known at their time, in whatever order."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.segments.propensity.decision_times import TICK_MS, first_tick_ms, ticks_between
from operators.segments.propensity.profile_fields import BUYS, CHURN, ProfileFieldTexts
from operators.synthetic.traffic import generate_events
from state.config import Propensity
from state.times import DAY_MS
from tests.chances import KNOWN_IDLE_MS, Followed, Recount, batches, followed, log
from tests.streams import event, view

if TYPE_CHECKING:
    from state.events import Event

ASKED = Propensity(sampled_share=0.5, horizon_days=2, churn_days=2, labels_min=10)
SHOP = [*generate_events(events=3500, shoppers=120, items=40, events_per_s=0.002)]
"""Twenty days, with devices that turn out to be users, and events out of order."""


def learned(found: Followed) -> dict[str, bytes]:
    """The whole state: what is learned, and what is pending."""
    arrays = dict(found.propensity.arrays())
    del arrays["sessions.waiting.free"]
    for key, of_key in _TABLES.items():
        order = arrays[key].argsort()[np.count_nonzero(arrays[key] == 0) :]
        arrays |= {name: arrays[name][order] for name in (key, *of_key)}
    parts = ("weeks.", "sessions.")
    return {name: one.tobytes() for name, one in arrays.items() if name.startswith(parts)}


_TABLES = {
    "sessions.keys": ("sessions.points", "sessions.said"),
    "weeks.key": ("weeks.heard", "weeks.points", "weeks.said"),
}


def stragglers(seed: int) -> list[Event]:
    """The shop with events that arrive hours late, orders among them, and some twice."""
    rng = random.Random(seed)
    found: list[tuple[int, Event]] = []
    for place, one in enumerate(SHOP):
        delay = rng.choice((0, 0, 0, rng.randrange(400)))
        found.append((place + delay, one))
        if rng.random() < 0.05:
            found.append((place + rng.randrange(900), one))
    found.sort(key=lambda pair: pair[0])
    return [one for _, one in found]


@pytest.mark.parametrize("size", [1, 7, 128])
def test_results_do_not_depend_on_batches(size: int) -> None:
    at_once = followed(SHOP, ASKED, 8192)
    assert at_once.propensity.weekly.buys.ready
    assert at_once.propensity.session.ready
    assert learned(followed(SHOP, ASKED, size)) == learned(at_once)


@pytest.mark.parametrize("seed", [1, 2])
def test_results_do_not_depend_on_batches_with_late_and_repeated_events(seed: int) -> None:
    events = stragglers(seed)
    assert learned(followed(events, ASKED, 13)) == learned(followed(events, ASKED, 8192))


def test_an_erased_shopper_is_not_learned_from() -> None:
    events = [view(n, n * DAY_MS // 4, f"s{n % 30}") for n in range(60)]
    erase = event("erase", "gone", 61 * DAY_MS // 4, "s7")
    found = followed([*events, erase], ASKED)
    plain = followed(events, ASKED)
    weeks, before = found.propensity.weekly, plain.propensity.weekly
    assert len(weeks) < len(before)


def naive_labels(events: list[Event], until_ms: int) -> tuple[list[int], list[int], float]:
    """Counts of the labels of all mature decisions: not bought and bought, returned and not, and the
    amount spent."""
    recount, period = Recount(events), ticks_between(ASKED)
    wait_ms = max(ASKED.horizon_days, ASKED.churn_days) * DAY_MS
    bought, away, spent = [0, 0], [0, 0], 0.0
    for name, own in recount.of.items():
        at_ms = first_tick_ms(name, own[0].event_ts, period)
        while at_ms + wait_ms < until_ms:
            last_ms = max(one.event_ts for one in own if one.event_ts <= at_ms)
            if at_ms < last_ms + KNOWN_IDLE_MS:
                outcome = recount.after(name, at_ms, ASKED)
                bought[outcome.bought] += 1
                away[outcome.stayed_away] += 1
                spent += outcome.spent
            at_ms += period * TICK_MS
    return bought, away, spent


@pytest.mark.parametrize("size", [5, 8192])
def test_labels_equal_a_naive_recount(size: int) -> None:
    rng = random.Random(3)
    at_ms, events = 0, []
    for n in range(1500):
        at_ms += rng.randrange(30 * 60_000)
        who = f"u{rng.randrange(60)}"
        if rng.random() < 0.2:
            paid = event(
                "purchase", n, at_ms, None, who, order_id=str(n), value=rng.randrange(1, 90)
            )
            events.append(paid)
        else:
            events.append(view(n, at_ms, None, user_id=who))
    found = followed(events, ASKED, size)
    weeks = found.propensity.weekly
    bought, away, spent = naive_labels(events, found.watermark_ms)
    assert weeks.buys.labels.tolist() == bought
    assert weeks.churn.labels.tolist() == away
    assert weeks.value.mean * sum(bought) == pytest.approx(spent)


def test_a_log_shorter_than_the_horizon_predicts_nothing() -> None:
    found = followed(SHOP, Propensity(labels_min=1))
    rows = np.arange(len(found.names), dtype=np.int32)
    raw = np.zeros((len(rows), 23))
    assert np.isnan(found.propensity.score(rows, raw).buys).all()
    assert found.members == set()
    assert found.propensity.status == "learning: 0 of 1 outcomes that came true"
    told = {write[1]: write for write in found.propensity.model_writes(0) if write[0] == "HSET"}
    assert not {"auc", "rate", "log_loss"} & {*told["ps:1:model:{p_buy_30d}"]}


def test_exclusive_chances_never_sum_to_more_than_one() -> None:
    found = Followed(ASKED)
    seen = 0
    for visited in batches(SHOP, ASKED, 100):
        found.take(visited)
        latest = found.propensity._features
        buys, churn, _ = found.propensity.weekly.predict(latest.points(latest.live_rows(), 0))
        assert not (buys + churn > 1.0 + 1e-12).any()
        seen += int((~np.isnan(buys + churn)).sum())
    assert seen > 1000


@given(st.floats(0, 1), st.floats(0, 1))
def test_exclusive_chances_never_sum_to_more_than_one_as_texts(one: float, share: float) -> None:
    buys, churn = ProfileFieldTexts(BUYS), ProfileFieldTexts(CHURN)
    other = (1.0 - one) * share
    texts = [
        of.value(int(of.steps(np.array([chance]))[0]))
        for of, chance in ((buys, one), (churn, other))
    ]
    assert float(texts[0]) + float(texts[1]) <= 1.0
    assert float(texts[0]) == pytest.approx(one, abs=0.03)


def test_a_restored_model_learns_on_identically() -> None:
    told = [*batches(stragglers(3), ASKED, 50)]
    found = Followed(ASKED)
    for place, visited in enumerate(told):
        if place == len(told) // 2:
            other = Followed(ASKED)
            other.propensity.restore(found.propensity.arrays())
            other.shoppers, other.members = found.shoppers, found.members
            other.known = found.known
            found = other
        found.take(visited)
    assert learned(found) == learned(followed(stragglers(3), ASKED, 50))


@pytest.fixture(scope="module")
def orders() -> list[Event]:
    return log("online_retail_2010-12_2011-07.csv.gz", "online-retail")


@pytest.mark.slow
@pytest.mark.parametrize("month", [4, 5, 6, 7])
def test_predictions_for_a_real_shop_are_near_a_recount(orders: list[Event], month: int) -> None:
    """Of a log that is cut at a day, compared with what followed."""
    at_ms = int(datetime(2011, month, 1, tzinfo=UTC).timestamp() * 1000)
    found = followed([one for one in orders if one.event_ts < at_ms], Propensity(), 512)
    recount = Recount(orders)
    names, (buys, churn, value) = found.chances()
    came = np.array([recount.after(name, at_ms, Propensity()) for name in names])
    assert sorted(names) == sorted(recount.known(at_ms))
    assert buys.mean() == pytest.approx(came[:, 0].mean(), abs=0.03)
    assert churn.mean() == pytest.approx(came[:, 1].mean(), abs=0.03)
    assert value.mean() == pytest.approx(came[:, 2].mean(), rel=0.3)
