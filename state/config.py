"""Typed, strict configuration: read once, then passed as values. Reasons stand in `config.yaml`.

Change freely: a new key with a default, described in `config.yaml` (a test compares the two).
Never: a key that is read but not used, a secret with a default.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
import yaml

from state.errors import ConfigurationError
from state.events import EVENT_BYTES_MAX, EVENT_ITEMS_MAX
from state.limits import Limits

Positive = Annotated[int, msgspec.Meta(gt=0)]
NotNegative = Annotated[int, msgspec.Meta(ge=0)]
HalfLife = Annotated[float, msgspec.Meta(gt=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]

ENVIRONMENT_PREFIX = "PENSTOCK_"
DEFINITIONS = "definitions"
PURPOSES = ("analytics", "personalization", "ads")
_UNKNOWN_CONSENT_ADVICE = (
    "is missing, which says what visitors count as who were not asked for consent: write "
    "privacy: {unknown: {analytics: allow, personalization: allow, ads: allow}}, or deny where "
    "only a yes counts"
)


class _TextTimeLoader(yaml.SafeLoader):
    """YAML whose times stay text: what a time is for, its key says."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [resolver for resolver in resolvers if resolver[0] != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of the configuration: an unknown key in it is an error that names the key."""


class Source(_Section, frozen=True):
    """What is read, and how much at a time."""

    batch_events: Positive = 8192
    epoch_ms: Positive = 1000
    event_bytes_max: Positive = EVENT_BYTES_MAX
    event_items_max: Positive = EVENT_ITEMS_MAX

    @property
    def limits(self) -> Limits:
        """How large an event may be."""
        return Limits(self.event_bytes_max, self.event_items_max)


class Sessions(_Section, frozen=True):
    """When a visit ends and how long a late event is waited for."""

    gap_ms: Positive = 1_800_000
    allowed_lateness_ms: NotNegative = 300_000
    jump_ms: NotNegative = 3_600_000
    shards: Positive = 64
    remembered_event_ids: Positive = 256
    remembered_orders_days: Positive = 400


class Profiles(_Section, frozen=True):
    """Features of a shopper and how long they stay."""

    affinity_half_life_days: HalfLife = 14.0
    affinity_categories_max: Positive = 16
    known_ttl_days: Positive = 90
    anonymous_ttl_days: Positive = 30
    alias_ttl_days: Positive = 180


NumberOfClusters = Annotated[int, msgspec.Meta(ge=2, le=64)]


CurrencyCode = Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")]
Rate = Annotated[float, msgspec.Meta(gt=0, le=1e9)]


class Money(_Section, frozen=True):
    """The currency of all figures. `rates`: what one of another currency is in it."""

    currency: Annotated[str, msgspec.Meta(pattern="^([A-Z]{3})?$")] = ""
    rates: dict[CurrencyCode, Rate] = {}

    def __post_init__(self) -> None:
        """Refuse rates that lead nowhere."""
        if self.rates and not self.currency:
            raise ValueError("rates need money.currency, which they lead to")
        if self.currency in self.rates:
            raise ValueError(f"rates: {self.currency} is the shop's own currency")


class Clusters(_Section, frozen=True):
    """Segments found by clustering. `k`: their number, or the least and the most."""

    algorithm: Literal["kmeans", "dbstream"] = "kmeans"
    # msgspec 0.22 crashes on a tuple of two beside a number with bounds.
    k: NumberOfClusters | tuple[NumberOfClusters, ...] = 8
    radius: Annotated[float, msgspec.Meta(gt=0)] = 1.5
    half_life_points: NotNegative = 0
    seed: NotNegative = 7

    def __post_init__(self) -> None:
        """Refuse a range that is none."""
        if isinstance(self.k, tuple) and not (len(self.k) == 2 and self.k[0] < self.k[1]):
            raise ValueError("k must be a number, or [least, most] with least below most")

    @property
    def k_range(self) -> tuple[int, int]:
        """The least number of clusters, and the most."""
        return (self.k, self.k) if isinstance(self.k, int) else (self.k[0], self.k[1])


class Segments(_Section, frozen=True):
    """Segments by rule."""

    file: str = "segments.yaml"


