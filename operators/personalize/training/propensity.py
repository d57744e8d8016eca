"""The step `train_propensity`: decisions and outcomes of shoppers in, their predictions out.

It keeps the models, the decisions that wait for their outcome, the latest features of every shopper,
and who is in the segments by prediction. With every batch goes exactly one message: the values that
profiles show of active shoppers, who enters and leaves, and what changed of inactive ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.catalogue.last_seen import least_recent
from operators.events.event_clock import EventClock
from operators.events.processing_errors import ProcessingErrors
from operators.personalize.training.known_shoppers import KnownShoppers
from operators.publish.report_timer import ReportTimer
from operators.segments.propensity.propensity import PropensityModels
from operators.shards.sharding import canonical_order
from operators.shoppers.consent import personalized_indexes
from operators.shoppers.features import LAST_MS_COLUMN, feature_rows
from operators.tables.barrier import Barrier
from operators.tables.table_store import LoadedTables, Tables, TableStore
from state.arrays import NO_ROW
from state.shopper import PERSONALIZATION
from state.snapshots import PROPENSITY_CODEC, PropensityState, pack_arrays, unpack_arrays
from state.times import DAY_MS
from state.training import PropensityEvents, PropensityTrained

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from state.arrays import Times
    from state.config import Settings
    from state.journal import Journals
    from state.messages import ShardPart, Write

STEP_ID = "train_propensity"
JOURNAL = "propensity"  # stored
MODELS, SHOPPERS = "propensity", "shoppers"
"""The stored names of the parts."""


class PropensityTrainer:
    """The models and the shoppers, and how far the step has come. Changes its state in place.

    `journal_names_erased`: the journal names somebody who was erased; it is rewritten as soon as
    possible, but not more often than the recovery folder is copied, or with the last batch.
    """

    def __init__(
        self, settings: Settings, snapshot: bytes | None = None, journals: Journals | None = None
    ) -> None:
        self._settings = settings
        self.errors = ProcessingErrors(STEP_ID)
        self.models = PropensityModels(settings.propensity, self.errors)
        self.shoppers = KnownShoppers()
        self._barrier: Barrier[PropensityEvents] = Barrier(STEP_ID, settings.sessions.shards)
        self._clock = EventClock(settings.sessions.allowed_lateness_ms)
        self._table_store = TableStore(journals, JOURNAL)
        state = PropensityState() if snapshot is None else PROPENSITY_CODEC.decode(snapshot)
        self._batches = state.batches
        self._timer = ReportTimer(
            batch_numbers=self._batches,
            batch_events=settings.source.batch_events,
            every_ms=settings.lists.figures_every_ms,
            last_ms=state.report_ms,
        )
        self._has_reported = self._is_last = False
        self._journal_names_erased = state.is_unclean
        self._journal_rewritten_ms = 0
        if snapshot is not None:
            self._restore(state)

    def process_batch(self, messages: Sequence[PropensityEvents]) -> list[PropensityTrained]:
        """Take in the entries of shards; one message for each batch that is whole now."""
        return [
            self._train(sorted(parts, key=lambda part: part.shard))
            for message in messages
            for parts in self._barrier.add(message)
        ]

    def _train(self, parts: list[PropensityEvents]) -> PropensityTrained:
        batch, isolate = parts[0].batch, self.errors.isolate
        for batch_id in (batch, *batch.joined):
            self._batches[batch_id.partition] = batch_id.number + 1
        watermark_ms = max(part.watermark_ms for part in parts)
        self._is_last = any(part.last for part in parts)
        trained = PropensityTrained(batch, parts[0].sequence)
        with isolate("propensity"):
            # Before the clock goes on and before anybody is removed: predictions are evaluated by
            # what was known of all shoppers until then.
            self.models.observe_batch(
                parts, self.shoppers.index.ids, self._idle_limits_ms, watermark_ms
            )
        self._clock.advance(watermark_ms)
        with isolate("leave"):
            self._remove_gone(parts)
        with isolate("profiles"):
            self._predict(parts, trained)
        with isolate("segments"):
            self._let_time_pass(trained)
        with isolate("forget"):
            self._evict(parts)
        if self._timer.take_due(
            self._clock.reporting_time_ms,
            live=batch.live,
            first=not self._has_reported,
            last=self._is_last,
        ):
            self._has_reported = True
            trained.writes = self.report_writes()
        trained.status = self.models.status
        trained.has_session_history = self.models.has_session_history
        trained.error_counts = self.errors.take_counts()
        return trained

    def report_writes(self) -> list[Write]:
        """The quality of each model."""
        return self.errors.call_or_default(
            "figures", [], self.models.model_writes, self._clock.reporting_time_ms
        )

    def published_steps(
        self, shoppers: Sequence[str], raw: NDArray[np.float64]
    ) -> NDArray[np.int16]:
        """The steps [n, fields] that profiles of these shoppers showed last, by their feature rows."""
        rows = np.array([self.shoppers.index.get(name) for name in shoppers], np.int32)
        return self.models.published_steps(rows, raw)

    def _idle_limits_ms(self) -> Times:
        """How long (ms) the shopper of each row may be inactive until it is evicted."""
        state = self._settings.state
        return np.where(
            self.shoppers.known, state.known_idle_days * DAY_MS, state.idle_days * DAY_MS
        )

    def _remove_gone(self, parts: Sequence[PropensityEvents]) -> None:
        """Keep nothing of shoppers who were merged or erased, or refuse personalization from now on."""
        gone = [name for part in parts for name in part.merged]
        forgotten = [name for part in parts for name in (*part.erased, *part.withdrawn)]
        for name in forgotten:
            self.models.erase(name)
        self._journal_names_erased |= any(part.erased for part in parts)
        self._remove([*gone, *forgotten])

    def _remove(self, shoppers: Iterable[str]) -> None:
        found = {self.shoppers.index.get(name) for name in shoppers} - {NO_ROW}
        rows = np.array(sorted(found), np.int32)
        if len(rows):
            self.models.remove_shoppers(rows)
            self.shoppers.remove(rows)

    def _predict(self, parts: Sequence[PropensityEvents], trained: PropensityTrained) -> None:
        """Predict for the active shoppers who do not refuse it, and assign them."""
        active = {
            shopper: (refused, known, features)
            for part in parts
            for shopper, refused, known, features in zip(
                part.shoppers, part.refused, part.known, part.features, strict=True
            )
        }
        if not active:
            return
        names = sorted(active, key=canonical_order)
        self._clock.observe(
            int(feature_rows(row[2] for row in active.values())[:, LAST_MS_COLUMN].max())
        )
        used = personalized_indexes([active[name][0] for name in names]).tolist()
        names = [names[index] for index in used]
        raw = feature_rows(active[name][2] for name in names)
        rows = np.full(len(names), NO_ROW, np.int32)
        if self.models.is_weekly:
            rows = self.shoppers.rows_of(names, [active[name][1] for name in names])
            self.models.update_features(rows, raw)
        scores = self.models.score(rows, raw)
        at_ms = raw[:, LAST_MS_COLUMN].astype(np.int64)
        if self.models.is_weekly:
            trained.transitions = self.models.assign_active(names, rows, scores, at_ms)
        trained.steps = self.models.publish_steps(rows, scores).tobytes()
        trained.shoppers = names

    def _let_time_pass(self, trained: PropensityTrained) -> None:
        ids, now_ms = self.shoppers.index.ids, self._clock.event_time_ms
        trained.later_transitions = self.models.advance(ids, now_ms, last=self._is_last)
        updates = self.models.refresh_profiles(ids, now_ms, last=self._is_last)
        trained.updates = [(update.shopper, dict(update.fields)) for update in updates]

    def _evict(self, parts: Sequence[PropensityEvents]) -> None:
        """Keep nothing of shoppers that left memory, and of those above the limit."""
        evicted = [name for part in parts for name in part.evicted]
        if evicted:
            active = {name for part in parts for name in part.shoppers}
            self._remove(name for name in evicted if name not in active)
        index, limit = self.shoppers.index, self._settings.state.shoppers_max
        if len(index.row_by_id) > limit:
            live = index.live_rows()
            rows = least_recent(
                live, self.models.last_ms(np.arange(len(index), dtype=np.int32)), limit
            )
            self.models.remove_shoppers(rows)
            self.shoppers.remove(rows)

    @property
    def row_count(self) -> int:
        """How many shoppers have a row."""
        return len(self.shoppers.index.row_by_id)

    def on_epoch_end(self) -> None:
        """Raises BarrierError where a batch is not whole."""
        self._barrier.check_empty()

    def snapshot(self) -> bytes:
        """The state as versioned bytes. Raises BarrierError where a batch is not whole."""
        self._barrier.check_empty()
        journal = self._table_store.store(self._tables(), rewrite=self._take_rewrite_due())
        state = PropensityState(
            pack_arrays(self.models.scalars()),
            newest_ms=self._clock.newest_event_ms,
            clock_ms=self._clock.event_time_ms,
            report_ms=self._timer.last_ms,
            journal=journal,
            batches=self._batches,
            is_unclean=self._journal_names_erased,
        )
        if journal is None:
            state.propensity = pack_arrays(self.models.arrays())
            state.known = pack_arrays(self.shoppers.arrays())
            state.shoppers = self.shoppers.index.ids
        return PROPENSITY_CODEC.encode(state)

    def _restore(self, state: PropensityState) -> None:
        loaded = LoadedTables(
            {MODELS: unpack_arrays(state.propensity), SHOPPERS: unpack_arrays(state.known)},
            {SHOPPERS: state.shoppers},
        )
        self._table_store.load(state.journal, loaded)
        self.models.restore(loaded.arrays[MODELS])
        self.shoppers.index.restore(loaded.ids[SHOPPERS])
        self.shoppers.restore(loaded.arrays[SHOPPERS])
        self._clock.newest_event_ms, self._clock.event_time_ms = state.newest_ms, state.clock_ms
        if state.journal is not None:
            self._tables().mark_stored()

    def _tables(self) -> Tables:
        parts = {MODELS: self.models, SHOPPERS: self.shoppers}
        return Tables(parts, {SHOPPERS: self.shoppers.index})

    def _take_rewrite_due(self) -> bool:
        """Whether the journal is rewritten now because it names somebody who was erased."""
        every_ms, now_ms = (
            self._settings.recovery.checkpoint_s * 1000,
            self._clock.reporting_time_ms,
        )
        if not self._journal_names_erased or (
            not self._is_last and now_ms - self._journal_rewritten_ms < every_ms
        ):
            return False
        self._journal_names_erased, self._journal_rewritten_ms = False, now_ms
        return True


def propensity_events_of(part: ShardPart) -> PropensityEvents:
    """What the models of propensity learn from of shards' part of a batch."""
    outputs = part.outputs
    active = [row for output in outputs for row in output.active]
    return PropensityEvents(
        part.batch,
        part.sequence,
        part.shard,
        max(output.watermark_ms for output in outputs),
        any(output.last for output in outputs),
        [row.shopper for row in active],
        [row.refused for row in active],
        [row.known for row in active],
        [row.features for row in active],
        [one for output in outputs for one in output.decisions],
        [one for output in outputs for one in output.session_outcomes],
        [one for output in outputs for one in output.withdrawn_decisions],
        [one for output in outputs for one in output.observations],
        [one.anonymous_id for output in outputs for one in output.merged],
        [name for output in outputs for name, _ in output.erased],
        [
            one.shopper
            for output in outputs
            for one in output.consent_withdrawals
            if one.purposes & PERSONALIZATION
        ],
        [name for output in outputs for name, _ in output.evicted],
        part.parts,
    )
