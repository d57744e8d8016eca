"""A secret to sign with, an endpoint, and a shop whose changes are delivered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hooks_runs import SECRET, EndpointServer, Shop, endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_HOOKS_SECRET", SECRET)


@pytest.fixture
def receiver() -> Iterator[EndpointServer]:
    with endpoint() as one:
        yield one


@pytest.fixture
def shop(redis_url: str) -> Shop:
    return Shop(redis_url)