class Propensity(_Section, frozen=True):
    """What shoppers are likely to do next."""

    sampled_share: Share = 0.125
    horizon_days: NotNegative = 30
    churn_days: Positive = 30
    dormant_days: Positive = 60
    labels_min: Positive = 100
    seed: NotNegative = 7


class Rfm(_Section, frozen=True):
    """Segments by how lately, how often and for how much shoppers buy."""

    enabled: bool = True
    scheme: Literal["quintiles", "top-bottom"] = "quintiles"
    every_min: Positive = 60
    buyers_min: Positive = 25


class Lifecycle(_Section, frozen=True):
    """Segments by how long ago shoppers were seen."""

    enabled: bool = True
    new_days: Positive = 7
    dormant_days: Positive = 30
    reengaged_days: Positive = 7
    lost_days: Positive = 90

    def __post_init__(self) -> None:
        """Refuse spans that contradict each other."""
        if not max(self.new_days, self.reengaged_days) <= self.dormant_days < self.lost_days:
            raise ValueError(
                "new_days and reengaged_days must be at most dormant_days, and that below lost_days"
            )


class Triggers(_Section, frozen=True):
    """What is told to those who looked at an item: it is back in stock, its price drops."""

    views_max: NotNegative = 1_000_000
    days: Positive = 30
    shoppers_max: Positive = 1000
    price_drop_min: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.05


class Weights(_Section, frozen=True):
    """How much one event says about a shopper's taste."""

    item_view: float = 1.0
    wishlist_add: float = 2.0
    cart_add: float = 3.0
    purchase: float = 5.0


class Served(_Section, frozen=True):
    """Lists as they were written, held against the next click."""

    share: Share = 0.125
    shoppers_max: Positive = 20_000
    half_life_hours: HalfLife = 24.0


class AlreadyBought(_Section, frozen=True):
    """What the shopper bought is not listed."""

    enabled: bool = True
    wait_min: NotNegative = 60
    again_min: Share = 0.1
    pairs_max: Positive = 1_000_000


class OutOfStock(_Section, frozen=True):
    """What cannot be had is not listed."""

    enabled: bool = True
    rewrite_max: NotNegative = 2000


class OwnBrand(_Section, frozen=True):
    """Items of some brands come earlier."""

    brands: tuple[str, ...] = ()
    boost: Annotated[float, msgspec.Meta(ge=1)] = 1.5


class Diversity(_Section, frozen=True):
    """Items that are alike do not stand together."""

    weight: Share = 0.0


class CategoryCap(_Section, frozen=True):
    """Not too much of one category at the beginning."""

    most: NotNegative = 0
    among: Positive = 10


class ListRules(_Section, frozen=True):
    """What is done to a list before it is shown, in this order."""

    already_bought: AlreadyBought = AlreadyBought()
    out_of_stock: OutOfStock = OutOfStock()
    own_brand: OwnBrand = OwnBrand()
    diversity: Diversity = Diversity()
    category_cap: CategoryCap = CategoryCap()


class Exploration(_Section, frozen=True):
    """One place of some lists, to try what a single learner would put there."""

    share: Share = 0.0
    position: Positive = 12
    seed: NotNegative = 7


class Lists(_Section, frozen=True):
    """Top-k lists of shoppers, items and scopes."""

    k: Annotated[int, msgspec.Meta(gt=0, le=100)] = 20
    allow_repeats: bool = True
    figures_every_ms: Positive = 1000
    popularity_half_life_hours: HalfLife = 24.0
    covisitation_half_life_days: HalfLife = 30.0
    blend_memory_events: Positive = 10_000
    weights: Weights = Weights()
    served: Served = Served()
    rules: ListRules = ListRules()
    exploration: Exploration = Exploration()

    def __post_init__(self) -> None:
        """Refuse a place to explore that is not there, or that a rule has promised to others."""
        position, cap = self.exploration.position, self.rules.category_cap
        if self.exploration.share and position > self.k:
            raise ValueError("exploration.position must be at most k")
        if self.exploration.share and cap.most and position <= cap.among:
            raise ValueError("exploration.position must be above rules.category_cap.among")


class State(_Section, frozen=True):
    """How much is in memory: where there is more, what was not seen for longest gives way."""

    shoppers_max: Positive = 1_000_000
    items_max: Positive = 200_000
    idle_days: Positive = 30
    known_idle_days: Positive = 400


