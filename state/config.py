"""Typed, strict configuration: read once (`config_loader`), then passed as values.

`config.yaml` describes every key with its unit and reason; a test compares the two. This file has the
sections on which results depend, `config_lists` those about lists, `config_deployment` all others. A new
key needs a default and a line in `config.yaml`. Never add a key that nothing uses.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

import msgspec

from state.config_deployment import (
    Collector,
    Hooks,
    Kafka,
    Log,
    Metrics,
    Recovery,
    Redis,
    Run,
    Runtime,
    Serving,
    Storefront,
)
from state.config_lists import Lists
from state.config_types import HalfLife, NotNegative, Positive, PositiveFloat, Section, Share
from state.events import EVENT_BYTES_MAX, EVENT_ITEMS_MAX
from state.limits import Limits


class Source(Section, frozen=True):
    """How much is read at a time, and the limits of an event."""

    batch_events: Positive = 8192
    epoch_ms: Positive = 1000
    event_bytes_max: Positive = EVENT_BYTES_MAX
    event_items_max: Positive = EVENT_ITEMS_MAX

    @property
    def limits(self) -> Limits:
        """Return the limits of an event."""
        return Limits(self.event_bytes_max, self.event_items_max)


class Sessions(Section, frozen=True):
    """When a session ends, and how long a late event is accepted."""

    gap_ms: Positive = 1_800_000
    allowed_lateness_ms: NotNegative = 300_000
    jump_ms: NotNegative = 3_600_000
    shards: Positive = 8
    remembered_event_ids: Positive = 256
    remembered_orders_days: Positive = 400


class Profiles(Section, frozen=True):
    """Features of a shopper, and when they expire."""

    affinity_half_life_days: HalfLife = 14.0
    affinity_categories_max: Positive = 16
    known_ttl_days: Positive = 90
    anonymous_ttl_days: Positive = 30
    alias_ttl_days: Positive = 180


CurrencyCode = Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")]
Rate = Annotated[float, msgspec.Meta(gt=0, le=1e9)]


class Money(Section, frozen=True):
    """The currency of all amounts. `rates`: the value of one unit of another currency in it."""

    currency: Annotated[str, msgspec.Meta(pattern="^([A-Z]{3})?$")] = ""
    rates: dict[CurrencyCode, Rate] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse rates without a target currency."""
        if self.rates and not self.currency:
            raise ValueError("rates need money.currency, which they lead to")
        if self.currency in self.rates:
            raise ValueError(f"rates: {self.currency} is the shop's own currency")


NumberOfClusters = Annotated[int, msgspec.Meta(ge=2, le=64)]


class Clusters(Section, frozen=True):
    """Segments found by clustering. `k`: their number, or the least and the most.

    `estimator`: an expression that `operators.models.river.expressions` reads, "" for `algorithm`;
    `drift_detector` likewise.
    """

    algorithm: Literal["kmeans", "dbstream"] = "kmeans"
    estimator: str = ""
    drift_detector: str = ""
    # msgspec 0.22 crashes on a tuple of two beside a number with limits.
    k: NumberOfClusters | tuple[NumberOfClusters, ...] = 8
    radius: PositiveFloat = 1.5
    half_life_points: NotNegative = 0
    seed: NotNegative = 7

    def __post_init__(self) -> None:
        """Refuse a range whose ends do not fit."""
        if isinstance(self.k, tuple) and not (len(self.k) == 2 and self.k[0] < self.k[1]):
            raise ValueError("k must be a number, or [least, most] with least below most")

    @property
    def k_range(self) -> tuple[int, int]:
        """Return the least number of clusters, and the most."""
        return (self.k, self.k) if isinstance(self.k, int) else (self.k[0], self.k[1])


class Segments(Section, frozen=True):
    """Segments by rule."""

    file: str = "segments.yaml"


class Propensity(Section, frozen=True):
    """Models of what shoppers are likely to do next.

    `estimator` and `metrics` are expressions as in `Clusters`.
    """

    sampled_share: Share = 0.125
    horizon_days: NotNegative = 30
    churn_days: Positive = 30
    dormant_days: Positive = 60
    labels_min: Positive = 100
    estimator: str = ""
    estimator_block: Positive = 1
    metrics: tuple[str, ...] = ()
    seed: NotNegative = 7


