"""Fixtures that several rooms' tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flows.embedded import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def redis_server() -> Iterator[EmbeddedRedis]:
    """A real Redis; each pytest worker has its own."""
    with EmbeddedRedis() as server:
        yield server


@pytest.fixture
def redis_url(redis_server: EmbeddedRedis) -> str:
    """Where an empty Redis listens."""
    redis_server.ask("FLUSHALL")
    return redis_server.url
