"""Configuration of a deployment: addresses, recovery, processes, webhooks. Results do not depend on it.

`Settings.without_deployment` leaves these sections out, so that a recovery folder survives a change
of them. To add a key: a field with a default, and a line in `config.yaml`. Never a secret: secrets come
from the environment only.
"""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec

from state.config_types import NotNegative, Positive, PositiveFloat, Section
from state.events import Consent

SlotName = Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9-]{0,39}$")]

PURPOSES = Consent.__struct_fields__


class Redis(Section, frozen=True):
    """The Redis that results are written to."""

    url: str = "embedded"
    timeout_ms: Positive = 2000
    patience_s: Positive = 600
    replicas: NotNegative = 0
    change_stream_max: Positive = 1_000_000


class Kafka(Section, frozen=True):
    """The Kafka that a live run reads events from."""

    bootstrap_servers: str = "localhost:9092"
    topic: str = "events"
    group: str = "penstock"
    start: str | int = "earliest"
    out_of_range: Literal["fail", "earliest", "latest"] = "fail"
    format: str = "penstock"
    refresh_s: Positive = 60
    idle_ms: Positive = 30_000
    dead_letters: str = ""
    changes: str = ""
    security: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = "plaintext"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""


class Recovery(Section, frozen=True):
    """What is stored so that a run can resume."""

    checkpoint_s: Positive = 300
    rewrite_ratio: PositiveFloat = 1.0


class Metrics(Section, frozen=True):
    """The HTTP endpoint of a live run."""

    listen: str = "127.0.0.1:9464"
    ready_lag_max: NotNegative = 100_000


class Log(Section, frozen=True):
    """The log lines of a live run on standard error."""

    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Run(Section, frozen=True):
    """What a live run reads, and how its processes are supervised."""

    source: Literal["kafka", "redis"] = "kafka"
    stuck_s: PositiveFloat = 30.0
    lease_s: PositiveFloat = 15.0
    meet_s: PositiveFloat = 300.0


class Runtime(Section, frozen=True):
    """What a process needs beside its work."""

    kernel_cache: str = ""


class Serving(Section, frozen=True):
    """The dashboard."""

    listen: str = "127.0.0.1:8600"
    proxy_header: str = ""
    tabs_max: Positive = 200
    recent_events: NotNegative = 50


class Storefront(Section, frozen=True):
    """The HTTP server of a storefront (`penstock serve`)."""

    listen: str = "127.0.0.1:8700"
    metrics_listen: str = ""
    origins: tuple[str, ...] = ()
    slots: tuple[SlotName, ...] = ()
    shopper_fields: tuple[str, ...] = ("known", "stage", "intent", "top_category", "consent")
    content_file: str = ""
    read_timeout_ms: Positive = 20
    shared_max_age_ms: Positive = 5000
    cards_max: Positive = 100_000
    in_flight_max: Positive = 256
    rate_max: Positive = 50
    visitor_days: Annotated[int, msgspec.Meta(gt=0, le=396)] = 396


class Collector(Section, frozen=True):
    """Where the events go that `penstock serve` accepts."""

    log: Literal["redis", "kafka", "none"] = "redis"
    partitions: Positive = 4
    append_timeout_ms: Positive = 2000
    spool_folder: str = ""
    spool_mb: NotNegative = 256


class Endpoint(Section, frozen=True):
    """A webhook: which segments it receives, and for which purpose."""

    url: str
    purpose: str = ""
    segments: tuple[str, ...] = ("*",)

    def __post_init__(self) -> None:
        """Refuse a URL that cannot receive requests, and a purpose that needs no consent."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise ValueError("url must be http:// or https:// with a host and without a login")
        if self.purpose not in PURPOSES:
            problem = f"is {self.purpose!r}, expected" if self.purpose else "is missing: write"
            raise ValueError(
                f"purpose {problem} analytics, personalization or ads, for which the endpoint uses "
                "shoppers: those who refuse it are left out there"
            )


EndpointName = Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9-]{0,39}$")]


class Hooks(Section, frozen=True):
    """All webhooks, and how often a message is retried."""

    endpoints: dict[EndpointName, Endpoint] = msgspec.field(default_factory=dict)
    start: Literal["newest", "first"] = "newest"
    timeout_ms: Annotated[int, msgspec.Meta(gt=0, le=7000)] = 5000
    concurrency: Annotated[int, msgspec.Meta(gt=0, le=256)] = 8
    tries: Positive = 16
    backoff_first_ms: Positive = 1000
    backoff_most_s: Positive = 600
    dead_letters_max: Positive = 100_000
    listen: str = "127.0.0.1:9474"