class Rfm(Section, frozen=True):
    """Segments by recency, frequency and monetary value."""

    enabled: bool = True
    scheme: Literal["quintiles", "top-bottom"] = "quintiles"
    every_min: Positive = 60
    buyers_min: Positive = 25


class Lifecycle(Section, frozen=True):
    """Segments by the time since the first and the last event of a shopper."""

    enabled: bool = True
    new_days: Positive = 7
    dormant_days: Positive = 30
    reengaged_days: Positive = 7
    lost_days: Positive = 90

    def __post_init__(self) -> None:
        """Refuse periods that contradict each other."""
        if not max(self.new_days, self.reengaged_days) <= self.dormant_days < self.lost_days:
            raise ValueError(
                "new_days and reengaged_days must be at most dormant_days, and that below lost_days"
            )


class Triggers(Section, frozen=True):
    """Notices for viewers of an item: it is back in stock, or its price drops."""

    views_max: NotNegative = 1_000_000
    days: Positive = 30
    shoppers_max: Positive = 1000
    price_drop_min: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.05


class State(Section, frozen=True):
    """Limits of memory: above them the shopper or item inactive for longest is evicted."""

    shoppers_max: Positive = 1_000_000
    items_max: Positive = 200_000
    idle_days: Positive = 30
    known_idle_days: Positive = 400


class Kpis(Section, frozen=True):
    """Key figures: views, clicks, orders and what lists owe to them, by scope and hour."""

    enabled: bool = False
    click_window_h: Positive = 24
    direct_days: Positive = 7
    assisted_h: Positive = 24
    credit: Literal["last", "first", "even", "position"] = "last"
    scopes_max: Positive = 2000
    correct_days: Positive = 7


ConsentDefault = Literal["allow", "deny"]


class UnknownConsent(Section, frozen=True):
    """The consent of a visitor who was not asked, for each purpose."""

    analytics: ConsentDefault = "allow"
    personalization: ConsentDefault = "allow"
    ads: ConsentDefault = "allow"


class UnknownConsentInCountry(Section, frozen=True):
    """Exceptions for one country; None: as everywhere."""

    analytics: ConsentDefault | None = None
    personalization: ConsentDefault | None = None
    ads: ConsentDefault | None = None


class Privacy(Section, frozen=True):
    """Consent and erasure. Every command that stores shoppers requires `unknown` in the file."""

    unknown: UnknownConsent = UnknownConsent()
    by_country: dict[str, UnknownConsentInCountry] = msgspec.field(default_factory=dict)
    tombstone_days: Positive = 90
    notice_days: Positive = 7


class Settings(Section, frozen=True):
    """The whole configuration.

    `segment_rules_text` is no key: it is the content of `segments.file`, read with the configuration.
    Its encoded name is part of `sha256`, which recovery folders store, so it stays `definitions`.
    """

    source: Source = Source()
    kafka: Kafka = Kafka()
    sessions: Sessions = Sessions()
    profiles: Profiles = Profiles()
    money: Money = Money()
    clusters: Clusters = Clusters()
    segments: Segments = Segments()
    propensity: Propensity = Propensity()
    rfm: Rfm = Rfm()
    lifecycle: Lifecycle = Lifecycle()
    triggers: Triggers = Triggers()
    lists: Lists = Lists()
    state: State = State()
    kpis: Kpis = Kpis()
    privacy: Privacy = Privacy()
    redis: Redis = Redis()
    recovery: Recovery = Recovery()
    metrics: Metrics = Metrics()
    log: Log = Log()
    run: Run = Run()
    runtime: Runtime = Runtime()
    serving: Serving = Serving()
    storefront: Storefront = Storefront()
    collector: Collector = Collector()
    hooks: Hooks = Hooks()
    segment_rules_text: str = msgspec.field(default="", name="definitions")

    @property
    def without_deployment(self) -> Settings:
        """Return this configuration with default values wherever results do not depend on it."""
        return msgspec.structs.replace(
            self,
            segments=Segments(),
            kafka=Kafka(),
            redis=Redis(),
            recovery=Recovery(),
            metrics=Metrics(),
            log=Log(),
            run=Run(),
            runtime=Runtime(),
            serving=Serving(),
            storefront=Storefront(),
            collector=Collector(),
            hooks=Hooks(),
        )

    @property
    def sha256(self) -> str:
        """Return the digest of everything that results depend on."""
        encoded = msgspec.json.encode(self.without_deployment, order="deterministic")
        return hashlib.sha256(encoded).hexdigest()
