"""Cycles are freed while the collector is off, the new ones soon and the others in time."""

from __future__ import annotations

import weakref

from flows.process.gc_control import ALL_EVERY_S, YOUNG_EVERY_S, Sweeper, without_cycle_collector


class Ring:
    """Holds itself."""

    def __init__(self) -> None:
        self.self = self


def test_a_new_cycle_goes_with_the_next_sweep_and_an_old_one_with_the_great_one() -> None:
    with without_cycle_collector():
        sweeper = Sweeper(0.0)
        held = Ring()
        old = weakref.ref(held)
        new = weakref.ref(Ring())
        sweeper.sweep(YOUNG_EVERY_S / 2)
        assert new() is not None
        sweeper.sweep(YOUNG_EVERY_S)
        assert new() is None
        del held
        sweeper.sweep(2 * YOUNG_EVERY_S)
        assert old() is not None
        sweeper.sweep(ALL_EVERY_S)
        assert old() is None
