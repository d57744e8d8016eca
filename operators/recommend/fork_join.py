"""Shares out the requests of a batch to threads and waits for all of them.

Kernels hold no lock of the interpreter, so each thread has a core of its own. What is shared out only
reads tables, and each part of the requests has results of its own: the result does not depend on the
number of threads.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")

REQUESTS_MIN = 256
"""Requests a thread at least: fewer take less time than waking a thread, which takes up to 2 ms."""


class ForkJoin:
    """At most `threads` parts, no more than there are cores; the first in the calling thread."""

    def __init__(self, threads: int) -> None:
        self._threads = max(1, min(threads, len(os.sched_getaffinity(0))))
        self._pool: ThreadPoolExecutor | None = None

    def map(self, function: Callable[[slice], Result], requests: int) -> list[Result]:
        """The results of a function of some of the requests, in order; all requests are in one part.

        >>> ForkJoin(2).map(lambda part: part.stop - part.start, 700) in ([700], [350, 350])
        True
        """
        parts = self._parts(requests)
        if len(parts) == 1:
            return [function(parts[0])]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads - 1, "penstock-ranking")
        others = [self._pool.submit(function, part) for part in parts[1:]]
        try:
            first = function(parts[0])
        finally:
            # Nothing may change the tables while a thread still reads them.
            wait(others)
        return [first, *(other.result() for other in others)]

    def _parts(self, requests: int) -> list[slice]:
        count = max(1, min(self._threads, requests // REQUESTS_MIN))
        bounds = [requests * index // count for index in range(count + 1)]
        return [slice(*pair) for pair in pairwise(bounds)]
