"""The hash of variants: published cases, shares, and independence by chi-square."""

from __future__ import annotations

from functools import cache
from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from numpy.typing import NDArray
from scipy import stats

from operators.experiments.assign import bucket_of, fnv1a_32, is_held_out, variant_of
from operators.experiments.definitions import Experiments
from tests.operators.experiments.files import home

Hashes = NDArray[np.uint32]
MILLION = 1_000_000


@pytest.mark.parametrize(
    ("seed", "unit_id", "share"),
    [
        ("seed", "a", 0.0505),
        ("seed", "b", 0.2696),
        ("foo", "ab", 0.2575),
        ("foo", "def", 0.2019),
        ("89123klj", "8952klfjas09ujkasdf", 0.124),
        ("90850943850283058242805", "123", 0.7516),
        ("()**(%$##$%#$#", '___)((*":&', 0.0128),
    ],
)
def test_the_published_cases_of_version_2(seed: str, unit_id: str, share: float) -> None:
    assert bucket_of(seed, unit_id) == round(share * 10_000)


@pytest.mark.parametrize(
    ("text", "digest"),
    # The last: one unit of UTF-16, as in JavaScript.
    [
        ("", 0x811C9DC5),
        ("a", 0xE40C292C),
        ("foobar", 0xBF9CF968),
        ("é", (0x811C9DC5 ^ 0xE9) * 0x01000193 % 2**32),
    ],
)
def test_the_hash_below_it(text: str, digest: int) -> None:
    assert fnv1a_32(text) == digest


def buckets(seed: str, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """The buckets of the ids `v0000000` and so on, by array: the hash written a second time."""
    digests = np.full(len(numbers), fnv1a_32(f"{seed}v"), np.uint32)
    return _fold(_fold(digests, numbers, 7), None, 0).astype(np.int64)


def _fold(digests: Hashes, numbers: NDArray[np.int64] | None, digits: int) -> Hashes:
    if numbers is None:
        texts = np.char.mod("%d", digests).astype("S10")
        units = texts.view(np.uint8).reshape(len(digests), 10)
        digests = np.full(len(digests), 0x811C9DC5, np.uint32)
        for column in units.T:
            hashed = (digests ^ column) * np.uint32(0x01000193)
            digests = np.where(column > 0, hashed, digests)
        return digests % np.uint32(10_000)
    for digit in range(digits - 1, -1, -1):
        unit = (ord("0") + numbers // 10**digit % 10).astype(np.uint32)
        digests = (digests ^ unit) * np.uint32(0x01000193)
    return digests


IDS = np.arange(MILLION)


@cache
def all_buckets(seed: str) -> NDArray[np.int64]:
    return buckets(seed, IDS)


def test_the_array_hash_is_the_product_hash() -> None:
    found = buckets("home:2024-12-01", IDS[::997])
    assert found.tolist() == [bucket_of("home:2024-12-01", f"v{n:07d}") for n in IDS[::997]]


@pytest.mark.parametrize("seed", ["home:2024-12-01", "cart:2024-12-01", "holdout"])
def test_shares_of_a_million_ids_are_within_four_standard_errors(seed: str) -> None:
    found = all_buckets(seed)
    for border in (100, 1_000, 3_333, 5_000, 9_000):
        share = border / 10_000
        error = sqrt(share * (1 - share) / MILLION)
        assert abs((found < border).mean() - share) < 4 * error


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("home:2024-12-01", "cart:2024-12-01"),  # two experiments
        ("home:2024-12-01", "home:2024-12-02"),  # one that started anew
        ("home:2024-12-01", "holdout"),
    ],
)
def test_experiments_and_the_hold_out_are_independent(first: str, second: str) -> None:
    cells = np.bincount(all_buckets(first) // 1_000 * 10 + all_buckets(second) // 1_000)
    assert stats.chi2_contingency(cells.reshape(10, 10)).pvalue > 0.001


def test_the_variant_is_that_of_the_bucket() -> None:
    experiment = replace(home(), shares={"control": 1_000, "warm": 4_500, "bright": 4_500})
    for n in range(500):
        bucket = bucket_of("home-diversity:2024-12-01", f"v{n}")
        expected = "control" if bucket < 1_000 else "warm" if bucket < 5_500 else "bright"
        assert variant_of(experiment, f"v{n}") == expected


@given(st.text(max_size=20), st.integers(1, 9_998))
def test_a_change_of_shares_moves_only_ids_between_the_borders(unit_id: str, border: int) -> None:
    before = replace(home(), shares={"control": border, "varied": 10_000 - border})
    after = replace(home(), shares={"control": border + 1, "varied": 9_999 - border})
    moved = variant_of(before, unit_id) != variant_of(after, unit_id)
    assert moved == (bucket_of(before.seed, unit_id) == border)


def test_the_hold_out_is_its_share() -> None:
    held_out = Experiments((), 500)
    assert [is_held_out(held_out, f"v{n:07d}") for n in range(300)] == (
        buckets("holdout", IDS[:300]) < 500
    ).tolist()
    assert not any(is_held_out(Experiments(), f"v{n}") for n in range(300))
