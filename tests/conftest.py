"""Fixtures that several rooms' tests share, and how far property tests look.

`pytest` tries the same examples every time; `pytest --hypothesis-profile=deep` many others.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from flows.embedded import EmbeddedRedis
from tests.kafka_broker import KafkaBroker, why_not

if TYPE_CHECKING:
    from collections.abc import Iterator


# A machine that is busy is no reason to fail.
settings.register_profile("quick", deadline=None, derandomize=True, max_examples=50)
settings.register_profile(
    "deep", deadline=None, max_examples=2000, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("quick")


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


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[KafkaBroker]:
    """A real Kafka broker that a test may kill and start again; each pytest worker has its own."""
    if missing := why_not():
        if os.environ.get("REQUIRE_KAFKA"):
            pytest.fail(f"REQUIRE_KAFKA is set, and there is {missing}")
        pytest.skip(missing)
    with KafkaBroker() as broker:
        yield broker