ConsentDefault = Literal["allow", "deny"]


class UnknownConsent(_Section, frozen=True):
    """What a visitor counts as who has not been asked about a purpose."""

    analytics: ConsentDefault = "allow"
    personalization: ConsentDefault = "allow"
    ads: ConsentDefault = "allow"


class UnknownConsentInCountry(_Section, frozen=True):
    """Where that differs in a country; None: as everywhere."""

    analytics: ConsentDefault | None = None
    personalization: ConsentDefault | None = None
    ads: ConsentDefault | None = None


class Privacy(_Section, frozen=True):
    """What consent and erasure mean. Whatever keeps shoppers asks for a file that states `unknown`."""

    unknown: UnknownConsent = UnknownConsent()
    by_country: dict[str, UnknownConsentInCountry] = {}
    tombstone_days: Positive = 90
    notice_days: Positive = 7


class Redis(_Section, frozen=True):
    """Where results go. The password comes from the environment only."""

    url: str = "embedded"
    timeout_ms: Positive = 2000
    patience_s: Positive = 600
    replicas: NotNegative = 0
    change_stream_max: Positive = 1_000_000


class Kafka(_Section, frozen=True):
    """Where a live run reads events. User and password come from the environment only."""

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


class Recovery(_Section, frozen=True):
    """What is stored so that a run can go on."""

    checkpoint_s: Positive = 300
    rewrite_ratio: Annotated[float, msgspec.Meta(gt=0)] = 1.0


class Metrics(_Section, frozen=True):
    """What a live run answers over HTTP."""

    listen: str = "127.0.0.1:9464"
    ready_lag_max: NotNegative = 100_000


class Log(_Section, frozen=True):
    """What a live run says on standard error."""

    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Run(_Section, frozen=True):
    """How a live run is watched."""

    stuck_s: Annotated[float, msgspec.Meta(gt=0)] = 30.0
    lease_s: Annotated[float, msgspec.Meta(gt=0)] = 15.0
    meet_s: Annotated[float, msgspec.Meta(gt=0)] = 300.0


class Serving(_Section, frozen=True):
    """The page for marketers. The token comes from the environment only."""

    listen: str = "127.0.0.1:8600"
    proxy_header: str = ""
    tabs_max: Positive = 200
    recent_events: NotNegative = 50


class Endpoint(_Section, frozen=True):
    """Who is told of changes, and for which purpose. The secret comes from the environment only."""

    url: str
    purpose: str = ""
    segments: tuple[str, ...] = ("*",)

    def __post_init__(self) -> None:
        """Refuse what cannot be posted to, and a purpose that nobody could have consented to."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise ValueError("url must be http:// or https:// with a host and without a login")
        if self.purpose not in PURPOSES:
            problem = f"is {self.purpose!r}, expected" if self.purpose else "is missing: write"
            raise ValueError(
                f"purpose {problem} analytics, personalization or ads, for which the endpoint uses "
                "shoppers: those who refuse it are not told there"
            )


EndpointName = Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9-]{0,39}$")]


class Hooks(_Section, frozen=True):
    """Webhooks: who is told of changes, and how persistently."""

    endpoints: dict[EndpointName, Endpoint] = {}
    start: Literal["newest", "first"] = "newest"
    timeout_ms: Annotated[int, msgspec.Meta(gt=0, le=7000)] = 5000
    concurrency: Annotated[int, msgspec.Meta(gt=0, le=256)] = 8
    tries: Positive = 16
    backoff_first_ms: Positive = 1000
    backoff_most_s: Positive = 600
    dead_letters_max: Positive = 100_000
    listen: str = "127.0.0.1:9474"


class Settings(_Section, frozen=True):
    """The whole configuration.

    `definitions` is no key: it is what `segments.file` holds, read with the configuration.
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
    privacy: Privacy = Privacy()
    redis: Redis = Redis()
    recovery: Recovery = Recovery()
    metrics: Metrics = Metrics()
    log: Log = Log()
    run: Run = Run()
    serving: Serving = Serving()
    hooks: Hooks = Hooks()
    definitions: str = ""

    @property
    def without_deployment(self) -> Settings:
        """This configuration as far as results depend on it: all else as it is by default."""
        return msgspec.structs.replace(
            self,
            segments=Segments(),
            kafka=Kafka(),
            redis=Redis(),
            recovery=Recovery(),
            metrics=Metrics(),
            log=Log(),
            run=Run(),
            serving=Serving(),
            hooks=Hooks(),
        )

    @property
    def sha256(self) -> str:
        """What identifies this configuration in a report: all that results depend on."""
        facts = msgspec.json.encode(self.without_deployment, order="deterministic")
        return hashlib.sha256(facts).hexdigest()


