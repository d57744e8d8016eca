"""Where Bytewax really puts the key of the learn step, in clusters of all likely sizes."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import TestingSource, cluster_main

from flows import steps
from flows.cluster.placement import worker_of

if TYPE_CHECKING:
    from collections.abc import Iterable

TRAINERS = (steps.CLUSTERS_KEY, steps.PROPENSITY_KEY, steps.ITEMS_KEY)
KEYS = ("all", "0", "7", "63", "a key of more than eight bytes", "ключ", *TRAINERS)


class Pass(StatefulBatchLogic[int, int, None]):
    def on_batch(self, values: list[int]) -> tuple[Iterable[int], bool]:
        return values, False

    def snapshot(self) -> None:
        return None


class Noting(StatelessSinkPartition[Any]):
    def __init__(self, worker: int, seen: dict[str, int]) -> None:
        self._worker, self._seen = worker, seen

    def write_batch(self, items: list[Any]) -> None:
        for key, _ in items:
            self._seen[key] = self._worker


class NotingSink(DynamicSink[Any]):
    def __init__(self, seen: dict[str, int]) -> None:
        self._seen = seen

    def build(self, step_id: str, worker_index: int, worker_count: int) -> Noting:
        return Noting(worker_index, self._seen)


def workers_of_keys(workers: int) -> dict[str, int]:
    """The worker on which Bytewax puts each key."""
    seen: dict[str, int] = {}
    flow = Dataflow("placed")
    keyed = op.input("keys", flow, TestingSource([(key, 1) for key in KEYS]))
    op.output("seen", op.stateful_batch("where", keyed, lambda _: Pass()), NotingSink(seen))
    cluster_main(flow, [], 0, worker_count_per_proc=workers)
    return seen


def test_the_worker_of_a_key_is_that_of_bytewax() -> None:
    # In a process of its own: `cluster_main` leaves a panic hook that prints the errors of later runs.
    sizes = range(1, 6)
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        found = list(process.map(workers_of_keys, sizes))
    assert found == [{key: worker_of(key, workers) for key in KEYS} for workers in sizes]


def test_training_and_personalization_spread_over_the_workers_there_are() -> None:
    for workers, expected in ((2, 2), (3, 3), (4, 4), (6, 3), (12, 4)):
        used = {worker_of(key, workers) for key in (steps.SINGLE_KEY, *TRAINERS)}
        assert len(used) == expected, workers
    for workers in (3, 4, 6, 12):  # it writes to Redis too: nothing else is trained there
        assert worker_of(steps.SINGLE_KEY, workers) not in {
            worker_of(key, workers) for key in TRAINERS
        }
