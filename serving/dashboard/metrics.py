"""The Prometheus metrics of `penstock dashboard`.

To add a metric: declare it here, and add it to docs/operations.md.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector

REGISTRY = CollectorRegistry(auto_describe=True)

TABS = Gauge("penstock_page_tabs", "Open pages", registry=REGISTRY)
EXPORTS = Gauge("penstock_page_exports", "Exports that are being sent", registry=REGISTRY)
REQUESTS = Counter(
    "penstock_page_requests", "Requests by status of the answer", ["status"], registry=REGISTRY
)
ProcessCollector(registry=REGISTRY)