def default_path() -> Path:
    """`config.yaml` of the working directory, else the one that came with the installation."""
    local = Path("config.yaml")
    if local.exists():
        return local
    packaged = Path(__file__).parent / "config.yaml"
    return packaged if packaged.exists() else Path(__file__).parents[1] / "config.yaml"


def load(
    path: Path | None = None,
    *,
    overrides: tuple[str, ...] = (),
    environment: dict[str, str] | None = None,
    require_consent_defaults: bool = False,
) -> Settings:
    """Read a configuration file, then the environment (`PENSTOCK_A__B`), then `a.b=c` overrides.

    Raises UserError that names the file, the key and what is wrong with it; with
    `require_consent_defaults`, for
    whatever keeps or exports shoppers, also where `privacy.unknown` is left out.
    """
    config_path = path or default_path()
    try:
        tree = yaml.load(config_path.read_bytes(), _TextTimeLoader) or {}  # noqa: S506  it is a SafeLoader
    except OSError as error:
        raise ConfigurationError(
            f"{config_path}: {error.strerror}: name a configuration with --config"
        ) from error
    except yaml.YAMLError as error:
        raise ConfigurationError(
            f"{config_path}: not YAML: {' '.join(str(error).split())}"
        ) from error
    if not isinstance(tree, dict):
        raise ConfigurationError(
            f"{config_path}: expected sections such as `redis:`, got a {type(tree).__name__}"
        )
    origins = str(config_path)
    for name, value in sorted((os.environ if environment is None else environment).items()):
        if name.startswith(ENVIRONMENT_PREFIX) and "__" in name:
            _set_key(tree, name[len(ENVIRONMENT_PREFIX) :].lower().split("__"), value or "''", name)
            origins += f", {name}"
    for override in overrides:
        key, sign, value = override.partition("=")
        if not sign:
            raise ConfigurationError(f"--set {override}: expected a.b=c, as in --set lists.k=30")
        _set_key(tree, key.split("."), value, f"--set {override}")
        origins += f", --set {override}"
    if DEFINITIONS in tree:
        raise ConfigurationError(f"{origins}: Object contains unknown field `{DEFINITIONS}`")
    try:
        settings = msgspec.convert(tree, Settings, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{origins}: {error}") from error
    stated = tree.get("privacy", {}).get("unknown", {}).keys()
    if require_consent_defaults and (
        unstated := [purpose for purpose in PURPOSES if purpose not in stated]
    ):
        raise ConfigurationError(
            f"{origins}: privacy.unknown.{unstated[0]} {_UNKNOWN_CONSENT_ADVICE}"
        )
    return msgspec.structs.replace(settings, definitions=_read_segment_rules(settings, config_path))


def _read_segment_rules(settings: Settings, config_path: Path) -> str:
    """The text of `segments.file`, "" where there is none: only one that was asked for must be there."""
    path = config_path.parent / settings.segments.file
    try:
        return path.read_text()
    except FileNotFoundError as error:
        if settings.segments == Segments():
            return ""
        raise ConfigurationError(
            f"{path}: {error.strerror}: write it, or leave segments.file out"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read as text: {error}") from error


def _set_key(tree: dict[str, Any], path: list[str], text: str, origin: str) -> None:
    node = tree
    for name in path[:-1]:
        child = node.setdefault(name, {})
        if not isinstance(child, dict):
            raise ConfigurationError(f"{origin}: `{name}` is a value, not a section")
        node = child
    try:
        # No text at all is an empty one: to YAML it would be null.
        node[path[-1]] = yaml.load(text, _TextTimeLoader) if text else ""  # noqa: S506
    except yaml.YAMLError:
        node[path[-1]] = text
