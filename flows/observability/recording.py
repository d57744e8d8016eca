"""Records batches, freshness and waits in the metrics, and gives the counts of a heartbeat."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import numpy as np

from flows.observability import metrics
from flows.process import liveness

if TYPE_CHECKING:
    from state.messages import BatchOutput

_log = logging.getLogger("penstock.clusters")

_watermark_ms = 0
LISTS = "list"
"""The branch of writes that has the lists."""
_SHARES = {"freshness_p50_ms": 0.5, "freshness_p99_ms": 0.99}


def record_output(output: BatchOutput) -> None:
    """Add a batch to the counters."""
    global _watermark_ms
    counters = output.counter_deltas
    for metric, counts in (
        (metrics.EVENTS, counters.by_type),
        (metrics.REJECTED, counters.rejected),
        (metrics.UNCONVERTED, counters.unconverted),
        (metrics.WITHHELD, counters.withheld),
    ):
        for label, events in counts.items():
            metric.labels(label).inc(events)
    for name, fields in counters.left_out.items():
        source, _, field = name.rpartition(" ")
        metrics.LEFT_OUT.labels(source, field).inc(fields)
    for name, events in counters.sums.items():
        if name in metrics.SUMS:
            metrics.SUMS[name].inc(events)
    for step, errors in output.error_counts.items():
        metrics.PROCESSING_ERRORS.labels(step).inc(errors)
    evaluation = output.online_metrics
    metrics.LISTS_EVALUATED.inc(evaluation.lists)
    metrics.LISTS_RECIPROCAL.inc(evaluation.reciprocal_rank_sum)
    for learner, hits in evaluation.by_learner.items():
        metrics.LISTS_HIT.labels(learner).inc(hits)
    for segment, (lists, hits) in evaluation.by_segment.items():
        metrics.SEGMENT_LISTS_EVALUATED.labels(segment).inc(lists)
        metrics.SEGMENT_LISTS_HIT.labels(segment).inc(hits)
    for learner, (impressions, clicks) in output.explored.items():
        metrics.EXPLORED_IMPRESSIONS.labels(learner).inc(impressions)
        metrics.EXPLORED_CLICKS.labels(learner).inc(clicks)
    if output.drift_count:
        metrics.DRIFTS.inc(output.drift_count)
        _log.warning(
            "the shoppers no longer resemble those of the clusters: the clusters are reviewed",
            extra={"event": "cluster_drift"},
        )
    metrics.BATCH.observe(counters.sums["events"])
    _watermark_ms = max(_watermark_ms, output.watermark_ms)
    metrics.WATERMARK.set(_watermark_ms / 1000)


def record_freshness(write_group: str, received_ms: bytes) -> None:
    """Record that the writes of a batch's events on one branch are now readable."""
    received = np.frombuffer(received_ms, np.int64)
    received = received[received > 0]
    if len(received):
        # A collector's clock may be ahead of ours.
        waited_ms = np.maximum(time.time_ns() // 1_000_000 - received, 0)
        metrics.FRESHNESS.observe(write_group, waited_ms / 1000)


def record_redis_wait() -> None:
    """Record a retry while Redis is away. Waiting counts as progress."""
    liveness.mark_progress()
    metrics.REDIS_AWAY.set(1)
    metrics.REDIS_RETRIES.inc()


def heartbeat_fields() -> dict[str, int]:
    """The counts in a heartbeat: events of this process, and the watermark (ms)."""
    events = sum(
        sample.value
        for metric in (*metrics.EVENTS.collect(), *metrics.REJECTED.collect())
        for sample in metric.samples
    )
    return {"events": int(events), "watermark_ms": _watermark_ms}


class FreshnessReport:
    """How soon the lists of the last events were in Redis, from one report to the next."""

    def __init__(self) -> None:
        self._counted = metrics.FRESHNESS.counts(LISTS)

    def take_fields(self) -> dict[str, int]:
        """Half of the events and 99 of a hundred were that fresh (ms); empty without events."""
        counted = metrics.FRESHNESS.counts(LISTS)
        counts, self._counted = counted - self._counted, counted
        found = {name: metrics.FRESHNESS.quantile(counts, share) for name, share in _SHARES.items()}
        return {name: round(1000 * at_s) for name, at_s in found.items() if at_s is not None}


def _watermark_lag_s() -> float:
    return time.time() - _watermark_ms / 1000 if _watermark_ms else 0.0


metrics.WATERMARK_LAG.set_function(_watermark_lag_s)
