"""The processing of events of one shard: into shoppers, sessions, profiles, segments by rule.

It runs twice: by device, where anonymous shoppers live and users are recognised, and by user. What it
counts does not depend on how events were cut into batches. Hot: `process_event` runs for every event.

The methods here are the order of the steps. Each step is in a module of its own; where the order of two
of them matters and their arguments do not say so, a comment gives the reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.shards.consent import apply_consent
from operators.shards.counted_events import count_event
from operators.shards.duplicates import pack_time_and_type
from operators.shards.interactions import EMITTED_TYPES, emit_interactions
from operators.shards.observations import observe_event
from operators.shards.order_counting import MONEY_TYPES, apply_money, is_duplicate_order
from operators.shards.plain_fold import PlainFold
from operators.shards.session_expiry import close_expired_sessions
from operators.shards.shopper_writes import ShopperWriter
from operators.shoppers import inactivity, profile, sessions
from operators.shoppers.features import feature_row
from operators.shoppers.id_hashes import HASH_BYTES, id_hash
from operators.shoppers.profile_changes import Written
from state.messages import ShardOutput
from state.shopper import ANALYTICS, PERSONALIZATION

if TYPE_CHECKING:
    from operators.shards.shard_shoppers import ShardShoppers
    from state.events import Event
    from state.messages import BatchId
    from state.shopper import Session, Shopper

_WATERMARK_BYTES = 8


class ShopperProcessor:
    """Processes batches of events: `begin_batch`, then `process_event` for each, then `end_batch`."""

    def __init__(self, shoppers: ShardShoppers) -> None:
        self._shoppers = shoppers
        self._config = shoppers.config
        self._writer = ShopperWriter(shoppers)
        self._denies_by_default = shoppers.config.consent_policy.denies_by_default
        self.plain_fold = PlainFold(shoppers)

    def begin_batch(self, batch: BatchId, shard: int, watermark_ms: int, *, last: bool) -> None:
        """Start a batch: let event time pass for rules and sessions."""
        shoppers = self._shoppers
        shoppers.start_batch(ShardOutput(batch, shard, watermark_ms, last=last))
        engine = shoppers.rule_engine
        if engine is not None:
            # Rules before sessions are closed: what held at a time, held while the session was open.
            event_time_ms = shoppers.event_time_ms(watermark_ms)
            if engine.migrate_rules(shoppers.rows, event_time_ms):
                shoppers.dirty_names.update(shoppers.rows)
            shoppers.dirty_names.update(engine.advance_all(shoppers.rows, event_time_ms))
        close_expired_sessions(shoppers)

    def process_event(
        self, shopper_id: str, event: Event, position: int, event_watermark_ms: int, *, known: bool
    ) -> bool:
        """Count one event of a shopper; False if it was counted before, or is withheld."""
        shoppers, config = self._shoppers, self._config
        engine, at_ms, event_type = shoppers.rule_engine, event.event_ts, event.type
        shopper = shoppers.rows.get(shopper_id)
        refused = 0
        # Consent first: an event that is withheld leaves nothing, not even its id.
        if (
            shopper is None
            or shopper.consent[0]
            or event.consent is not None
            or self._denies_by_default
        ):
            refused, shopper = self._admit(shopper_id, shopper, event, known=known)
            if shopper is None:
                return False
        event_hash = id_hash(event.event_id)
        if self._is_duplicate(shopper, event, event_hash):
            shoppers.totals.duplicates += 1
            return False
        if shopper_id not in shoppers.active_before_ms:
            shoppers.active_before_ms[shopper_id] = shopper.last_ms
            shoppers.written_before[shopper_id] = Written.of(shopper)
        # Timers of rules before the session: a visit ends for them before the event begins the next.
        has_session_ended = False
        if engine is not None:
            event_time_ms = shoppers.event_time_ms(event_watermark_ms)
            has_session_ended = not engine.advance_to(shopper_id, shopper, event_time_ms, at_ms)
        # Before sessions and profile change: both are about the shopper as it was until this event.
        if config.decision_ticks and not refused & PERSONALIZATION:
            observe_event(shoppers, shopper_id, shopper, event, event_watermark_ms)
        inactivity.observe(shopper, at_ms, config.absence_ms)
        if config.counts_kpis:
            count_event(shoppers, shopper_id, event, event_hash, position)
        # The session before the profile, whose counts go into it.
        sessions_before = shopper.sessions
        session = self._add_to_session(shopper_id, shopper, at_ms, event_watermark_ms)
        profile.apply_event(shopper, session, event)
        # After the profile, whose sums it checks; before the rules, which see what a refund gave back.
        if event_type in MONEY_TYPES:
            event = apply_money(shoppers, shopper_id, shopper, session, event, event_hash)
        # A model decides about the shopper with this event.
        if event_hash[0] < config.sample_of_256 and not refused & PERSONALIZATION:
            self._record_decision(event_hash, shopper, session, event_watermark_ms)
        if event_type in EMITTED_TYPES:
            emit_interactions(shoppers, shopper_id, shopper, event, position, session, refused)
        # Rules last: they see the shopper with all that the event has changed.
        if engine is not None:
            # A late event may also reopen a session that had ended.
            begins = has_session_ended or shopper.sessions != sessions_before
            engine.apply_event(shopper_id, shopper, event, event_time_ms, begins_session=begins)
        return True

    def end_batch(self) -> ShardOutput:
        """End the batch: put out each shopper that did something, once."""
        shoppers = self._shoppers
        output, errors = shoppers.output, shoppers.processing_errors
        shoppers.recheck_restored()
        if shoppers.rule_engine is not None:
            shoppers.rule_engine.flush()
        # Before shoppers are put out, and after all that may take one out.
        shoppers.apply_retractions()
        if shoppers.rule_engine is not None:
            shoppers.rule_engine.split_off_retracted()
        active = shoppers.rows.active_rows(shoppers.active_before_ms)
        for shopper_id, previous_ms in shoppers.active_before_ms.items():
            try:
                self._writer.emit_shopper(shopper_id, previous_ms, active)
            except Exception:
                errors.record("profile", shopper_id)
                shoppers.unwritten.add(shopper_id)
        shoppers.dirty_names.update(shoppers.active_before_ms)
        output.item_updates += shoppers.item_updates.values()
        output.dead_letters, output.error_counts = errors.take_dead_letters(), errors.take_counts()
        shoppers.end_batch()
        return output

    def _admit(
        self, shopper_id: str, shopper: Shopper | None, event: Event, *, known: bool
    ) -> tuple[int, Shopper | None]:
        """What the shopper refuses as of an event, and its row; no row where the event is withheld."""
        if event.consent is None and not self._denies_by_default and shopper is None:
            return 0, self._shoppers.add_shopper(shopper_id, event.event_ts, known=known)
        refused = apply_consent(self._shoppers, shopper_id, event, known=known)
        return refused, None if refused & ANALYTICS else self._shoppers.rows[shopper_id]

    def _is_duplicate(self, shopper: Shopper, event: Event, event_hash: bytes) -> bool:
        """Whether an event was counted before; if not, it is remembered now, and counts."""
        config, hashes = self._config, shopper.recent_event_hashes
        if (event_hash in hashes and _contains_hash(event_hash, hashes)) or (
            event.type == "purchase"
            and is_duplicate_order(shopper, event, config.order_retention_ms)
        ):
            return True
        bytes_max = config.event_hash_bytes_max
        details = shopper.recent_event_details + pack_time_and_type(event.event_ts, event.type)
        shopper.recent_event_hashes = (hashes + event_hash)[-bytes_max:]
        shopper.recent_event_details = details[-bytes_max:]
        self._shoppers.totals.accepted += 1
        return False

    def _add_to_session(
        self, shopper_id: str, shopper: Shopper, at_ms: int, event_watermark_ms: int
    ) -> Session | None:
        """The session that an event belongs to; None for a late event that opens none."""
        totals = self._shoppers.totals
        if at_ms < event_watermark_ms:
            shopper.late += 1
            totals.late += 1
        sessions_before = shopper.sessions
        session = sessions.add_event(
            shopper, at_ms, gap_ms=self._config.gap_ms, watermark_ms=event_watermark_ms
        )
        if shopper.sessions != sessions_before:
            totals.sessions_opened += shopper.sessions - sessions_before
            if session is not None and shopper.sessions > sessions_before:
                self._shoppers.watch_session(shopper_id, session)
        return session

    def _record_decision(
        self, event_hash: bytes, shopper: Shopper, session: Session | None, event_watermark_ms: int
    ) -> None:
        """Have the models of sessions decide at this event; the end of the session is the outcome."""
        if session is not None:
            session.add_decision(event_hash)
            share = self._config.affinities.top_share(shopper)
            watermark = self._shoppers.reached_ms(event_watermark_ms)
            packed_watermark = watermark.to_bytes(_WATERMARK_BYTES, "little", signed=True)
            features = feature_row(shopper, share, session)
            self._shoppers.output.decisions.append(event_hash + packed_watermark + features)


def _contains_hash(event_hash: bytes, hashes: bytes) -> bool:
    """Whether one of the hashes is this one, and not parts of two that happen to read the same."""
    start = hashes.find(event_hash)
    while start >= 0 and start % HASH_BYTES:
        start = hashes.find(event_hash, start + 1)
    return start >= 0
