"""The members of the built-in segments: transitions as thresholds and predictions change."""

import numpy as np

from operators.segments.propensity.feature_store import LatestFeatures
from operators.segments.propensity.profile_fields import PropensityScores
from operators.segments.propensity.ranked_segments import RankedSegments
from operators.shoppers.features import feature_row, feature_rows
from state.entries import Transition
from state.shopper import Shopper
from state.times import DAY_MS, HOUR_MS

N = 100
NAMES = [f"s{row}" for row in range(N)]
ROWS = np.arange(N, dtype=np.int32)
T = 1000 * DAY_MS


def features() -> LatestFeatures:
    """Shoppers without a purchase, last active at T."""
    latest = LatestFeatures()
    row = feature_row(Shopper(known=False, first_ms=T, last_ms=T), 0.0, None)
    latest.update(ROWS, feature_rows([row] * N))
    return latest


def scores(chance: np.ndarray) -> PropensityScores:
    """Chances of a purchase; the same value of all."""
    return PropensityScores(chance, chance, chance, np.ones(len(chance)))


def ready(names: list[str], *, entered: bool, at_ms: int) -> list[Transition]:
    """Transitions of Ready to buy."""
    return [Transition(name, "propensity-ready-to-buy", entered, at_ms) for name in names]


def test_nobody_is_a_member_before_there_are_thresholds() -> None:
    segments = RankedSegments(features(), 60)
    assert not segments.is_live
    assert segments.assign_active(NAMES, ROWS, scores(np.ones(N)), np.full(N, T)) == []


def test_all_shoppers_are_assigned_by_rank_and_then_those_who_are_active() -> None:
    segments = RankedSegments(features(), 60)
    chance = np.arange(N) / N
    assert segments.assign_all(NAMES, ROWS, scores(chance), T + 5) == ready(
        NAMES[80:], entered=True, at_ms=T + 5
    )
    assert segments.is_live
    active = ROWS[[79, 99]]
    assert segments.assign_active(
        ["s79", "s99"], active, scores(np.array([0.9, 0.1])), np.full(2, T + 9)
    ) == [*ready(["s79"], entered=True, at_ms=T + 9), *ready(["s99"], entered=False, at_ms=T + 9)]


def test_all_shoppers_are_due_every_hour_after_enough_activations_and_once_a_day() -> None:
    segments = RankedSegments(features(), 60)
    assert segments.start_round(T, N, last=False)
    assert not segments.start_round(T + HOUR_MS, N, last=False)
    segments.count_activations(N // 2)
    assert segments.start_round(T + HOUR_MS, N, last=False)
    assert not segments.start_round(T + HOUR_MS, N, last=False)
    assert segments.start_round(T + HOUR_MS, N, last=True)
    assert segments.start_round(T + HOUR_MS + DAY_MS, N, last=False)


def test_restored_segments_have_the_same_members_and_thresholds() -> None:
    latest, kept = features(), features()
    segments, restored = RankedSegments(latest, 60), RankedSegments(kept, 60)
    segments.assign_all(NAMES, ROWS, scores(np.arange(N) / N), T)
    kept.restore(latest.arrays())
    restored.restore(segments.arrays())
    moved = scores(np.arange(N)[::-1] / N)
    at_ms = np.full(N, T)
    assert restored.assign_active(NAMES, ROWS, moved, at_ms) == segments.assign_active(
        NAMES, ROWS, moved, at_ms
    )
    assert restored.remove_all(NAMES, ROWS, T) == ready(NAMES[:20], entered=False, at_ms=T)
