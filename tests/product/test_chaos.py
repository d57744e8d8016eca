"""Two of the scenarios of `make chaos`, seeded and small."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks import code
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.trial import Size
from tests.chaos.world import World
from tests.kafka_broker import why_not

PAGE = Path(__file__).parents[2] / "docs/chaos.md"
SMALL = Size(events=6000, per_s=1000, kills=2, pause_s=3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kill -9 a worker at random moments", "1 % poison messages"])
def test_the_facts_are_those_of_an_undisturbed_run(name: str) -> None:
    if missing := why_not():
        assert not os.environ.get("REQUIRE_KAFKA"), missing
        pytest.skip(missing)
    with World() as world:
        assert SCENARIOS[name](world, SMALL)


def test_the_page_tells_of_every_scenario_and_all_held() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")][1:]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == [*SCENARIOS]
    assert [row for row in rows if row.split(" | ")[1] != "yes"] == []


@pytest.mark.long
def test_the_page_of_a_release_speaks_of_its_code() -> None:
    """Not with every change: each would ask for ten minutes of `make chaos`."""
    assert code.digest_in(PAGE) == code.digest(), "the code has changed since: make chaos"
