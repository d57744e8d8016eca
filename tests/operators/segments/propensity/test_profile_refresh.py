"""The profiles of inactive shoppers: their fields are updated as predictions change with time."""

from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from operators.segments.propensity import profile_refresh
from operators.segments.propensity.feature_store import LatestFeatures
from operators.segments.propensity.features import DAYS_SINCE_SEEN
from operators.segments.propensity.profile_refresh import ProfileRefresh
from operators.shoppers.features import feature_row, feature_rows
from state.profile_fields import ProfileUpdate
from state.shopper import Shopper
from state.times import DAY_MS

if TYPE_CHECKING:
    from operators.segments.propensity.weekly_models import WeeklyModels

Floats = NDArray[np.float64]

NAMES = ["ann", "bob", "eve"]
ROWS = np.arange(3, dtype=np.int32)
T = 1000 * DAY_MS


class Chance(NamedTuple):
    """A model that has learned enough."""

    ready: bool = True


class DaysDecide:
    """Models by which all depends on the days without activity: none is 0.5, a day or more 0.1."""

    buys = Chance()

    def predict(self, points: Floats) -> tuple[Floats, Floats, Floats]:
        """The same of each field but the amount, which is 9."""
        chance = np.where(points[:, DAYS_SINCE_SEEN] > 0, 0.1, 0.5)
        return chance, chance, np.full(len(points), 9.0)


def refresh() -> ProfileRefresh:
    """All shoppers were active at T, and none has a published field."""
    features = LatestFeatures()
    features.update(
        ROWS, feature_rows([feature_row(Shopper(known=False, first_ms=T, last_ms=T), 0, None)] * 3)
    )
    return ProfileRefresh(features, cast("WeeklyModels", DaysDecide()))


def update(name: str, chance: str) -> ProfileUpdate:
    """Both chances, and the amount."""
    return ProfileUpdate(name, {"p_buy_30d": chance, "p_churn": chance, "value_30d": "8.97"})


def test_a_profile_is_updated_when_a_prediction_changed_and_only_then() -> None:
    profiles = refresh()
    assert profiles.refresh(NAMES, T, last=False) == []
    profiles.restart(ROWS)
    assert profiles.refresh(NAMES, T, last=False) == [update(name, "0.5") for name in NAMES]
    profiles.restart(ROWS)
    assert profiles.refresh(NAMES, T, last=False) == []
    profiles.restart(ROWS)
    assert profiles.refresh(NAMES, T + DAY_MS, last=True) == [update(name, "0.1") for name in NAMES]


def test_some_profiles_are_examined_with_each_batch_and_all_with_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(profile_refresh, "PROFILES_PER_BATCH", 2)
    profiles = refresh()
    profiles.restart(ROWS)
    batches = [profiles.refresh(NAMES, T, last=False) for _ in range(3)]
    assert batches == [[update("ann", "0.5"), update("bob", "0.5")], [update("eve", "0.5")], []]
    profiles.restart(ROWS)
    assert len(profiles.refresh(NAMES, T + DAY_MS, last=True)) == 3


def test_fields_of_an_older_release_are_removed_once() -> None:
    profiles = refresh()
    profiles.remove_fields_of(ROWS[:1])
    assert profiles.removes_fields
    removed = dict.fromkeys(("p_buy_30d", "p_churn", "value_30d"), "")
    assert profiles.refresh(NAMES, T, last=False) == [ProfileUpdate("ann", removed)]
    assert not profiles.removes_fields
