"""One scenario: how much is sent, the outcome of an undisturbed run, and what many scenarios do.

A scenario takes the world and the size of it and returns a note for the table; it raises
AssertionError where something was lost or counted twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.chaos import shop
from tests.chaos.outcome import Outcome, outcome

if TYPE_CHECKING:
    from tests.chaos.shop import Record
    from tests.chaos.world import World


ROOT = Path(__file__).parents[2]


class Size(NamedTuple):
    """How much is sent, how fast, and how often something is killed."""

    events: int = 40_000
    per_s: float = 2000
    kills: int = 20
    seed: int = 7
    pause_s: float = 60

    @property
    def lasts_s(self) -> float:
        """How long sending takes."""
        return self.events / self.per_s


Scenario = Callable[["World", Size], str]
Scenarios = dict[str, Scenario]
_outcomes: dict[int, Outcome] = {}


def scenario(table: Scenarios, name: str) -> Callable[[Scenario], Scenario]:
    """Put a function into a table of scenarios."""

    def put(run: Scenario) -> Scenario:
        table[name] = run
        return run

    return put


def undisturbed(world: World, sent: list[Record]) -> Outcome:
    """The outcome of one process that nothing disturbs; the world is empty again afterwards."""
    key = hash(tuple(sent))
    if key not in _outcomes:
        world.send(sent)
        world.start()
        world.finish(len(sent))
        _outcomes[key] = outcome(world.store())
        world.begin()
    return _outcomes[key]


def shop_records(size: Size) -> list[Record]:
    return shop.records(size.events, size.seed)


def killed_once(world: World, sent: list[Record], size: Size) -> None:
    """Send at once, kill the worker in the middle, start it again, drain and stop."""
    world.send(sent)
    worker = world.start()
    while world.counted() < len(sent) // 4:
        assert worker.is_alive, worker.stderr_text[-2000:]
        time.sleep(0.005)
    worker.kill()
    world.start()
    world.finish(len(sent))
