"""Another number of workers resumes the stored state: every shard's journal finds its new worker."""

from __future__ import annotations

from datetime import timedelta
from threading import Event as Flag
from typing import TYPE_CHECKING, Any

from bytewax.testing import cluster_main

from flows.dataflow import Sinks, StateStores, build
from flows.recovery.folder import open_recovery
from flows.sinks.dead_letters import DeadLetterSink
from flows.sinks.redis import RedisSink
from flows.sources.recorded import RecordedSource
from operators.publish.digest import deterministic_rows
from state.store import Store
from tests.flows.recovery.test_crash import SHOP, CrashingPartition, CrashingSource
from tests.streams import content, flow_settings, run_flow

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = flow_settings(batch_events=60, epoch_ms=10)


class StoppingPartition(CrashingPartition):
    """Sets the flag before a batch."""

    stop: Flag

    def next_batch(self) -> Any:
        if self._crashes and self._batches == self._crashes[0]:
            self.stop.set()
        self._batches += 1
        return self._of.next_batch()


class StoppingSource(CrashingSource):
    stop: Flag

    def build_part(self, *args: Any) -> StoppingPartition:
        part = StoppingPartition(self._of.build_part(*args), self._crashes)
        part.stop = self.stop
        return part


def run(workers: int, batches: list[int], redis_url: str, folder: Path) -> None:
    stop = Flag()
    source = StoppingSource(RecordedSource({"shop": lambda: iter(SHOP)}, SETTINGS, stop), batches)
    source.stop = stop
    with open_recovery(folder / "recovery", SETTINGS) as stored:
        assert stored is not None
        flow = build(
            source,
            Sinks(
                RedisSink(lambda: Store(redis_url, timeout_ms=2000, patience_s=2)),
                DeadLetterSink(folder / "dead_letters.jsonl"),
            ),
            SETTINGS,
            StateStores(stored.journals),
        )
        cluster_main(
            flow,
            [],
            0,
            epoch_interval=timedelta(milliseconds=10),
            recovery_config=stored.config,
            worker_count_per_proc=workers,
        )


def facts_of(rows: dict[str, Any]) -> dict[str, Any]:
    return dict(deterministic_rows(rows.items()))


def test_a_run_resumed_with_other_numbers_of_workers_gives_the_same_result(
    redis_url: str, tmp_path: Path
) -> None:
    whole = facts_of(run_flow(SHOP, redis_url, tmp_path, settings=SETTINGS))
    letters = (tmp_path / "dead_letters.jsonl").read_bytes()
    (tmp_path / "dead_letters.jsonl").unlink()
    Store(redis_url, timeout_ms=2000, patience_s=2).client.flushall()
    for workers, batches in ((1, [5]), (2, [5]), (3, [4]), (1, [])):
        run(workers, batches, redis_url, tmp_path)
    assert facts_of(content(redis_url)) == whole
    assert (tmp_path / "dead_letters.jsonl").read_bytes() == letters
