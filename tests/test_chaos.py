"""Two of the scenarios of `make chaos`, seeded and small."""

from __future__ import annotations

import os

import pytest

from tests.chaos.scenarios import SCENARIOS, Size
from tests.chaos.world import World
from tests.kafka_broker import why_not

SMALL = Size(events=6000, per_s=1000, kills=2, pause_s=3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kill -9 a worker at random moments", "1 % poison messages"])
def test_the_facts_are_those_of_an_undisturbed_run(name: str) -> None:
    if missing := why_not():
        assert not os.environ.get("REQUIRE_KAFKA"), missing
        pytest.skip(missing)
    with World() as world:
        assert SCENARIOS[name](world, SMALL)
