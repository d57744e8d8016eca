"""The fence: only connections of the same lease with an older token are disconnected."""

from __future__ import annotations

import pytest

from state.errors import LeaseError
from state.store import Fence

FENCE = Fence("shop-a", token=7)


@pytest.mark.parametrize(
    ("connection_name", "is_older"),
    [
        (f"{Fence('shop-a', 6).connection_prefix}-f00", True),
        (f"{Fence('shop-a', 7).connection_prefix}-f00", False),
        (f"{Fence('shop-a', 10).connection_prefix}-f00", False),
        (f"{Fence('shop', 6).connection_prefix}-f00", False),
        ("penstock-writer-f00", False),
        ("", False),
    ],
)
def test_only_older_writers_of_the_same_lease_are_older(
    connection_name: str, is_older: bool
) -> None:
    assert FENCE.is_newer_than(connection_name) is is_older


def test_a_newer_token_is_an_error() -> None:
    for newest in (None, b"6", b"7"):
        FENCE.verify(newest)
    with pytest.raises(LeaseError) as lost:
        FENCE.verify(b"8")
    assert str(lost.value) == "another run took over shop-a (token 8 after 7): stop this one"
