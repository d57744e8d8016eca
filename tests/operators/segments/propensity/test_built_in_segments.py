"""The built-in segments of propensity: who is in which, by rank among all shoppers."""

import numpy as np
import pytest

from operators.segments.propensity.built_in_segments import (
    DORMANT,
    HIGH_VALUE,
    IDS,
    LONG_SHOT,
    READY,
    VIP,
    ScoredRows,
    assign,
    compute_thresholds,
    definitions,
)
from state.times import DAY_MS

N = 1000
RANKS = (np.arange(N) + 0.5) / N
DORMANT_MS = 60 * DAY_MS


def assigned(*, unseen_days: int = 0, has_bought: bool = True, current: int = 0) -> list[int]:
    """The segments of a shopper at each rank of chance and value alike."""
    rows = ScoredRows(
        RANKS,
        RANKS,
        np.full(N, unseen_days * DAY_MS),
        np.full(N, has_bought),
        np.full(N, current, np.uint8),
    )
    return [int(bits) for bits in assign(compute_thresholds(RANKS, RANKS), rows, DORMANT_MS)]


def share(segments: list[int], bit: int) -> tuple[float, float]:
    """The lowest and the highest rank of a segment's members."""
    members = [rank for rank, bits in zip(RANKS, segments, strict=True) if bits & bit]
    return round(min(members, default=0), 2), round(max(members, default=0), 2)


def test_each_segment_has_the_ranks_of_its_definition() -> None:
    active = assigned()
    assert share(active, READY) == (0.8, 1)
    assert share(active, LONG_SHOT) == (0.25, 0.65)
    assert share(active, HIGH_VALUE) == (0.9, 1)
    assert share(active, VIP) == (0.8, 1)
    assert share(active, DORMANT) == (0, 0)


def test_long_shots_bought_before_vips_were_seen_lately_and_dormant_shoppers_were_not() -> None:
    assert share(assigned(has_bought=False), LONG_SHOT) == (0, 0)
    assert share(assigned(unseen_days=15), VIP) == (0, 0)
    assert share(assigned(unseen_days=60), DORMANT) == (0, 0.25)


@pytest.mark.parametrize(
    ("bit", "stays", "unseen_days"),
    [
        (READY, (0.78, 1), 0),
        (LONG_SHOT, (0.23, 0.67), 0),
        (HIGH_VALUE, (0.88, 1), 0),
        (VIP, (0.78, 1), 0),
        (DORMANT, (0, 0.27), 60),
    ],
)
def test_a_member_stays_within_a_margin_beyond_the_threshold(
    bit: int, stays: tuple[float, float], unseen_days: int
) -> None:
    assert share(assigned(current=bit, unseen_days=unseen_days), bit) == stays


def test_every_segment_has_a_definition_with_its_status() -> None:
    found = definitions(60, "live")
    assert [one.id for one in found] == list(IDS.values())
    assert {(one.kind, one.status, one.version) for one in found} == {("propensity", "live", 1)}
