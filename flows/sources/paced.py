"""The demo's source: history as fast as it goes, then events at a pace, until told to stop."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING

from bytewax.inputs import DynamicSource, StatelessSourcePartition

from operators.events.currencies import CurrencyConverter
from operators.shards.batching import SourceBatcher
from state.messages import SourceBatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from threading import Event as Flag

    from state.config import Settings
    from state.events import Event

TICK_S = 0.1
PARTITION = "shop"


class PacedPartition(StatelessSourcePartition[SourceBatch]):
    """Events at a pace: `history` of them at once, then `events_per_s`, with a tick between batches."""

    def __init__(
        self,
        events: Iterator[Event],
        settings: Settings,
        stop: Flag,
        *,
        history: int,
        events_per_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic_s = clock
        self._events = events
        self._settings = settings
        self._stop = stop
        self._history = history
        self._events_per_s = events_per_s
        self._read = 0
        self._paced_since_s: float | None = None
        self._batcher = SourceBatcher()
        self._exchange = CurrencyConverter(settings.money)
        self._finished = False

    def next_batch(self) -> list[SourceBatch]:
        """What is due; when stopped or out of events, an empty batch that ends the flow."""
        if self._finished:
            raise StopIteration
        events = [] if self._stop.is_set() else list(islice(self._events, self._events_due()))
        self._read += len(events)
        self._finished = not events
        return [
            self._batcher.batch(
                events,
                partition=PARTITION,
                shards=self._settings.sessions.shards,
                allowed_lateness_ms=self._settings.sessions.allowed_lateness_ms,
                last=self._finished,
                converter=self._exchange,
            )
        ]

    def next_awake(self) -> datetime | None:
        """A tick from now, once history is told."""
        if self._read < self._history or self._finished:
            return None
        return datetime.now(UTC) + timedelta(seconds=TICK_S)

    def _events_due(self) -> int:
        """How many events the pace is behind by, at least one and at most a batch."""
        batch = self._settings.source.batch_events
        if self._read < self._history:
            return min(batch, self._history - self._read)
        now_s = self._monotonic_s()
        if self._paced_since_s is None:
            self._paced_since_s = now_s
        due = self._history + (now_s - self._paced_since_s) * self._events_per_s - self._read
        return max(1, min(batch, round(due)))


class PacedSource(DynamicSource[SourceBatch]):
    """Events for one worker, from memory: nothing of it is kept for a restart."""

    def __init__(
        self,
        events: Iterator[Event],
        settings: Settings,
        stop: Flag,
        *,
        history: int,
        events_per_s: float,
    ) -> None:
        self._partition = PacedPartition(
            events, settings, stop, history=history, events_per_s=events_per_s
        )

    def build(self, step_id: str, worker_index: int, worker_count: int) -> PacedPartition:
        """The one partition there is."""
        return self._partition
