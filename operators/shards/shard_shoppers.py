"""The shoppers of one shard, and the output of the batch that is being processed.

All steps of the processing work on one `ShardShoppers`: `processor` counts events, `merging` adds a
device's shopper to its user, `removal` takes shoppers out, `consent` acts on refusals. What is here is
what more than one of them needs. Hot: it changes shoppers in place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.events.processing_errors import ProcessingErrors
from operators.segments.rules.engine import create_engine
from operators.shards.retractions import Retractions
from operators.shards.shopper_table import ShopperTable
from operators.shoppers.id_hashes import HASH_BYTES
from operators.tables.idle_index import IdleIndex
from operators.tables.timers import Timers
from state.messages import BatchId, ShardOutput
from state.shopper import Shopper
from state.snapshots import ShardRulesState
from state.times import HOUR_MS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from operators.shards.config import ProcessorConfig
    from operators.shoppers.profile_changes import Written
    from state.entries import ItemUpdate, Transition
    from state.messages import ShardTotals
    from state.shopper import Session


class ShardShoppers:
    """The rows of one shard with their timers, counts and segments by rule.

    `dirty_names` are the shoppers whose rows the next snapshot has to write or take out.
    `active_before_ms` holds the shoppers that did something in this batch, with the time each was last
    seen at before the batch; -1 for a new one. `written_before` has what Redis holds of those whose row
    the batch changes only by events. Of a shopper that was last seen until `written_since_ms` an earlier
    run may have written something else: a run that resumes reads some events again. `unwritten` are
    those that raised when they were to be written. `item_updates` is the last news of each item.
    `refusing_analytics` are the shoppers that refuse analytics as of this batch, and whose row may
    still be in the cold tier. `deleted_aliases` are the devices whose alias this batch deletes.
    """

    def __init__(
        self,
        config: ProcessorConfig,
        rows: dict[str, Shopper],
        totals: ShardTotals,
        rules_state: ShardRulesState | None = None,
        *,
        step: str = "visit",
    ) -> None:
        self.config = config
        self.session_timers = Timers()
        self.rows = ShopperTable(
            config.texts,
            rows,
            gap_ms=config.gap_ms,
            hashes_max=config.event_hash_bytes_max // HASH_BYTES,
            on_check_out=self._watch_sessions,
        )
        self.totals = totals
        self.processing_errors = ProcessingErrors(step)
        self.dirty_names: set[str] = set()
        self.idle = IdleIndex(HOUR_MS)
        self.rule_engine = create_engine(config.segment_rules, rules_state or ShardRulesState())
        if self.rule_engine is not None:
            self.rule_engine.processing_errors = self.processing_errors
        for shopper_id, shopper in rows.items():
            self._index(shopper_id, shopper)
        self.active_before_ms: dict[str, int] = {}
        self.written_before: dict[str, Written] = {}
        self.unwritten: set[str] = set()
        self.written_since_ms = max((shopper.last_ms for shopper in rows.values()), default=-1)
        self.item_updates: dict[str, ItemUpdate] = {}
        self.retractions = Retractions()
        self.refusing_analytics: list[str] = []
        self.deleted_aliases: set[str] = set()
        self.output = ShardOutput(BatchId("", 0), 0, 0, last=False)
        self._restored: list[str] = []
        self.is_single_partition = False

    def start_batch(self, output: ShardOutput) -> None:
        """Collect the output of the next batch in `output`."""
        self.rows.texts.sweep_if_due()
        self.output = output
        self.is_single_partition = output.batch.partitions == 1
        if self.rule_engine is not None:
            self.rule_engine.transitions = output.transitions

    def apply_retractions(self) -> None:
        """Take back what the batch has put out about shoppers that were taken out since."""
        if self.retractions:
            self.retractions.apply(self.output)

    def end_batch(self) -> None:
        """Forget what was collected for this batch."""
        self.active_before_ms.clear()
        self.written_before.clear()
        self.item_updates.clear()
        self.deleted_aliases.clear()

    def reached_ms(self, event_watermark_ms: int) -> int:
        """The watermark that counts at an event.

        Of several partitions one may be ahead of the others: only what all have reached counts.
        """
        return event_watermark_ms if self.is_single_partition else self.output.watermark_ms

    def event_time_ms(self, event_watermark_ms: int) -> int:
        """The newest event time that all partitions have reached; 0 before the first watermark."""
        reached_ms = self.reached_ms(event_watermark_ms)
        return reached_ms and reached_ms + self.config.lateness_ms

    def rule_time_ms(self, shopper: Shopper, event_watermark_ms: int) -> int:
        """The time at which rules see a shopper: never before its own newest event."""
        return max(self.event_time_ms(event_watermark_ms), shopper.last_ms)

    def add_shopper(self, shopper_id: str, at_ms: int, *, known: bool) -> Shopper:
        """Begin a new row. It replaces one that held nothing but a refusal."""
        shopper = self.rows[shopper_id] = Shopper(known, at_ms, at_ms)
        self.totals.shoppers += 1
        self.active_before_ms[shopper_id] = -1
        return shopper

    def adopt(self, shopper_id: str, shopper: Shopper) -> None:
        """Continue with a row that comes from another shard."""
        self.rows[shopper_id] = shopper
        self.dirty_names.add(shopper_id)
        self.totals.shoppers += 1
        self.totals.sessions_opened += shopper.sessions
        self._index(shopper_id, shopper)

    def _index(self, shopper_id: str, shopper: Shopper) -> None:
        """Watch a row that has come from elsewhere: its age, its rules, the ends of its sessions."""
        self.idle.add(shopper_id, shopper.last_ms)
        if self.rule_engine is not None:
            self.rule_engine.track(shopper_id, shopper)
        self._watch_sessions(shopper_id, shopper)

    def _watch_sessions(self, shopper_id: str, shopper: Shopper) -> None:
        for session in shopper.open_sessions:
            self.watch_session(shopper_id, session)

    def watch_session(self, shopper_id: str, session: Session) -> None:
        """Have a session looked at when it may be over."""
        self.session_timers.add(session.last_ms + self.config.gap_ms, shopper_id)

    def mark_active(self, shopper_id: str) -> None:
        """Have a shopper published at the end of the batch."""
        self.active_before_ms.setdefault(shopper_id, self.rows[shopper_id].last_ms)

    def set_known(self, shopper_id: str, event_watermark_ms: int, *, known: bool) -> None:
        """Correct whether a shopper is a user or a device."""
        shopper = self.rows[shopper_id]
        shopper.known = known
        if not shopper.events:
            self.dirty_names.add(shopper_id)
            return
        self.mark_active(shopper_id)
        if self.rule_engine is not None:
            event_time_ms = self.rule_time_ms(shopper, event_watermark_ms)
            self.rule_engine.evaluate_all(shopper_id, shopper, event_time_ms)

    def remove_from_segments(self, shopper_id: str, shopper: Shopper) -> list[Transition]:
        """Stop the rules of a shopper that goes away; the transitions of this batch, which are taken
        back. Steps downstream take the shopper out of its segments when they learn that it is gone."""
        return [] if self.rule_engine is None else self.rule_engine.untrack(shopper_id, shopper)

    def evict(self, shopper_id: str) -> Shopper:
        """Take out a shopper that goes to the cold tier. It leaves its segments, since its rules are
        not evaluated there."""
        shopper = self.rows.pop(shopper_id)
        self.dirty_names.add(shopper_id)
        if self.rule_engine is not None:
            event_time_ms = self.rule_time_ms(shopper, self.output.watermark_ms)
            with self.processing_errors.isolate("leave", shopper_id):
                self.rule_engine.remove_from_all(shopper_id, shopper, event_time_ms)
        return shopper

    def restore(self, shopper_id: str, shopper: Shopper) -> None:
        """Continue with a shopper that comes back from the cold tier; it counts as no new one."""
        self.rows[shopper_id] = shopper
        self.idle.add(shopper_id, shopper.last_ms)
        self.dirty_names.add(shopper_id)
        if shopper.events:
            self._restored.append(shopper_id)

    def recheck_restored(self) -> None:
        """Evaluate the rules of shoppers that came back in this batch.

        They are in no segment until then, and an event that would evaluate them may be a duplicate.
        """
        for shopper_id in self._restored:
            shopper = self.rows.get(shopper_id)
            if self.rule_engine is not None and shopper is not None:
                event_time_ms = self.rule_time_ms(shopper, self.output.watermark_ms)
                with self.processing_errors.isolate("ask", shopper_id):
                    self.rule_engine.evaluate_uncertain(shopper_id, shopper, event_time_ms)
        self._restored.clear()

    def attach_rule_states(self, rows: Mapping[str, Shopper]) -> None:
        """Put what rules keep of shoppers into rows that are to be stored."""
        if self.rule_engine is not None:
            for shopper_id, shopper in rows.items():
                self.rule_engine.attach_state(shopper_id, shopper)

    def detach_rule_states(self, rows: Mapping[str, Shopper]) -> None:
        """Take out of rows what `attach_rule_states` has put into them."""
        if self.rule_engine is not None:
            for shopper_id, shopper in rows.items():
                self.rule_engine.detach_state(shopper_id, shopper)

    def unload_rules(self, shopper_id: str, shopper: Shopper) -> None:
        """Put what rules keep of a shopper into its row for good, since it is merged or goes away."""
        if self.rule_engine is not None:
            self.rule_engine.unload(shopper_id, shopper)

    def refresh_rules(self, shopper_id: str, shopper: Shopper) -> None:
        """Have rules see a shopper that changed without an event."""
        if self.rule_engine is not None:
            self.rule_engine.refresh(shopper_id, shopper)

    def last_ms(self, shopper_id: str) -> int | None:
        """When a shopper was last seen, None for one that is not here."""
        return self.rows.last_ms(shopper_id)

    def rules_state(self) -> ShardRulesState:
        """What a snapshot holds of segments by rule, beside the rows."""
        return ShardRulesState() if self.rule_engine is None else self.rule_engine.to_state()
