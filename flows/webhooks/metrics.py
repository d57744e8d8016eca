"""What `penstock hooks` tells Prometheus of itself, by endpoint.

To add a metric: as in `flows.observability.metrics`.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

REQUEST_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

REGISTRY = CollectorRegistry(auto_describe=True)
_ENDPOINT = ["endpoint"]

SENT = Counter("penstock_hooks_sent", "Webhooks that were taken", _ENDPOINT, registry=REGISTRY)
RETRIED = Counter(
    "penstock_hooks_retried", "Tries that failed and are made again", _ENDPOINT, registry=REGISTRY
)
FAILED = Counter(
    "penstock_hooks_failed", "Webhooks that became dead letters", _ENDPOINT, registry=REGISTRY
)
TRIMMED = Counter(
    "penstock_hooks_vanished",
    "Changes that their stream no longer kept when they were to be sent again",
    _ENDPOINT,
    registry=REGISTRY,
)
BACKLOG = Gauge(
    "penstock_hooks_waiting", "Changes read and not yet taken", _ENDPOINT, registry=REGISTRY
)
LAG = Gauge(
    "penstock_hooks_lag_seconds",
    "How much older the oldest change not taken is than the newest",
    _ENDPOINT,
    registry=REGISTRY,
)
REQUEST_SECONDS = Histogram(
    "penstock_hooks_request_seconds",
    "From a request to its answer",
    _ENDPOINT,
    buckets=REQUEST_BUCKETS_S,
    registry=REGISTRY,
)
REDIS_AWAY = Gauge(
    "penstock_hooks_redis_away", "1 while the process waits for Redis", registry=REGISTRY
)
ProcessCollector(registry=REGISTRY)
