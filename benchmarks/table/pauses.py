"""How long a snapshot holds the flow up: from the end of an epoch at the source to its next call."""

from __future__ import annotations

import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.workload import Workload, cached
from flows.process.embedded_redis import EmbeddedRedis
from flows.runtime import replay
from flows.sources.files import LogFile
from flows.sources.recorded import RecordedPartition, RecordedSource
from operators.readers.registry import READERS
from state.config import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from state.dead_letters import DeadLetter
    from state.events import Event
    from state.messages import SourceBatch


class TimedPartition(RecordedPartition):
    """Notes how long each epoch's end took."""

    pauses_ms: list[float]
    _epoch_ended_s: float | None = None

    def next_batch(self) -> list[SourceBatch]:
        """As of the recording."""
        if self._epoch_ended_s is not None:
            self.pauses_ms.append(1000 * (time.perf_counter() - self._epoch_ended_s))
            self._epoch_ended_s = None
        return super().next_batch()

    def snapshot(self) -> bytes:
        """As of the recording."""
        self._epoch_ended_s = time.perf_counter()
        return super().snapshot()


class TimedSource(RecordedSource):
    """One timed partition."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.pauses_ms: list[float] = []

    def build_part(
        self, step_id: str, for_part: str, resume_state: bytes | None
    ) -> RecordedPartition:
        """The recording."""
        part = super().build_part(step_id, for_part, resume_state)
        part.__class__ = TimedPartition
        assert isinstance(part, TimedPartition)
        part.pauses_ms = self.pauses_ms
        return part


def p99_ms(events: int) -> float:
    """The 99th percentile of pauses, of a replay with a recovery folder."""
    path, settings = str(cached(Workload())), Settings()

    def records() -> Iterator[Event | DeadLetter]:
        found = READERS["penstock"](LogFile(path).lines(), source=path, now_ms=2**62)
        yield from islice(found, events)

    source = TimedSource({"file": records}, settings)
    with EmbeddedRedis() as redis, tempfile.TemporaryDirectory() as folder:
        replay.replay_source(
            source,
            settings,
            redis_url=redis.url,
            dead_letters=Path(folder) / "dead.jsonl",
            recovery_folder=Path(folder) / "recovery",
        )
    p50, p99 = np.percentile(source.pauses_ms, (50, 99))
    print(f"# {len(source.pauses_ms)} snapshots: p50 {p50:.1f} ms, p99 {p99:.1f} ms", flush=True)
    return float(p99)
