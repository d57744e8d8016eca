"""How long a snapshot holds the flow up, in a replay with a recovery folder."""

from __future__ import annotations

import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from msgspec.structs import replace

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


BATCH = 256
"""Small batches: a pause is what a batch takes longer where an epoch ends than where none does."""


class TimedPartition(RecordedPartition):
    """Notes how long the flow was at work between two batches, and whether an epoch ended there."""

    gaps_ms: list[tuple[float, bool]]
    _given_s: float | None = None
    _ends_epoch = False

    def next_batch(self) -> list[SourceBatch]:
        """As of the recording."""
        if self._given_s is not None:
            gap_ms = 1000 * (time.perf_counter() - self._given_s)
            self.gaps_ms.append((gap_ms, self._ends_epoch))
        self._ends_epoch = False
        batches = super().next_batch()
        self._given_s = time.perf_counter()
        return batches

    def snapshot(self) -> bytes:
        """As of the recording."""
        self._ends_epoch = True
        return super().snapshot()


class TimedSource(RecordedSource):
    """One timed partition."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.gaps_ms: list[tuple[float, bool]] = []

    def build_part(
        self, step_id: str, for_part: str, resume_state: bytes | None
    ) -> RecordedPartition:
        """The recording."""
        part = super().build_part(step_id, for_part, resume_state)
        part.__class__ = TimedPartition
        assert isinstance(part, TimedPartition)
        part.gaps_ms = self.gaps_ms
        return part


def p99_ms(events: int) -> float:
    """The 99th percentile of pauses, of a replay with a recovery folder."""
    path, settings = str(cached(Workload())), Settings()
    settings = replace(settings, source=replace(settings.source, batch_events=BATCH))

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
    usual_ms = np.median([gap_ms for gap_ms, is_end in source.gaps_ms if not is_end])
    pauses_ms = [gap_ms - usual_ms for gap_ms, is_end in source.gaps_ms if is_end]
    p50, p99 = np.percentile(pauses_ms, (50, 99))
    print(
        f"# {len(pauses_ms)} snapshots beside batches of {usual_ms:.1f} ms: "
        f"p50 {p50:.1f} ms, p99 {p99:.1f} ms",
        flush=True,
    )
    return float(p99)
