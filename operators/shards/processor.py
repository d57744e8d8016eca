"""The fold at the heart of the flow: one shard's events into shoppers, sessions and profiles.

It runs twice: by device, where anonymous shoppers live and users are recognised, and by user. Hot: it
changes its state in place. What it counts does not depend on how events were cut into batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from operators.events.processing_errors import FATAL_ERRORS, ProcessingErrors
from operators.segments.propensity.decision_times import ticks_between
from operators.segments.rules.engine import create_engine
from operators.shards import consent, duplicates, outcomes
from operators.shards.consent import ConsentPolicy
from operators.shards.retractions import Retractions
from operators.shoppers import inactivity, orders, profile, sessions
from operators.shoppers.affinities import DecayedCounts
from operators.shoppers.features import feature_row
from operators.tables.idle_index import IdleIndex
from operators.tables.timers import Timers
from state import keys, resp
from state.config import Privacy, Propensity, Recovery
from state.messages import BatchId, ShardOutput, ShardTotals, ShopperObservation
from state.money import AMOUNT_MAX, MICROS_PER_UNIT, is_saturated, to_micros
from state.shopper import ANALYTICS, PERSONALIZATION, Shopper
from state.snapshots import ShardRulesState
from state.times import DAY_MS, HOUR_MS

if TYPE_CHECKING:
    from operators.segments.rules.compiler import RuleSet
    from state.config import Lifecycle, Profiles, Sessions, State
    from state.events import Event
    from state.messages import ItemUpdate, StateTransfer, Transition
    from state.shopper import Session

INTERACTION_TYPES = frozenset({"item_view", "cart_add", "purchase", "wishlist_add"})
"""Events that learners learn from."""

FEEDBACK_TYPES = frozenset({"cart_remove", "refund", "reco_view", "reco_click"})
"""Events that say what came of items."""

MONEY_TYPES = frozenset({"cart_add", "cart_remove", "purchase", "refund"})
"""Events whose amounts are added up."""

_EMITTED_TYPES = INTERACTION_TYPES | FEEDBACK_TYPES

DEVICES_MAX = 64
"""Devices of a user that are remembered, the newest; of others Redis forgets whose they are in time."""

_HASH_BYTES = 8
_SESSION_KEY_GRACE_MS = 60_000
_DEL, _HDEL = resp.pack_str("DEL"), resp.pack_str("HDEL")
_EXPIRE, _PEXPIRE = resp.pack_str("EXPIRE"), resp.pack_str("PEXPIRE")
_CHANCE_FIELD = resp.pack_str("p_buy_session")


@dataclass(frozen=True)
class ProcessorConfig:
    """The settings of the fold, in the units it works in."""

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
    ) -> ProcessorConfig:
        """The rules that a configuration sets, and `segments` that are decided by rule.

        `propensity` says at which events and times models are to say what will come; None: at none.
        `privacy_key` is the secret under which erased ids are hashed.
        """
        decisions = propensity or Propensity(sampled_share=0.0, horizon_days=0)
        return cls(
            gap_ms=sessions.gap_ms,
            lateness_ms=sessions.allowed_lateness_ms,
            event_hash_bytes_max=sessions.remembered_event_ids * _HASH_BYTES,
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
        )


class ShopperProcessor:
    """The shoppers of one shard, and what happened to them in the batch at hand.

    `dirty_names` are the names whose rows a snapshot has to write or take out.
    """

    def __init__(
        self,
        config: ProcessorConfig,
        rows: dict[str, Shopper],
        totals: ShardTotals,
        stored: ShardRulesState | None = None,
        *,
        step: str = "visit",
    ) -> None:
        self.errors = ProcessingErrors(step)
        self.dirty_names: set[str] = set()
        self.idle = IdleIndex(HOUR_MS)
        self.config = config
        self.rows = rows
        self.totals = totals
        self._session_ttl = resp.pack_int(config.session_ttl_ms)
        self._known_ttl = resp.pack_int(config.known_ttl_s)
        self._anonymous_ttl = resp.pack_int(config.anonymous_ttl_s)
        self._session_timers = Timers()
        self.rule_engine = create_engine(config.segment_rules, stored or ShardRulesState())
        if self.rule_engine is not None:
            self.rule_engine.processing_errors = self.errors
        self._is_single_partition = False
        self._watermark_ms = 0
        for shopper_id, shopper in rows.items():
            self.idle.add(shopper_id, shopper.last_ms)
            if self.rule_engine is not None:
                self.rule_engine.track(shopper_id, shopper)
            for session in shopper.open_sessions:
                self._session_timers.add(session.last_ms + config.gap_ms, shopper_id)
        # With the time each was last seen at before the batch; -1 for who is new.
        self._active_before_ms: dict[str, int] = {}
        self._item_updates: dict[str, ItemUpdate] = {}
        self._restored: list[str] = []
        self._retractions = Retractions()
        self._denies_by_default = config.consent_policy.denies_by_default
        self._deleted_aliases: set[str] = set()
        self.refusing_analytics: list[str] = []
        """Who refuses analytics now, and whose row may wait in Redis."""
        self.output = ShardOutput(BatchId("", 0), 0, 0, last=False)

    def begin_batch(self, batch: BatchId, shard: int, watermark_ms: int, *, last: bool) -> None:
        """Start on a batch: the sessions that no event in time can reach any more are closed."""
        self.output = ShardOutput(batch, shard, watermark_ms, last=last)
        gap_ms = self.config.gap_ms
        self._is_single_partition, self._watermark_ms = batch.partitions == 1, watermark_ms
        if self.rule_engine is not None:
            self.rule_engine.transitions = self.output.transitions
            # Before sessions are closed: what was so at a time, was so while they were open.
            event_time_ms = self._event_time_ms(watermark_ms)
            if self.rule_engine.migrate_rules(self.rows, event_time_ms):
                self.dirty_names.update(self.rows)
            self.dirty_names.update(self.rule_engine.advance_all(self.rows, event_time_ms))
        expired: list[tuple[int, str, Shopper]] = []
        for shopper_id in self._session_timers.take_due(watermark_ms):
            shopper = self.rows.get(shopper_id)
            if shopper is not None and shopper.open_sessions:
                ends_ms = self._first_end_ms(shopper)
                if ends_ms < watermark_ms:
                    expired.append((ends_ms, shopper_id, shopper))
                else:
                    self._session_timers.add(ends_ms, shopper_id)
        expired.sort()
        for _, shopper_id, shopper in expired:
            closed = sessions.close_expired(shopper, watermark_ms, gap_ms=gap_ms)
            self.totals.sessions_closed += len(closed)
            with self.errors.isolate("outcomes", shopper_id):
                self.output.session_outcomes += [
                    one.decision_outcomes(one.last_ms + gap_ms) for one in closed if one.decisions
                ]
            self.dirty_names.add(shopper_id)
            if shopper.open_sessions:
                self._session_timers.add(self._first_end_ms(shopper), shopper_id)
            else:
                self.output.writes.append(
                    resp.pack_command(_DEL + resp.pack_str(keys.session_key(shopper_id)), 2)
                )
                if self.config.sample_of_256:
                    profile_key = resp.pack_str(keys.profile_key(shopper_id))
                    self.output.writes.append(
                        resp.pack_command(f"{_HDEL}{profile_key}{_CHANCE_FIELD}", 3)
                    )

    def _first_end_ms(self, shopper: Shopper) -> int:
        """The last time at which an event would still belong to the one that ends first."""
        first, *other_sessions = shopper.open_sessions
        last_ms = (
            min(first.last_ms, *[one.last_ms for one in other_sessions])
            if other_sessions
            else first.last_ms
        )
        return last_ms + self.config.gap_ms

    def process_event(
        self, shopper_id: str, event: Event, position: int, event_watermark_ms: int, *, known: bool
    ) -> bool:
        """Count one event of a shopper; False if it had been counted before, or is withheld."""
        at_ms, event_type = event.event_ts, event.type
        shopper = self.rows.get(shopper_id)
        refused = 0
        if (
            shopper is None
            or shopper.consent[0]
            or event.consent is not None
            or self._denies_by_default
        ):
            refused, shopper = self._admit(shopper_id, shopper, event, known=known)
            if shopper is None:
                return False
        event_hash, recent_hashes = orders.id_hash(event.event_id), shopper.recent_event_hashes
        if (event_hash in recent_hashes and _contains_hash(event_hash, recent_hashes)) or (
            event_type == "purchase" and self._is_duplicate_order(shopper, event)
        ):
            self.totals.duplicates += 1
            return False
        bytes_max = self.config.event_hash_bytes_max
        shopper.recent_event_hashes = (recent_hashes + event_hash)[-bytes_max:]
        shopper.recent_event_details = (
            shopper.recent_event_details + duplicates.pack_time_and_type(at_ms, event_type)
        )[-bytes_max:]
        self.totals.accepted += 1
        self._active_before_ms.setdefault(shopper_id, shopper.last_ms)
        has_window_ended = False
        if self.rule_engine is not None:
            event_time_ms = self._event_time_ms(event_watermark_ms)
            has_window_ended = not self.rule_engine.advance_to(
                shopper_id, shopper, event_time_ms, at_ms
            )
        if at_ms < event_watermark_ms:
            shopper.late += 1
            self.totals.late += 1
        self._emit_observation(shopper_id, shopper, event, event_watermark_ms, refused)
        inactivity.observe(shopper, at_ms, self.config.absence_ms)
        sessions_before = shopper.sessions
        session = sessions.add_event(
            shopper, at_ms, gap_ms=self.config.gap_ms, watermark_ms=event_watermark_ms
        )
        if shopper.sessions != sessions_before:
            self.totals.sessions_opened += shopper.sessions - sessions_before
            if session is not None and shopper.sessions > sessions_before:
                self._session_timers.add(session.last_ms + self.config.gap_ms, shopper_id)
        profile.apply_event(shopper, session, event)
        if event_type in MONEY_TYPES:
            event = self._apply_money(shopper, session, event, event_hash)
        if event_hash[0] < self.config.sample_of_256 and not refused & PERSONALIZATION:
            self._record_decision(event_hash, shopper, session, event_watermark_ms)
        if event_type in _EMITTED_TYPES:
            self._emit_interactions(shopper_id, shopper, event, position, session, refused)
        if self.rule_engine is not None:
            # A late event may also bring a session back that had ended.
            begins_session = has_window_ended or shopper.sessions != sessions_before
            self.rule_engine.apply_event(
                shopper_id, shopper, event, event_time_ms, begins_session=begins_session
            )
        return True

    def _admit(
        self, shopper_id: str, shopper: Shopper | None, event: Event, *, known: bool
    ) -> tuple[int, Shopper | None]:
        """What somebody new, or who said so, refuses; None for a shopper whose event is withheld."""
        if event.consent is None and not self._denies_by_default and shopper is None:
            return 0, self.add_shopper(shopper_id, event.event_ts, known=known)
        refused = consent.apply_consent(self, shopper_id, event, known=known)
        return refused, None if refused & ANALYTICS else self.rows[shopper_id]

    def add_shopper(self, shopper_id: str, at_ms: int, *, known: bool) -> Shopper:
        """Somebody new, or of whom only a refusal was known."""
        shopper = self.rows[shopper_id] = Shopper(known, at_ms, at_ms)
        self.totals.shoppers += 1
        self._active_before_ms[shopper_id] = -1
        return shopper

    def _emit_interactions(
        self,
        shopper_id: str,
        shopper: Shopper,
        event: Event,
        position: int,
        session: Session | None,
        refused: int,
    ) -> None:
        """Tell what an event says of tastes, prices and items, for what the shopper does not refuse."""
        at_ms, event_type = event.event_ts, event.type
        if event_type in FEEDBACK_TYPES:
            if not refused & PERSONALIZATION:
                self._emit_feedback(shopper_id, event, position)
            return
        session_ms = at_ms if session is None else session.start_ms
        clicks, affinities, currency = (
            self.output.interactions,
            self.config.affinities,
            profile.price_currency(event),
        )
        country = event.country or ""
        for item in event.items:
            category = "/".join(item.category)
            click = (
                position,
                shopper_id,
                item.item_id,
                event_type,
                at_ms,
                session_ms,
                category,
                country,
            )
            if not refused:
                clicks.append(click)
            else:
                self.output.limited_interactions.append((refused, click))
            # One whose price is apart says less of the item than one before it.
            if not refused & PERSONALIZATION and (
                event.apart is None or item.item_id not in self._item_updates
            ):
                self._item_updates[item.item_id] = (at_ms, item, currency)
            if category:
                affinities.add(shopper, category, at_ms)
            if item.price is not None and event_type == "item_view":
                price = shopper.viewed_price_micros + to_micros(item.price)
                shopper.viewed_price_micros = price if price < AMOUNT_MAX else AMOUNT_MAX
                shopper.viewed_prices += 1
        if event_type == "purchase":
            self.output.orders.append((shopper_id, profile.value_micros(event), at_ms))

    def _emit_feedback(self, shopper_id: str, event: Event, position: int) -> None:
        """Tell what came of items: given back, shown, clicked in a list."""
        list_position = event.reco and event.reco.position
        for number, item in enumerate(event.items, start=1):
            item_position = (
                item.position or (list_position if len(event.items) == 1 else None) or number
            )
            self.output.feedback.append(
                (position, shopper_id, item.item_id, event.type, event.event_ts, item_position - 1)
            )

    def _event_time_ms(self, watermark_ms: int) -> int:
        """The newest event time that all have reached, where that of one event is known."""
        watermark_ms = self._reached_ms(watermark_ms)
        return watermark_ms and watermark_ms + self.config.lateness_ms

    def _reached_ms(self, event_watermark_ms: int) -> int:
        """The watermark that stood at an event.

        Of several partitions one may be ahead of the others: only what all have reached counts.
        """
        return event_watermark_ms if self._is_single_partition else self._watermark_ms

    def merge_in(self, transfer: StateTransfer, event: Event | None = None) -> None:
        """`_merge_state`, or where that raises the user as it was; one that was not there is the other.

        `event` is that of the user at which it happens, which may say what the shopper refuses.
        """
        if not consent.may_merge(self, transfer, event):
            return
        own = self.rows.get(transfer.shopper)
        row_before = None if own is None else msgspec.msgpack.encode(own)
        try:
            self._merge_state(transfer)
        except FATAL_ERRORS:
            raise
        except Exception:
            self.errors.record("merge", transfer.shopper)
            row = (
                transfer.state
                if row_before is None
                else msgspec.msgpack.decode(row_before, type=Shopper)
            )
            row.known = True
            self.rows[transfer.shopper] = row

    def _merge_state(self, transfer: StateTransfer) -> None:
        """Add an anonymous shopper's state to the user it turned out to be."""
        other, shopper_id = transfer.state, transfer.shopper
        is_same = transfer.anonymous_id == shopper_id
        shopper = self.rows.get(shopper_id)
        if shopper is None and is_same:
            self._adopt(transfer)
            return
        if shopper is None or not shopper.events:
            statement_only, shopper = (
                shopper,
                self.add_shopper(shopper_id, other.first_ms, known=True),
            )
            shopper.last_ms = other.last_ms
            shopper.absence_start_ms, shopper.returned_ms = (
                other.absence_start_ms,
                other.returned_ms,
            )
            if statement_only is not None:
                consent.merge_consent(shopper, statement_only)
        self._active_before_ms.setdefault(shopper_id, shopper.last_ms)
        refused_by_both = shopper.refused & other.refused
        if self.config.decision_ticks:
            watermark_ms = self._reached_ms(transfer.watermark_ms)
            observation = outcomes.observation_of_merge(
                self.config, shopper_id, shopper, other, transfer.at_ms, watermark_ms
            )
            known_ms = max(transfer.at_ms, watermark_ms)
            self.output.observations += [observation] if observation is not None else []
            self.output.observations.append(
                ShopperObservation(
                    transfer.anonymous_id, transfer.at_ms, known_ms, merged_into=shopper_id
                )
            )
        rule_engine, event_time_ms = self.rule_engine, self._event_time_ms(transfer.watermark_ms)
        if rule_engine is not None:
            rule_engine.advance_shopper(shopper_id, shopper, max(event_time_ms, other.last_ms - 1))
        inactivity.merge(shopper, other, self.config.absence_ms)
        sessions_before, joined_ms = shopper.sessions, max(transfer.at_ms, transfer.watermark_ms)
        kinds = {} if rule_engine is None else rule_engine.rules.window_kinds
        duplicate_orders, duplicate_count = duplicates.remove_duplicates(
            shopper, other, kinds, event_time_ms
        )
        self.output.double_counted_orders += [(shopper_id, *repeat) for repeat in duplicate_orders]
        if self.config.decision_ticks:
            self.output.observations += [
                ShopperObservation(shopper_id, at_ms, known_ms, value_micros=-worth)
                for worth, at_ms in duplicate_orders
            ]
        self.totals.repeats += duplicate_count
        sessions.merge(shopper, other, gap_ms=self.config.gap_ms, at_ms=joined_ms)
        self.totals.sessions_opened += shopper.sessions - sessions_before
        profile.merge(shopper, other, self.config.affinities)
        bytes_max = self.config.event_hash_bytes_max
        shopper.recent_event_hashes = (shopper.recent_event_hashes + other.recent_event_hashes)[
            -bytes_max:
        ]
        shopper.recent_event_details = (shopper.recent_event_details + other.recent_event_details)[
            -bytes_max:
        ]
        for session in shopper.open_sessions:
            self._session_timers.add(session.last_ms + self.config.gap_ms, shopper_id)
        if rule_engine is not None:
            rule_engine.merge(shopper_id, shopper, other, event_time_ms, is_same=is_same)
        self._emit_transferred(transfer)
        if not is_same:
            self.totals.merges += 1
            self.output.merged.append((transfer.anonymous_id, shopper_id, transfer.at_ms))
        if newly_refused := shopper.refused & ~refused_by_both:
            consent.withdraw_purposes(self, shopper_id, shopper, newly_refused, transfer.at_ms)

    def _emit_transferred(self, transfer: StateTransfer) -> None:
        """Tell what the batch tells of a shopper that moved."""
        self.output.interactions += transfer.interactions
        self.output.feedback += transfer.feedback
        self.output.orders += transfer.orders
        self.output.transitions_before_merge += transfer.transitions
        self.output.limited_interactions += transfer.limited_interactions

    def _adopt(self, transfer: StateTransfer) -> None:
        """Go on with a shopper of the same name, who was kept where its devices are."""
        shopper_id, shopper = transfer.shopper, transfer.state
        self.rows[shopper_id] = shopper
        self.idle.add(shopper_id, shopper.last_ms)
        self.dirty_names.add(shopper_id)
        self.totals.shoppers += 1
        self.totals.sessions_opened += shopper.sessions
        for session in shopper.open_sessions:
            self._session_timers.add(session.last_ms + self.config.gap_ms, shopper_id)
        if self.rule_engine is not None:
            self.rule_engine.track(shopper_id, shopper)
        self._emit_transferred(transfer)
        if transfer.position >= 0:
            self._active_before_ms[shopper_id] = -1
            if not shopper.known:
                self.set_known(shopper_id, transfer.watermark_ms, known=True)

    def set_known(self, shopper_id: str, event_watermark_ms: int, *, known: bool) -> None:
        """A shopper turned out to be a user, or not to be one."""
        shopper = self.rows[shopper_id]
        shopper.known = known
        if not shopper.events:
            self.dirty_names.add(shopper_id)
            return
        self._active_before_ms.setdefault(shopper_id, shopper.last_ms)
        if self.rule_engine is not None:
            self.rule_engine.evaluate_all(
                shopper_id, shopper, max(self._event_time_ms(event_watermark_ms), shopper.last_ms)
            )

    def transfer_out(self, shopper_id: str, user: str) -> tuple[Shopper | None, list[Transition]]:
        """Remove a shopper whose state moves to a user's shard, with what it had added to totals; where
        it came and went in this batch is told from there."""
        shopper = self.rows.pop(shopper_id, None)
        transitions: list[Transition] = []
        if shopper is not None:
            self.dirty_names.add(shopper_id)
            if shopper_id != user:
                transitions = self._remove_from_segments(shopper_id, shopper)
            self.totals.shoppers -= shopper.events > 0
            self.totals.sessions_opened -= shopper.sessions
        return shopper, transitions

    def transfer_output(self, transfer: StateTransfer) -> None:
        """What a shopper that moves did in this batch, the user's shard tells: it knows if it may."""
        shopper_id = transfer.anonymous_id
        if self._active_before_ms.pop(shopper_id, None) is not None:
            self._retractions.add(self.output, shopper_id, transfer)

    def withdraw_analytics(self, shopper_id: str, at_ms: int) -> None:
        """Forget a shopper who agreed to be counted, or was not asked, and refuses now."""
        for device in self.rows[shopper_id].published_devices:
            self.delete_alias(device)
        self.erase(shopper_id, at_ms)
        self.refusing_analytics.append(shopper_id)

    def mark_active(self, shopper_id: str) -> None:
        """Have a shopper told of at the end of the batch."""
        self._active_before_ms.setdefault(shopper_id, self.rows[shopper_id].last_ms)

    def delete_alias(self, device: str) -> None:
        """Redis does not tell whose a device is; its shard, which knows, may just have told it."""
        if device not in self._deleted_aliases:
            self._deleted_aliases.add(device)
            self.output.expiry_writes.append(("DEL", keys.alias_key(device)))

    def emit_alias(self, shopper_id: str, device: str) -> None:
        """Redis tells whose a device is, who agrees to that again."""
        self._deleted_aliases.discard(device)
        if device == shopper_id:
            return  # an id needs no alias for itself
        alias, ttl_s = keys.alias_key(device), self.config.alias_ttl_s
        self.output.expiry_writes.append(("SET", alias, shopper_id, "EX", ttl_s))
        self.add_device(shopper_id, device)

    def add_device(self, shopper_id: str, device: str) -> None:
        """Remember that Redis tells that a device is this user's, to take it back."""
        shopper = self.rows.get(shopper_id)
        if shopper is not None and shopper.events and device not in shopper.published_devices:
            shopper.published_devices = (*shopper.published_devices, device)[-DEVICES_MAX:]
            self.dirty_names.add(shopper_id)

    def erase(self, shopper_id: str, at_ms: int) -> None:
        """Forget a shopper, here and in Redis; sessions that go on end with it, and teach nothing.

        The event that asks for it is not counted here.
        """
        self.remove(shopper_id)
        self.output.erased.append((shopper_id, at_ms))
        self.output.removal_writes.append(
            ("DEL", keys.profile_key(shopper_id), keys.session_key(shopper_id))
        )

    def remove(self, shopper_id: str) -> None:
        """The same where another shard tells of it."""
        shopper = self.rows.pop(shopper_id, None)
        if shopper is not None:
            self.dirty_names.add(shopper_id)
            self.totals.shoppers -= shopper.events > 0
            self.totals.sessions_closed += len(shopper.open_sessions)
            self._remove_from_segments(shopper_id, shopper)
            self._discard_decisions(shopper)
        self._active_before_ms.pop(shopper_id, None)
        self._retract_output(shopper_id)

    def drop_transfer(self, transfer: StateTransfer) -> None:
        """Take no one over: the user that a shopper turned out to be is erased, and it with it."""
        other = transfer.state
        self.totals.sessions_opened += other.sessions
        self.totals.sessions_closed += len(other.open_sessions)
        self._discard_decisions(other)
        if transfer.anonymous_id != transfer.shopper:
            self.output.erased.append((transfer.anonymous_id, transfer.at_ms))

    def _retract_output(self, shopper_id: str) -> None:
        """What the batch tells of a shopper by now is not told."""
        output = self.output
        self._retractions.add(output, shopper_id, None)
        output.consent_withdrawals = [
            one for one in output.consent_withdrawals if one[0] != shopper_id
        ]
        if output.transitions_before_merge:
            merged_ids = {one[0] for one in output.merged if one[1] == shopper_id}
            output.transitions_before_merge = [
                one for one in output.transitions_before_merge if one[0] not in merged_ids
            ]

    def _discard_decisions(self, shopper: Shopper) -> None:
        """What models decided in sessions that go on is no lesson."""
        for session in shopper.open_sessions:
            self.output.withdrawn_decisions += session.decision_hashes()

    def apply_retractions(self) -> None:
        """Sort out what the batch told of shoppers before they left."""
        if self._retractions:
            self._retractions.apply(self.output)

    def _remove_from_segments(self, shopper_id: str, shopper: Shopper) -> list[Transition]:
        """Nothing more is told of a shopper: whoever hears that it is no more takes it out of all. Gives
        what would have been told."""
        if self.rule_engine is None or shopper.rule_state is None:
            return []
        return self.rule_engine.untrack(shopper_id, shopper.rule_state)

    def evict(self, shopper_id: str) -> Shopper:
        """Take out a shopper that is put away: nobody lets time pass for it."""
        shopper = self.rows.pop(shopper_id)
        self.dirty_names.add(shopper_id)
        if self.rule_engine is not None:
            event_time_ms = max(self._event_time_ms(self.output.watermark_ms), shopper.last_ms)
            with self.errors.isolate("leave", shopper_id):
                self.rule_engine.remove_from_all(shopper_id, shopper, event_time_ms)
        return shopper

    def restore(self, shopper_id: str, shopper: Shopper) -> None:
        """Go on with a shopper that was put away; it counts as none of what is new."""
        self.rows[shopper_id] = shopper
        self.idle.add(shopper_id, shopper.last_ms)
        self.dirty_names.add(shopper_id)
        if shopper.events:
            self._restored.append(shopper_id)

    def _recheck_restored(self) -> None:
        """A shopper that was away is in no segment before its first event: that may be a duplicate."""
        for shopper_id in self._restored:
            shopper = self.rows.get(shopper_id)
            if self.rule_engine is not None and shopper is not None:
                event_time_ms = max(self._event_time_ms(self.output.watermark_ms), shopper.last_ms)
                with self.errors.isolate("ask", shopper_id):
                    self.rule_engine.evaluate_uncertain(shopper_id, shopper, event_time_ms)
        self._restored.clear()

    def rules_state(self) -> ShardRulesState:
        """What a snapshot holds of segments by rule, beside the rows."""
        return ShardRulesState() if self.rule_engine is None else self.rule_engine.to_state()

    def last_ms(self, shopper_id: str) -> int | None:
        """When a shopper was last seen, if it is here."""
        shopper = self.rows.get(shopper_id)
        return None if shopper is None else shopper.last_ms

    def end_batch(self) -> ShardOutput:
        """End the batch: one write a key of each shopper that did something."""
        output, rows = self.output, self.rows
        if self._restored:
            self._recheck_restored()
        self.apply_retractions()
        if self.rule_engine is not None:
            self.rule_engine.split_off_retracted()
        for shopper_id, previous_ms in self._active_before_ms.items():
            try:
                self._emit_shopper(shopper_id, rows[shopper_id], previous_ms)
            except Exception:
                self.errors.record("profile", shopper_id)
        self.dirty_names.update(self._active_before_ms)
        output.item_updates += self._item_updates.values()
        output.dead_letters, output.error_counts = (
            self.errors.take_dead_letters(),
            self.errors.take_counts(),
        )
        self._active_before_ms, self._item_updates = {}, {}
        self._deleted_aliases.clear()
        return output

    def _emit_shopper(self, shopper_id: str, shopper: Shopper, previous_ms: int) -> None:
        """Tell of a shopper that did something, and write what Redis shows of it."""
        output, config = self.output, self.config
        category, share = config.affinities.top(shopper)
        key = keys.shopper_key(shopper_id)
        profile_key, session_key = key + "profile", key + "session"
        arguments, count = profile.profile_command(profile_key, shopper, category, share)
        output.active.append(
            (
                shopper_id,
                shopper.known,
                shopper.refused,
                feature_row(
                    shopper, share, shopper.open_sessions[-1] if shopper.open_sessions else None
                ),
                arguments,
                count,
            )
        )
        if shopper.open_sessions:
            write = output.writes.append
            write(profile.session_command(shopper_id, session_key, shopper.open_sessions[-1]))
            write(resp.pack_command(_PEXPIRE + resp.pack_str(session_key) + self._session_ttl, 3))
        # Each time: a key that had expired, was evicted or deleted is made anew by what is written.
        ttl = self._known_ttl if shopper.known else self._anonymous_ttl
        output.expiry_writes.append(
            resp.pack_command(_EXPIRE + resp.pack_str(profile_key) + ttl, 3)
        )
        if shopper.last_ms // HOUR_MS > previous_ms // HOUR_MS:
            self.idle.add(shopper_id, shopper.last_ms)

    def undo_event(self, shopper_id: str, event: Event, position: int) -> None:
        """An event raised in the middle: it counts nowhere, and is no duplicate when it is sent again.

        A shopper of whom it was the first is none; of another what was added before it raised stays.
        """
        self.totals.failed += 1
        output = self.output
        for messages in (output.interactions, output.feedback):
            while messages and messages[-1][0] == position:
                messages.pop()
        while output.limited_interactions and output.limited_interactions[-1][1][0] == position:
            output.limited_interactions.pop()
        for item in event.items:
            self._item_updates.pop(item.item_id, None)
        shopper = self.rows.get(shopper_id)
        if shopper is None or not (shopper.events or shopper_id in self._active_before_ms):
            return
        event_hash = orders.id_hash(event.event_id)
        if shopper.recent_event_hashes.endswith(event_hash):
            shopper.recent_event_hashes, shopper.recent_event_details = (
                shopper.recent_event_hashes[:-_HASH_BYTES],
                shopper.recent_event_details[:-_HASH_BYTES],
            )
            self.totals.accepted -= 1
            while output.observations and (
                output.observations[-1].shopper,
                output.observations[-1].at_ms,
            ) == (
                shopper_id,
                event.event_ts,
            ):
                output.observations.pop()
            while output.decisions and output.decisions[-1].startswith(event_hash):
                output.decisions.pop()
            if event.type == "purchase":
                self._undo_order(shopper, event)
        if not (shopper.recent_event_hashes or shopper.events > 1) or not is_storable(shopper):
            self._remove_from_segments(shopper_id, shopper)
            del self.rows[shopper_id]
            self.dirty_names.add(shopper_id)
            self._active_before_ms.pop(shopper_id, None)
            self.totals.shoppers -= 1
            self.totals.sessions_opened -= shopper.sessions

    def _record_decision(
        self, event_hash: bytes, shopper: Shopper, session: Session | None, event_watermark_ms: int
    ) -> None:
        """Have the models say at this event what will come of the session."""
        if session is not None:
            session.add_decision(event_hash)
            share = self.config.affinities.top_share(shopper)
            watermark = self._reached_ms(event_watermark_ms).to_bytes(
                _HASH_BYTES, "little", signed=True
            )
            self.output.decisions.append(
                event_hash + watermark + feature_row(shopper, share, session)
            )

    def _emit_observation(
        self, shopper_id: str, shopper: Shopper, event: Event, event_watermark_ms: int, refused: int
    ) -> None:
        """Tell the models of the weeks to come how a shopper was before an event, and what it brings."""
        if not self.config.decision_ticks or refused & PERSONALIZATION:
            return
        at_ms, watermark_ms = event.event_ts, self._reached_ms(event_watermark_ms)
        known_ms = at_ms if at_ms > watermark_ms else watermark_ms
        is_order = event.type == "purchase"
        if is_order or outcomes.may_contain_decision_time(shopper.last_ms, known_ms):
            value_micros = profile.value_micros(event) if is_order else None
            observation = outcomes.observation_of_event(
                self.config, shopper_id, shopper, at_ms, watermark_ms, value_micros
            )
            if observation is not None:
                self.output.observations.append(observation)

    def emit_observation_of_transfer(
        self, shopper_id: str, at_ms: int, event_watermark_ms: int
    ) -> None:
        """Tell how an anonymous shopper was before it turned out to be a user."""
        shopper = self.rows.get(shopper_id)
        if shopper is None or not shopper.events or shopper.refused & PERSONALIZATION:
            return
        if self.config.decision_ticks:
            watermark_ms = self._reached_ms(event_watermark_ms)
            observation = outcomes.observation_of_event(
                self.config, shopper_id, shopper, at_ms, watermark_ms
            )
            if observation is not None:
                self.output.observations.append(observation)

    def _is_duplicate_order(self, shopper: Shopper, event: Event) -> bool:
        """Whether an order was counted before."""
        assert event.order_id is not None
        order_hash = orders.id_hash(event.order_id)
        order = orders.find(shopper, order_hash, event.event_ts, self.config.order_retention_ms)
        return order is not None and order.has_arrived

    def _apply_money(
        self, shopper: Shopper, session: Session | None, event: Event, event_hash: bytes
    ) -> Event:
        """Count what comes of an order, and amounts that do not fit; the event, a refund with what it
        gave back."""
        retention_ms = self.config.order_retention_ms
        if event.type == "purchase" and event.order_id is not None:
            order_hash = orders.id_hash(event.order_id)
            refunded_more, at_ms = orders.record_order(shopper, order_hash, event, retention_ms)
            if refunded_more and self.rule_engine is not None:
                self.rule_engine.add_refund_difference(shopper, refunded_more, at_ms)
        elif event.type == "refund" and event.order_id is not None:
            order_hash = orders.id_hash(event.order_id)
            refunded_micros = orders.record_refund(
                shopper, order_hash, event_hash, event, retention_ms
            )
            event = replace(event, value=refunded_micros / MICROS_PER_UNIT)
        self.totals.saturated += _is_saturated(shopper, session)
        return event

    def _undo_order(self, shopper: Shopper, event: Event) -> None:
        """The order of a purchase was not counted after all."""
        assert event.order_id is not None
        order_hash = orders.id_hash(event.order_id)
        order = shopper.orders.get(order_hash)
        if order is not None and order.at_ms == event.event_ts:
            del shopper.orders[order_hash]
        orders_out = self.output.orders
        if orders_out and orders_out[-1][2] == event.event_ts:
            orders_out.pop()


def _is_saturated(shopper: Shopper, session: Session | None) -> bool:
    """Whether a sum of a shopper or of its session stands at the largest amount there is."""
    sums = shopper.revenue_micros, shopper.refund_micros, shopper.units
    return is_saturated(*sums) or (session is not None and is_saturated(session.cart_micros))


def is_storable(shopper: Shopper) -> bool:
    """Whether a snapshot can hold a row."""
    try:
        msgspec.msgpack.encode(shopper)
    except Exception:
        return False
    return True


def _contains_hash(event_hash: bytes, recent_hashes: bytes) -> bool:
    """Whether one of the marks is this one, and not parts of two that happen to read the same."""
    start = recent_hashes.find(event_hash)
    while start >= 0 and start % _HASH_BYTES:
        start = recent_hashes.find(event_hash, start + 1)
    return start >= 0
