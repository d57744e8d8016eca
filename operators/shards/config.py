"""The settings of the keyed steps, converted once into the units that they work in.

A new setting is a field here, filled in `ProcessorConfig.from_config`. Nothing of it is stored.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from operators.segments.propensity.decision_times import ticks_between
from operators.shoppers.affinities import DecayedCounts
from operators.shoppers.consent import ConsentPolicy
from operators.shoppers.id_hashes import HASH_BYTES
from operators.tables.texts import TextPool
from state.config import Privacy, Propensity
from state.config_deployment import Recovery
from state.times import DAY_MS

if TYPE_CHECKING:
    from operators.segments.rules.compiler import RuleSet
    from state.config import Lifecycle, Profiles, Sessions, State

_SESSION_KEY_GRACE_MS = 60_000


@dataclass(frozen=True)
class ProcessorConfig:
    """What the steps of a shard need to know of the configuration.

    `rows_max` is per shard. `sample_of_256` is the share of events at which models decide.
    `decision_ticks` is the time between two decisions about one shopper, in ticks of
    `segments.propensity.decision_times`; 0 for no such decisions. `texts` are shared by all shards.
    `counts_kpis`: facts for the key figures are put out.
    With `writes_changes_only` a shopper is written with only the fields that changed; a run without
    stored state writes all, since nothing would repair a Redis that lost its data.
    """

    gap_ms: int
    lateness_ms: int
    event_hash_bytes_max: int
    order_retention_ms: int
    session_ttl_ms: int
    known_ttl_s: int
    anonymous_ttl_s: int
    alias_ttl_s: int
    rows_max: int
    idle_ms: int
    known_idle_ms: int
    absence_ms: int
    affinities: DecayedCounts
    segment_rules: RuleSet | None
    sample_of_256: int
    decision_ticks: int
    shards: int
    tombstone_ms: int
    rewrite_interval_ms: int
    privacy_key: bytes
    consent_policy: ConsentPolicy
    counts_kpis: bool = False
    texts: TextPool = field(default_factory=TextPool)
    writes_changes_only: bool = True

    @classmethod
    def from_config(
        cls,
        sessions: Sessions,
        profiles: Profiles,
        state: State,
        lifecycle: Lifecycle,
        segment_rules: RuleSet | None = None,
        propensity: Propensity | None = None,
        privacy: Privacy | None = None,
        recovery: Recovery | None = None,
        privacy_key: bytes = b"",
        *,
        counts_kpis: bool = False,
    ) -> ProcessorConfig:
        """Build the settings from sections of the configuration.

        Without `propensity` models take no decisions. `privacy_key` is the secret under which the ids
        of erased shoppers are hashed.
        """
        decisions = propensity or Propensity(sampled_share=0.0, horizon_days=0)
        return cls(
            gap_ms=sessions.gap_ms,
            lateness_ms=sessions.allowed_lateness_ms,
            event_hash_bytes_max=sessions.remembered_event_ids * HASH_BYTES,
            order_retention_ms=sessions.remembered_orders_days * DAY_MS,
            session_ttl_ms=sessions.gap_ms + _SESSION_KEY_GRACE_MS,
            known_ttl_s=profiles.known_ttl_days * 86_400,
            anonymous_ttl_s=profiles.anonymous_ttl_days * 86_400,
            alias_ttl_s=profiles.alias_ttl_days * 86_400,
            rows_max=max(1, state.shoppers_max // sessions.shards),
            idle_ms=state.idle_days * DAY_MS,
            known_idle_ms=state.known_idle_days * DAY_MS,
            absence_ms=lifecycle.dormant_days * DAY_MS,
            affinities=DecayedCounts(
                profiles.affinity_half_life_days * DAY_MS, profiles.affinity_categories_max
            ),
            segment_rules=segment_rules,
            sample_of_256=round(decisions.sampled_share * 256),
            decision_ticks=ticks_between(decisions),
            shards=sessions.shards,
            tombstone_ms=(privacy or Privacy()).tombstone_days * DAY_MS,
            rewrite_interval_ms=(recovery or Recovery()).checkpoint_s * 1000,
            privacy_key=privacy_key,
            consent_policy=ConsentPolicy(privacy or Privacy()),
            counts_kpis=counts_kpis,
        )
