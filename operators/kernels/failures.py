"""How often each kernel raised in this process. Needs no Numba: metrics read it."""

from __future__ import annotations

import logging
from collections import Counter

log = logging.getLogger("penstock.kernels")

failure_counts: Counter[str] = Counter()
"""How often each kernel raised, and its Python source ran in its place, since the process started."""


def count_failure(kernel: str) -> None:
    """Count the current exception of a kernel; the first one of each kernel is logged."""
    failure_counts[kernel] += 1
    if failure_counts[kernel] == 1:
        log.exception(
            "kernel %s raised: its Python source runs in its place, which is slow; "
            "nothing is lost; please report this",
            kernel,
            extra={"event": "kernel_failed", "kernel": kernel},
        )
