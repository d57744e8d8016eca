"""The cycle collector, kept off a heap of millions of live objects.

What runs for every event makes no cycles (`tests/test_flow.py` holds it to that), so a pass would walk
all of them to free nothing: a fifth of the run, measured. kafka-python does make some: every poll that
times out leaves one that holds its last records. A live run would grow by half a megabyte a second.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_YOUNG = 1


@contextmanager
def without_cycle_collector() -> Iterator[None]:
    """Keep the cycle collector off while inside."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def collect_young() -> None:
    """Free the cycles among what is new since the last call; what outlived that is left alone."""
    gc.collect(_YOUNG)
