"""The metrics of `penstock hooks`, by endpoint. Metric names are public.

To add a metric, see `flows/observability/metrics.py`.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

REQUEST_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

REGISTRY = CollectorRegistry(auto_describe=True)
_ENDPOINT = ["endpoint"]

SENT = Counter("penstock_hooks_sent", "Webhooks that were delivered", _ENDPOINT, registry=REGISTRY)
RETRIED = Counter(
    "penstock_hooks_retried", "Attempts that failed and are retried", _ENDPOINT, registry=REGISTRY
)
FAILED = Counter(
    "penstock_hooks_failed", "Webhooks that became dead letters", _ENDPOINT, registry=REGISTRY
)
TRIMMED = Counter(
    "penstock_hooks_vanished",
    "Changes that were trimmed from their stream before a retry",
    _ENDPOINT,
    registry=REGISTRY,
)
BACKLOG = Gauge(
    "penstock_hooks_waiting", "Changes read and not yet delivered", _ENDPOINT, registry=REGISTRY
)
LAG = Gauge(
    "penstock_hooks_lag_seconds",
    "How much older the oldest undelivered change is than the newest",
    _ENDPOINT,
    registry=REGISTRY,
)
REQUEST_SECONDS = Histogram(
    "penstock_hooks_request_seconds",
    "From a request to its response",
    _ENDPOINT,
    buckets=REQUEST_BUCKETS_S,
    registry=REGISTRY,
)
REDIS_AWAY = Gauge(
    "penstock_hooks_redis_away", "1 while the process waits for Redis", registry=REGISTRY
)
ProcessCollector(registry=REGISTRY)
