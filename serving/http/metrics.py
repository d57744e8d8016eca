"""The Prometheus metrics of `penstock serve`.

To add a metric: declare it here, and add it to docs/operations.md.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

REGISTRY = CollectorRegistry(auto_describe=True)
REQUESTS = Counter(
    "penstock_storefront_requests",
    "Requests by route and status of the answer",
    ["route", "status"],
    registry=REGISTRY,
)
SECONDS = Histogram(
    "penstock_storefront_seconds",
    "From a request to its answer",
    ["route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 1.0),
    registry=REGISTRY,
)
DEGRADED = Counter(
    "penstock_storefront_degraded",
    "Lists that were answered without Redis",
    registry=REGISTRY,
)
IN_FLIGHT = Gauge("penstock_storefront_in_flight", "Requests in progress", registry=REGISTRY)
SPOOL_DROPPED = Counter(
    "penstock_collector_spool_dropped",
    "Records of the spool that never reached the log: too large for it, or not readable",
    ["reason"],
    registry=REGISTRY,
)
SPOOL_BYTES = Gauge(
    "penstock_collector_spool_bytes",
    "Bytes of accepted events that wait on disk for the log",
    registry=REGISTRY,
)
ProcessCollector(registry=REGISTRY)
