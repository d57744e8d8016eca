"""Control of Python's cycle collector, which would otherwise walk millions of live objects.

Code that runs for every event creates no cycles (a test of the flow checks it), so a collection
would free nothing and cost a fifth of the run (measured). kafka-python creates some: every poll
that times out leaves one that holds its last records. Without collections a live run would grow by
half a megabyte a second.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

YOUNG_INTERVAL_S = 2.0
FULL_INTERVAL_S = 3600.0
SERVER_YOUNG_OBJECTS = 10_000
_YOUNG_GENERATION = 1


@contextmanager
def gc_disabled() -> Iterator[None]:
    """Disable the cycle collector while inside."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def spare_server() -> None:
    """Let the cycle collector run seldom, and never walk what was made before.

    A server makes few cycles, those of failures. What it remembers (cards, answers) has none, and to
    walk it took a tenth of the time of a list.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(SERVER_YOUNG_OBJECTS, 10, 50)


class GcScheduler:
    """Frees cycles during a long run; call `collect_if_due` regularly with `time.monotonic`.

    Young objects are collected often, at a cost proportional to their number. A poll that is
    running at that moment is no garbage yet and counts as old afterwards, so all objects are
    collected once an hour.
    """

    def __init__(self, now_s: float) -> None:
        self._last_young_s = self._last_full_s = now_s

    def collect_if_due(self, now_s: float) -> None:
        """Collect young objects, or all, if their interval is over."""
        if now_s - self._last_full_s >= FULL_INTERVAL_S:
            self._last_full_s = self._last_young_s = now_s
            gc.collect()
        elif now_s - self._last_young_s >= YOUNG_INTERVAL_S:
            self._last_young_s = now_s
            gc.collect(_YOUNG_GENERATION)
