"""The features of each shopper as of its last event, and when decisions are due."""

import numpy as np

from operators.segments.propensity.decision_times import TICK_MS, first_tick_ms
from operators.segments.propensity.feature_store import LatestFeatures
from operators.segments.propensity.features import SHOPPER_FEATURES
from operators.segments.propensity.profile_fields import NO_STEP
from operators.shoppers.features import feature_row, feature_rows
from state.shopper import Shopper
from state.times import DAY_MS

NAMES = ["ann", "bob"]
ROWS = np.array([0, 1], np.int32)
T = 1000 * DAY_MS
PERIOD = 8


def features() -> LatestFeatures:
    """Ann was last active at T, without a purchase; Bob ten days before, with one."""
    ann = Shopper(known=False, sessions=1, views=3, first_ms=T, last_ms=T)
    earlier_ms = T - 10 * DAY_MS
    bob = Shopper(
        known=True,
        sessions=1,
        purchases=1,
        revenue_micros=5_000_000,
        first_ms=earlier_ms,
        last_ms=earlier_ms,
        last_purchase_ms=earlier_ms,
    )
    latest = LatestFeatures()
    latest.update(ROWS, feature_rows([feature_row(one, 0.0, None) for one in (ann, bob)]))
    return latest


def point(latest: LatestFeatures, row: int, now_ms: int) -> dict[str, float]:
    """The models' input that is not 0, without logarithms."""
    (values,) = latest.points(ROWS[row : row + 1], now_ms).tolist()
    named = dict(zip(SHOPPER_FEATURES, values, strict=True))
    is_plain = ("has_purchase", "category_share")
    raw = {name: v if name in is_plain else np.expm1(v) for name, v in named.items()}
    return {name: round(float(v), 3) for name, v in raw.items() if v}


def test_the_input_of_the_models_ages_with_the_time_it_is_made_for() -> None:
    latest = features()
    assert point(latest, 0, T) == {"sessions": 1, "views": 3}
    assert point(latest, 0, T - DAY_MS) == point(latest, 0, T)
    aged = {"days_known": 2, "days_since_seen": 2, "days_since_purchase": 2, "overdue": 2}
    assert point(latest, 0, T + 2 * DAY_MS) == {"sessions": 1, "views": 3, **aged}
    assert point(latest, 1, T) == {
        "sessions": 1,
        "purchases": 1,
        "revenue": 5,
        "order_value": 5,
        "has_purchase": 1,
        "days_known": 10,
        "days_since_seen": 10,
        "days_since_purchase": 10,
        "overdue": 10,
    }


def test_each_shopper_has_its_own_decision_time_in_a_period_until_it_was_inactive_too_long() -> (
    None
):
    period_ms = PERIOD * TICK_MS
    ann_ms, bob_ms = (first_tick_ms(name, T, PERIOD) for name in NAMES)
    idle_ms = np.array([period_ms, 10 * DAY_MS + period_ms])
    at_ms, rows = features().decisions_due(NAMES, T, T + 2 * period_ms, idle_ms, PERIOD)
    due = list(zip(at_ms.tolist(), rows.tolist(), strict=True))
    assert due == sorted([(ann_ms, 0), (bob_ms, 1)])


def test_a_removed_shopper_has_no_features() -> None:
    latest = features()
    latest.set_segments(ROWS, np.array([3, 1], np.uint8))
    latest.set_published(ROWS, np.array([[1, 2, 3], [4, 5, 6]], np.int16))
    latest.remove_shoppers(ROWS[:1])
    assert latest.live_rows().tolist() == [1]
    assert latest.segment_bits[:2].tolist() == [0, 1]
    assert latest.published_steps[:2].tolist() == [[NO_STEP] * 3, [4, 5, 6]]


def test_restored_features_are_equal() -> None:
    latest, restored = features(), LatestFeatures()
    restored.restore(latest.arrays())
    assert [point(restored, row, T + DAY_MS) for row in (0, 1)] == [
        point(latest, row, T + DAY_MS) for row in (0, 1)
    ]
    assert restored.has_bought(ROWS).tolist() == [False, True]
