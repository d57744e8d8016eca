"""Cycles are freed while the collector is off, the new ones soon and the others in time."""

from __future__ import annotations

import gc
import weakref

from flows.process.gc_control import (
    FULL_INTERVAL_S,
    SERVER_YOUNG_OBJECTS,
    YOUNG_INTERVAL_S,
    GcScheduler,
    gc_disabled,
    spare_server,
)


class Ring:
    """Holds itself."""

    def __init__(self) -> None:
        self.self = self


def test_a_new_cycle_is_freed_by_the_next_young_collection_and_an_old_one_by_a_full_one() -> None:
    with gc_disabled():
        sweeper = GcScheduler(0.0)
        held = Ring()
        old = weakref.ref(held)
        new = weakref.ref(Ring())
        sweeper.collect_if_due(YOUNG_INTERVAL_S / 2)
        assert new() is not None
        sweeper.collect_if_due(YOUNG_INTERVAL_S)
        assert new() is None
        del held
        sweeper.collect_if_due(2 * YOUNG_INTERVAL_S)
        assert old() is not None
        sweeper.collect_if_due(FULL_INTERVAL_S)
        assert old() is None


def test_a_server_still_frees_cycles() -> None:
    before = gc.get_threshold()
    try:
        spare_server()
        new = weakref.ref(Ring())
        held = [[number] for number in range(2 * SERVER_YOUNG_OBJECTS)]
        assert (new(), len(held)) == (None, 2 * SERVER_YOUNG_OBJECTS)
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
