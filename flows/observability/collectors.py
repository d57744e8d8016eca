"""Metrics that the Prometheus client cannot express: read on demand, or fed with arrays."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol
from weakref import WeakSet

import numpy as np
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from operators.kernels.failures import failure_counts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray
    from prometheus_client import CollectorRegistry, Metric


class ArrayHistogram(Collector):
    """A histogram with one label that observes an array at once; the client's own observes one value.

    Safe for several threads.
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        label: str,
        bounds: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        self._name, self._documentation, self._label = name, documentation, label
        self._bounds = np.asarray(bounds, np.float64)
        self._counts: dict[str, NDArray[np.int64]] = {}
        self._sums: dict[str, float] = {}
        self._lock = threading.Lock()
        registry.register(self)

    def observe(self, value: str, observations: NDArray[np.float64]) -> None:
        """Count an array of observations under one value of the label."""
        bucket = np.searchsorted(self._bounds, observations)
        counts = np.bincount(bucket, minlength=len(self._bounds) + 1)
        total = float(observations.sum())
        with self._lock:
            self._counts[value] = self._counts.get(value, 0) + counts
            self._sums[value] = self._sums.get(value, 0.0) + total

    def counts(self, value: str) -> NDArray[np.int64]:
        """How many observations each bucket has under a value of the label; the last is above all."""
        with self._lock:
            return self._counts.get(value, np.zeros(len(self._bounds) + 1, np.int64)).copy()

    def quantile(self, counts: NDArray[np.int64], share: float) -> float | None:
        """Below which value a share of some counts lies, by linear interpolation within its bucket.

        None without counts; the highest bound for what is above it.
        """
        if not counts.any():
            return None
        cumulated = np.cumsum(counts)
        wanted = share * float(cumulated[-1])
        # With a share of 0 the first bucket that has any.
        bucket = max(int(np.searchsorted(cumulated, wanted)), int(np.flatnonzero(counts)[0]))
        if bucket == len(self._bounds):
            return float(self._bounds[-1])
        lowest = float(self._bounds[bucket - 1]) if bucket else 0.0
        below = float(cumulated[bucket] - counts[bucket])
        width = float(self._bounds[bucket]) - lowest
        return lowest + width * (wanted - below) / float(counts[bucket])

    def describe(self) -> Iterable[Metric]:
        """The metric without samples."""
        yield self._family()

    def collect(self) -> Iterable[Metric]:
        """What Prometheus asks for."""
        family = self._family()
        bounds = [*map(floatToGoString, self._bounds.tolist()), "+Inf"]
        with self._lock:
            for value, counts in self._counts.items():
                cumulated = np.cumsum(counts).tolist()
                family.add_metric(
                    [value], list(zip(bounds, cumulated, strict=True)), self._sums[value]
                )
        yield family

    def _family(self) -> HistogramMetricFamily:
        return HistogramMetricFamily(self._name, self._documentation, labels=[self._label])


class HasRows(Protocol):
    """Keyed state that reports its number of rows."""

    @property
    def row_count(self) -> int:
        """The number of rows in memory."""


class StateRowsCollector(Collector):
    """Rows of keyed state in memory by step, summed over all keys in this process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._operators: dict[str, WeakSet[HasRows]] = {}
        registry.register(self)

    def watch(self, step: str, operator: HasRows) -> None:
        """Count the rows of one key of a step until its operator is deleted."""
        self._operators.setdefault(step, WeakSet()).add(operator)

    def collect(self) -> Iterable[Metric]:
        """What Prometheus asks for."""
        rows = GaugeMetricFamily("penstock_state_rows", "Rows held in memory", labels=["step"])
        for step, operators in list(self._operators.items()):
            rows.add_metric([step], sum(operator.row_count for operator in list(operators)))
        yield rows


class KernelFailuresCollector(Collector):
    """How often each kernel raised in this process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """What Prometheus asks for."""
        failures = CounterMetricFamily(
            "penstock_kernel_failures",
            "Calls of a compiled kernel that raised; its Python source ran in its place",
            labels=["kernel"],
        )
        for name, count in list(failure_counts.items()):
            failures.add_metric([name], count)
        yield failures


class TopicStatus(Protocol):
    """The state of the source that metrics and health checks report; partitions by name."""

    log_name: ClassVar[str]
    """What is read: `kafka` or `streams`."""

    @property
    def lag(self) -> Mapping[str, int]:
        """Records that are not read yet, by partition."""

    @property
    def is_reachable(self) -> bool:
        """Whether the broker answered recently."""


class TopicCollector(Collector):
    """The lag of the source in this process, and whether the broker answers."""

    def __init__(self, topic: TopicStatus) -> None:
        self._topic = topic

    def collect(self) -> Iterable[Metric]:
        """What Prometheus asks for."""
        lag = GaugeMetricFamily(
            "penstock_kafka_lag", "Records that wait to be read", labels=["partition"]
        )
        for partition, records in self._topic.lag.items():
            lag.add_metric([partition], records)
        yield lag
        yield GaugeMetricFamily(
            "penstock_kafka_up", "1 while the broker answers", value=self._topic.is_reachable
        )


class RecoveryFolderCollector(Collector):
    """The size of the recovery folder, and when a snapshot was last committed there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        """What Prometheus asks for."""
        state_bytes = GaugeMetricFamily(
            "penstock_state_bytes", "Bytes on disk in the recovery folder", labels=["part"]
        )
        newest_s = 0.0
        for subfolder in sorted(path for path in self._folder.iterdir() if path.is_dir()):
            files = _file_stats(subfolder)
            state_bytes.add_metric([subfolder.name], sum(file.st_size for file in files))
            if subfolder.name == "store":
                newest_s = max((file.st_mtime for file in files), default=0.0)
        yield state_bytes
        yield GaugeMetricFamily(
            "penstock_snapshot_timestamp_seconds",
            "When a snapshot was last committed",
            value=newest_s,
        )


def _file_stats(folder: Path) -> list[os.stat_result]:
    """The stats of all files in a folder. A file may disappear meanwhile."""
    stats = []
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                stats.append((Path(path) / name).stat())
    return stats
