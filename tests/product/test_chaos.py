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

ROOT = Path(__file__).parents[2]
SMALL = Size(events=6000, per_s=1000, kills=2, pause_s=3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kill -9 a worker at random moments", "1 % poison messages"])
def test_the_facts_are_those_of_an_undisturbed_run(name: str) -> None:
    if missing := why_not():
        assert not os.environ.get("REQUIRE_KAFKA"), missing
        pytest.skip(missing)
    with World() as world:
        assert SCENARIOS[name](world, SMALL)


@pytest.mark.slow
def test_the_page_of_the_last_run_speaks_of_this_code() -> None:
    page = ROOT / "docs/chaos.md"
    assert code.digest_in(page) == code.digest(), "the code has changed since: make chaos"
    rows = [line for line in page.read_text().splitlines() if line.startswith("| ")][1:]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == [*SCENARIOS]
    assert [row for row in rows if row.split(" | ")[1] != "yes"] == []
