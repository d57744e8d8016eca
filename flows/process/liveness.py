"""The liveness of the worker: the time of its last progress, so that a stuck worker is detected.

A supervisor reads it through a few bytes of shared memory: `time.monotonic` of the last progress, a
clock that all processes of a host share.
"""

from __future__ import annotations

import mmap
import struct
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from bytewax.inputs import DynamicSource, StatelessSourcePartition

from flows.process.gc_control import GcScheduler

if TYPE_CHECKING:
    from collections.abc import Iterable

_SECONDS = struct.Struct("d")
PROGRESS_VARIABLE = "PENSTOCK_PULSE"
"""Environment variable of a supervised process: the file descriptor of the shared memory."""
START_TIMEOUT_S = 120.0
"""The longest time until the first progress: the process resumes its state."""
TICK_INTERVAL = timedelta(milliseconds=250)

_progress_s = time.monotonic()
_has_started = False
_shared: mmap.mmap | None = None


def mark_progress(*, has_started: bool = True) -> None:
    """Record progress. Only for the worker's own loop, and for waiting before it starts."""
    global _progress_s, _has_started
    _progress_s = time.monotonic()
    _has_started = has_started
    if has_started and _shared is not None:
        _SECONDS.pack_into(_shared, 0, _progress_s)


def progress_age_s() -> float:
    """Time since the last progress; before the first one, since the start of the process."""
    return time.monotonic() - _progress_s


def has_started() -> bool:
    """Whether the flow has started, after all waiting."""
    return _has_started


def attach_shared_memory(descriptor: int) -> None:
    """Write each progress to shared memory too, for the supervisor."""
    global _shared
    _shared = mmap.mmap(descriptor, _SECONDS.size)


def read_shared(shared: mmap.mmap) -> float:
    """When the last progress was (`time.monotonic` of any process of this host); 0 before the first."""
    progress_s: float = _SECONDS.unpack_from(shared, 0)[0]
    return progress_s


class _TickPartition(StatelessSourcePartition[None]):
    def __init__(self) -> None:
        self._gc_scheduler = GcScheduler(time.monotonic())

    def next_batch(self) -> Iterable[None]:
        mark_progress()
        self._gc_scheduler.collect_if_due(time.monotonic())
        return ()

    def next_awake(self) -> datetime:
        return datetime.now(UTC) + TICK_INTERVAL


class TickSource(DynamicSource[None]):
    """An input of every worker that gives no items. It marks progress and collects cycles regularly.

    It marks progress also while no events arrive. No step reads it, so it delays neither an epoch
    nor the end of the flow.
    """

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _TickPartition:
        """The partition of a worker."""
        return _TickPartition()
