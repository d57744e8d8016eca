"""The cycle collector, kept off a heap of millions of live objects.

What runs for every event makes no cycles (`tests/flows/test_dataflow.py` holds it to that), so a
pass would walk
all of them to free nothing: a fifth of the run, measured. kafka-python does make some: every poll that
times out leaves one that holds its last records. A live run would grow by half a megabyte a second.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

YOUNG_INTERVAL_S = 2.0
FULL_INTERVAL_S = 3600.0
_YOUNG_GENERATION = 1


@contextmanager
def gc_disabled() -> Iterator[None]:
    """Keep the cycle collector off while inside."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


class GcScheduler:
    """Frees cycles in a run that lasts; call `collect_if_due` now and then with `time.monotonic`.

    What was made since the last time is looked at often, which costs what is new. A poll under way at
    that moment is no garbage yet and counts as old from then on: all is looked at once an hour.
    """

    def __init__(self, now_s: float) -> None:
        self._last_young_s = self._last_full_s = now_s

    def collect_if_due(self, now_s: float) -> None:
        """Collect what is due."""
        if now_s - self._last_full_s >= FULL_INTERVAL_S:
            self._last_full_s = self._last_young_s = now_s
            gc.collect()
        elif now_s - self._last_young_s >= YOUNG_INTERVAL_S:
            self._last_young_s = now_s
            gc.collect(_YOUNG_GENERATION)
