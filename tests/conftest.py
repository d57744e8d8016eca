"""Fixtures that several rooms' tests share, and how far property tests look.

`pytest` tries the same examples every time; `pytest --hypothesis-profile=deep` many others.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from flows.process.embedded_redis import EmbeddedRedis
from flows.process.kernel_cache import open_cache
from operators.events import processing_errors as faults
from state.config import Settings
from tests.installed import environment
from tests.kafka_broker import AnyBroker, KafkaBroker, why_not
from tests.pages import Watched, chromium

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

OWN_KAFKA = "KAFKA_BOOTSTRAP_SERVERS"

# A machine that is busy is no reason to fail.
settings.register_profile("quick", deadline=None, derandomize=True, max_examples=50)
settings.register_profile(
    "deep", deadline=None, max_examples=2000, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("quick")


@pytest.fixture(scope="session", autouse=True)
def _as_installed() -> None:
    """Programs that tests start do without what only tests need."""
    os.environ.update(environment())
    open_cache(Settings())


@pytest.fixture(autouse=True)
def processing_errors() -> Iterator[list[logging.LogRecord]]:
    """What the flow set apart because it raised: nothing, or a test takes it out."""
    found: list[logging.LogRecord] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record)

    handler = Kept()
    faults.log.addHandler(handler)
    yield found
    faults.log.removeHandler(handler)
    assert [record.getMessage() for record in found] == []


@pytest.fixture(scope="session")
def redis_server() -> Iterator[EmbeddedRedis]:
    """A real Redis; each pytest worker has its own."""
    with EmbeddedRedis() as server:
        yield server


@pytest.fixture
def redis_url(redis_server: EmbeddedRedis) -> str:
    """Where an empty Redis listens."""
    redis_server.send_command("FLUSHALL")
    return redis_server.url


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[AnyBroker]:
    """A real Kafka broker: one of our own, or the one that KAFKA_BOOTSTRAP_SERVERS names."""
    if address := os.environ.get(OWN_KAFKA):
        yield AnyBroker(address)
        return
    _need_kafka()
    with KafkaBroker() as broker:
        yield broker


def _need_kafka() -> None:
    if missing := why_not():
        if os.environ.get("REQUIRE_KAFKA"):
            pytest.fail(f"REQUIRE_KAFKA is set, and there is {missing}")
        pytest.skip(missing)


@pytest.fixture(scope="session")
def own_kafka() -> None:
    """A test that starts brokers of its own: skipped where that cannot be."""
    if os.environ.get(OWN_KAFKA):
        pytest.skip(f"{OWN_KAFKA} names a broker: none other is started")
    _need_kafka()


@pytest.fixture
def killable_kafka_broker(kafka_broker: AnyBroker) -> KafkaBroker:
    """A broker that a test may kill and start again; without one the test is skipped."""
    if not isinstance(kafka_broker, KafkaBroker):
        pytest.skip(f"{OWN_KAFKA} names a broker that is not ours to kill")
    return kafka_broker


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, once for all tests."""
    program = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Browser) -> Iterator[Watched]:
    """A page that must not complain of anything."""
    watched = Watched(browser)
    yield watched
    watched.close()
    assert watched.complaints == []
