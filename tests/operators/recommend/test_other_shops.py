"""The blend in shops that it was not made on; the larger ones are those of `benchmarks.other_shops`."""

from __future__ import annotations

import pytest

from benchmarks.other_shops import TINY, gains, outcome


@pytest.mark.slow
@pytest.mark.parametrize("shop", ["tiny", "tiny_grocery"])
def test_in_a_shop_of_500_clicks_the_blend_loses_no_more_than_by_chance(shop: str) -> None:
    found = outcome(shop)
    assert len(found.ranks) > 6
    for gain in gains(found):
        assert not gain.is_loss
        # Of some hundred cases chance has a say, but not in one of fifty.
        assert gain.mean > -10 / TINY
