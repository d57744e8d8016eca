"""The demo's source: history at full speed, then events at a fixed rate, until a flag is set."""

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
    """Gives `history` events at full speed, then `events_per_s`, with a tick between batches."""

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
        """The events that are due; when stopped or out of events, an empty batch that ends the flow."""
        if self._finished:
            raise StopIteration
        is_live = self._read >= self._history
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
                live=is_live,
                converter=self._exchange,
            )
        ]

    def next_awake(self) -> datetime | None:
        """At once during history, then a tick from now."""
        if self._read < self._history or self._finished:
            return None
        return datetime.now(UTC) + timedelta(seconds=TICK_S)

    def _events_due(self) -> int:
        """The number of events that the rate requires now, at least one and at most a batch."""
        batch = self._settings.source.batch_events
        if self._read < self._history:
            return min(batch, self._history - self._read)
        now_s = self._monotonic_s()
        if self._paced_since_s is None:
            self._paced_since_s = now_s
        due = self._history + (now_s - self._paced_since_s) * self._events_per_s - self._read
        return max(1, min(batch, round(due)))


class PacedSource(DynamicSource[SourceBatch]):
    """Events in memory for one worker. It stores no state for a restart."""

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
        """The only partition."""
        return self._partition
