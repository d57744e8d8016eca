"""The metrics of a process, in our own registry. Metric names and labels are public.

Counters start at 0 with the process; Redis has the counts since the first start (`ps:1:meta`).
`recording.py` counts batches, other modules may count too; `health.py` serves the registry. To add
a metric: one line here, one in docs/operations.md (a test compares them), and for a graph or an
alert `deploy/`.
"""

from __future__ import annotations

import platform
from importlib.metadata import version

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
)

from flows.observability.collectors import (
    ArrayHistogram,
    KernelFailuresCollector,
    StateRowsCollector,
)
from flows.process import liveness
from state import keys

FRESHNESS_BUCKETS_S = (
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.15,
    0.25,
    0.4,
    0.6,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
)
REDIS_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 60.0)
EPOCH_BUCKETS_S = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 15.0, 60.0)
BATCH_BUCKETS = (1, 4, 16, 64, 256, 1024, 4096, 8192, 16384)


disable_created_metrics()
REGISTRY = CollectorRegistry(auto_describe=True)

EVENTS = Counter("penstock_events", "Events read, by type", ["type"], registry=REGISTRY)
LEFT_OUT = Counter(
    "penstock_left_out",
    "Fields of accepted events that could not be read",
    ["source", "field"],
    registry=REGISTRY,
)
REJECTED = Counter(
    "penstock_rejected", "Records that became dead letters", ["reason"], registry=REGISTRY
)
PROCESSING_ERRORS = Counter(
    "penstock_processing_errors",
    "Events, rows and parts of batches that were skipped because a step raised an exception",
    ["step"],
    registry=REGISTRY,
)
UNCONVERTED = Counter(
    "penstock_unconverted",
    "Events whose amounts are in a currency without a rate",
    ["currency"],
    registry=REGISTRY,
)
WITHHELD = Counter(
    "penstock_withheld",
    "Events ignored because their shopper refuses the purpose",
    ["purpose"],
    registry=REGISTRY,
)
SUMS = {
    name: Counter(f"penstock_{name}", text, registry=REGISTRY)
    for name, text in (
        ("accepted", "Events counted"),
        ("duplicates", "Events that were counted before"),
        ("suppressed", "Events from before an erasure that arrived after it"),
        ("erased", "Times a user or a device was erased"),
        ("late", "Accepted events that arrived after the allowed lateness"),
        ("saturated", "Events after which a sum of their shopper is at the maximum"),
        ("repeats", "Events that two shoppers had counted before they were merged"),
        ("held", "Events too far ahead of the others to move the watermark"),
        ("shortened", "Events with more items than count"),
        ("sessions_opened", "Sessions opened"),
        ("sessions_closed", "Sessions closed by the watermark"),
        ("identity_conflicts", "Devices of one user that named another"),
        ("lists_written", "Lists of shoppers written"),
        ("segment_changes", "Times a shopper entered or left a segment"),
    )
}
LISTS_EVALUATED = Counter(
    "penstock_lists_judged", "Written lists compared with the next click", registry=REGISTRY
)
LISTS_HIT = Counter(
    "penstock_lists_hit",
    "Evaluated lists that contained the click, by the learner that proposed the item",
    ["learner"],
    registry=REGISTRY,
)
LISTS_RECIPROCAL = Counter(
    "penstock_lists_reciprocal_rank", "1/rank of the hits in evaluated lists", registry=REGISTRY
)
SEGMENT_LISTS_EVALUATED = Counter(
    "penstock_segment_lists_judged", "Evaluated lists of members", ["segment"], registry=REGISTRY
)
SEGMENT_LISTS_HIT = Counter(
    "penstock_segment_lists_hit",
    "Evaluated lists of members that contained the click",
    ["segment"],
    registry=REGISTRY,
)
EXPLORED_IMPRESSIONS = Counter(
    "penstock_tried_seen",
    "Explored items in lists that were displayed, by the learner that proposed them",
    ["learner"],
    registry=REGISTRY,
)
EXPLORED_CLICKS = Counter(
    "penstock_tried_clicked", "Explored items that were clicked", ["learner"], registry=REGISTRY
)
DRIFTS = Counter(
    "penstock_cluster_drifts",
    "Times that the shoppers no longer resembled those of the clusters",
    registry=REGISTRY,
)
BATCH = Histogram(
    "penstock_batch_events",
    "Events in a batch of the learn step",
    buckets=BATCH_BUCKETS,
    registry=REGISTRY,
)
FRESHNESS = ArrayHistogram(
    "penstock_freshness_seconds",
    "From an event received to its keys in Redis",
    "branch",
    FRESHNESS_BUCKETS_S,
    REGISTRY,
)
WATERMARK = Gauge("penstock_watermark_seconds", "Event time that is complete", registry=REGISTRY)
WATERMARK_LAG = Gauge(
    "penstock_watermark_lag_seconds", "How far the watermark is behind the clock", registry=REGISTRY
)
WRITES_QUEUED = Gauge(
    "penstock_writes_queued", "Commands that Redis has not acknowledged", registry=REGISTRY
)
REDIS = Histogram(
    "penstock_redis_seconds",
    "From a batch of writes sent to its last reply",
    buckets=REDIS_BUCKETS_S,
    registry=REGISTRY,
)
REDIS_AWAY = Gauge("penstock_redis_away", "1 while the worker waits for Redis", registry=REGISTRY)
REDIS_RETRIES = Counter(
    "penstock_redis_retries", "Attempts to reach Redis again", registry=REGISTRY
)
EPOCH = Histogram(
    "penstock_epoch_seconds",
    "From one epoch's end to the next",
    buckets=EPOCH_BUCKETS_S,
    registry=REGISTRY,
)
SNAPSHOT = Counter(
    "penstock_snapshot_seconds", "Time spent on taking snapshots", ["step"], registry=REGISTRY
)
RESTARTS_VARIABLE = "PENSTOCK_RESTARTS"
"""Environment variable: how often the supervisor has restarted the cluster."""
RESTARTS = Counter("penstock_restarts", "Restarts by the supervisor", registry=REGISTRY)
PROGRESS_AGE = Gauge(
    "penstock_pulse_age_seconds", "Since the worker last made progress", registry=REGISTRY
)
PROGRESS_AGE.set_function(liveness.progress_age_s)
STATE_ROWS = StateRowsCollector(REGISTRY)
KernelFailuresCollector(REGISTRY)
ProcessCollector(registry=REGISTRY)
Info("penstock_build", "Versions of this process", registry=REGISTRY).info(
    {
        "version": keys.WRITER_VERSION,
        "contract": keys.CONTRACT_VERSION,
        "bytewax": version("bytewax"),
        "python": platform.python_version(),
    }
)
