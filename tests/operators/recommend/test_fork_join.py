"""Lists do not depend on the number of threads that make them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pytest

from operators.recommend.fork_join import REQUESTS_MIN, ForkJoin
from operators.recommend.standalone import StandaloneRecommender
from state.config_lists import Lists
from state.interactions import EventColumns

if TYPE_CHECKING:
    from collections.abc import Sequence

NOW_MS = 1_700_000_000_000
SHOPPERS = 3 * REQUESTS_MIN + 5


@pytest.fixture(autouse=True)
def _three_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2})


def lists(threads: int) -> list[list[tuple[str, float, str]]]:
    rng = np.random.default_rng(3)
    shoppers = [f"s{row}" for row in rng.integers(0, SHOPPERS, 6000)]
    items = [f"i{row}" for row in np.minimum(rng.geometric(0.02, 6000), 200)]
    at_ms = NOW_MS + rng.integers(0, 2000, 6000).cumsum()
    n = len(items)
    nothing: Sequence[None] = [None] * n
    recommender = StandaloneRecommender(Lists(ranking_threads=threads))
    recommender.learn(
        EventColumns(shoppers, items, [0] * n, [1.0] * n, at_ms, at_ms - 10**9, nothing, nothing)
    )
    return recommender.rank([f"s{row}" for row in range(SHOPPERS)], int(at_ms[-1])).entries()


def test_lists_are_equal_with_one_two_and_three_threads() -> None:
    alone = lists(1)
    assert len(alone) == SHOPPERS
    assert any(alone)
    assert lists(2) == alone
    assert lists(3) == alone


@pytest.mark.parametrize("requests", [0, 1, REQUESTS_MIN, 2 * REQUESTS_MIN, 5 * REQUESTS_MIN + 3])
def test_each_request_is_in_one_part(requests: int) -> None:
    parts = ForkJoin(3).map(lambda part: list(range(part.start, part.stop)), requests)
    assert [row for part in parts for row in part] == list(range(requests))
    assert len(parts) == max(1, min(3, requests // REQUESTS_MIN))


def test_an_error_in_a_thread_is_raised_after_all_threads_have_ended() -> None:
    ended = []

    def fail_in_the_last(part: slice) -> None:
        ended.append(part.start)
        if part.start:
            raise ValueError("the last part")

    with pytest.raises(ValueError, match="the last part"):
        ForkJoin(2).map(fail_in_the_last, 2 * REQUESTS_MIN)
    assert sorted(ended) == [0, REQUESTS_MIN]
