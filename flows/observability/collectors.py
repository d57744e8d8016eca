"""Metrics that the Prometheus client has no shape for: gathered when it asks, or fed with arrays."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

import numpy as np
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray
    from prometheus_client import CollectorRegistry, Metric


class ArrayHistogram(Collector):
    """A histogram that takes many values at once: the client's own takes one.

    Counts by upper bound for each value of one label. For several threads.
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

    def observe(self, value: str, observed: NDArray[np.float64]) -> None:
        """Count observations under one value of the label."""
        bucket = np.searchsorted(self._bounds, observed)
        counts = np.bincount(bucket, minlength=len(self._bounds) + 1)
        total = float(observed.sum())
        with self._lock:
            self._counts[value] = self._counts.get(value, 0) + counts
            self._sums[value] = self._sums.get(value, 0.0) + total

    def describe(self) -> Iterable[Metric]:
        """The name, before anything was observed."""
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


class Holder(Protocol):
    """Keyed state that says how much it holds."""

    @property
    def rows_held(self) -> int:
        """How many rows."""


class StateRows(Collector):
    """Rows of keyed state in memory by step, over all keys that live in this process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._holders: dict[str, WeakSet[Holder]] = {}
        registry.register(self)

    def watch(self, step: str, holder: Holder) -> None:
        """Count the rows of one key of a step for as long as it lives."""
        self._holders.setdefault(step, WeakSet()).add(holder)

    def collect(self) -> Iterable[Metric]:
        """What Prometheus asks for."""
        rows = GaugeMetricFamily("penstock_state_rows", "Rows held in memory", labels=["step"])
        for step, holders in list(self._holders.items()):
            rows.add_metric([step], sum(holder.rows_held for holder in list(holders)))
        yield rows


class Topic(Protocol):
    """The source, as far as it is seen from outside; partitions by name."""

    @property
    def lag(self) -> Mapping[str, int]:
        """Records that wait to be read."""

    @property
    def is_up(self) -> bool:
        """Whether the broker answered lately."""


class TopicMetrics(Collector):
    """How far the source of this process is behind."""

    def __init__(self, topic: Topic) -> None:
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
            "penstock_kafka_up", "1 while the broker answers", value=self._topic.is_up
        )


class FolderMetrics(Collector):
    """What the recovery folder holds, and when a snapshot was last committed there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        """What Prometheus asks for."""
        held = GaugeMetricFamily(
            "penstock_state_bytes", "Bytes on disk in the recovery folder", labels=["part"]
        )
        newest_s = 0.0
        for part in sorted(one for one in self._folder.iterdir() if one.is_dir()):
            files = _stats(part)
            held.add_metric([part.name], sum(file.st_size for file in files))
            if part.name == "store":
                newest_s = max((file.st_mtime for file in files), default=0.0)
        yield held
        yield GaugeMetricFamily(
            "penstock_snapshot_timestamp_seconds",
            "When a snapshot was last committed",
            value=newest_s,
        )


def _stats(folder: Path) -> list[os.stat_result]:
    """Of the files in a folder; one may go while we look."""
    found = []
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                found.append((Path(path) / name).stat())
    return found
