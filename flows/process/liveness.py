"""The worker's pulse: it beats when the worker moves, so that one that is stuck does not look alive.

A supervisor sees it from outside through a few bytes of shared memory: `time.monotonic` of the last
beat, a clock that all processes of a host share.
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
"""Tells a process that it is supervised, and by which file descriptor it shows its pulse."""
START_TIMEOUT_S = 120.0
"""How long a process may take to its first beat: it resumes what is stored."""
TICK_INTERVAL = timedelta(milliseconds=250)

_progress_s = time.monotonic()
_has_started = False
_shared: mmap.mmap | None = None


def mark_progress(*, has_started: bool = True) -> None:
    """Called from the worker's own loop, never from a thread beside it, or before there is one."""
    global _progress_s, _has_started
    _progress_s = time.monotonic()
    _has_started = has_started
    if has_started and _shared is not None:
        _SECONDS.pack_into(_shared, 0, _progress_s)


def progress_age_s() -> float:
    """How long ago the last beat was; before the first one, since the process began."""
    return time.monotonic() - _progress_s


def has_started() -> bool:
    """Whether the worker has begun, after whatever it had to wait for."""
    return _has_started


def attach_shared_memory(descriptor: int) -> None:
    """Let whoever has the same file see every beat."""
    global _shared
    _shared = mmap.mmap(descriptor, _SECONDS.size)


def read_shared(shared: mmap.mmap) -> float:
    """When the last beat was (`time.monotonic` of any process of this host); 0 before the first."""
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
    """An input of every worker that gives nothing, beats and sweeps, also where nothing else happens.

    Nothing hangs on it, so it neither holds up an epoch nor the end of the flow.
    """

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _TickPartition:
        """A worker's own."""
        return _TickPartition()
