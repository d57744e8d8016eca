"""Forward decay: stored weights are never touched, and yet decay."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.tables.decay_clock import DecayClock, decay

HALF_LIFE_MS = 1000


@given(st.lists(st.integers(0, 2_000_000), min_size=1, max_size=20))
def test_weights_decay_as_they_would_one_by_one(times: list[int]) -> None:
    clock, stored = DecayClock(HALF_LIFE_MS), np.zeros(1, np.float32)
    for at_ms in sorted(times):
        at = np.array([at_ms])
        if doublings := clock.advance(at):
            decay(stored, doublings)
        stored += clock.encode_scale(at)
    now_ms = max(times) + 500
    expected = sum(0.5 ** ((now_ms - at_ms) / HALF_LIFE_MS) for at_ms in times)
    assert float(stored[0]) * clock.decode_scale(now_ms) == pytest.approx(expected, rel=1e-4)


def test_years_do_not_overflow() -> None:
    clock = DecayClock(HALF_LIFE_MS)
    clock.advance(np.array([0]))
    assert clock.advance(np.array([10**12])) == 10**9
    assert np.isfinite(clock.encode_scale(np.array([10**12]))).all()


def test_another_half_life_keeps_what_weights_count_at_their_newest_time() -> None:
    slow, fast = DecayClock(HALF_LIFE_MS), DecayClock(HALF_LIFE_MS // 4)
    slow.advance(np.array([0, 5000]))
    fast.restore(slow.to_array())
    assert fast.decode_scale(5000) == pytest.approx(slow.decode_scale(5000))
    assert fast.decode_scale(6000) == pytest.approx(slow.decode_scale(5000) / 16)


def test_a_clock_before_its_first_weight_is_stored_as_nothing() -> None:
    clock = DecayClock(HALF_LIFE_MS)
    clock.restore(DecayClock(HALF_LIFE_MS).to_array())
    assert clock.to_array().tolist() == []
    with pytest.raises(ValueError, match="half_life_ms must be at least 1, got 0"):
        DecayClock(0)
