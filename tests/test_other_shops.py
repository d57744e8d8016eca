"""The blend in shops that it was not made on; the larger ones are those of `benchmarks.other_shops`."""

from __future__ import annotations

import pytest

from benchmarks.other_shops import TINY, gains, outcome


@pytest.mark.slow
@pytest.mark.parametrize("shop", ["tiny", "tiny_grocery"])
def test_in_a_shop_of_500_clicks_the_blend_loses_no_more_than_a_few_of_them(shop: str) -> None:
    found = outcome(shop)
    assert len(found.ranks) > 6
    # Of some hundred cases one weighs as much as is asked for at most of thousands: .003.
    assert min(gain.mean for gain in gains(found)) > -5 / TINY
