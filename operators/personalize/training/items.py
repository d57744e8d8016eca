"""The step `train_items`: what shoppers did with items in, models of items and item lists out.

It keeps the rows of items, their cards, all that is learned of items alone, and the lists of items. With
every batch goes exactly one message to those who make lists of shoppers: the changed rows, and of each
interaction its item's row and its context. They have replicas, which are not stored: with the first
batch after a start go the whole models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from operators.catalogue.item_cards import ItemCards
from operators.catalogue.last_seen import least_recent
from operators.personalize.training.item_events import ItemBatch, no_interactions
from operators.personalize.training.items_trained import ItemsTrained
from operators.publish.item_lists import changed_list_writes, stockout_writes
from operators.recommend.factory import build_trainer
from operators.tables.barrier import Barrier
from operators.tables.table_store import LoadedTables, Tables, TableStore
from state.snapshots import ITEMS_CODEC, ItemsState, pack_arrays, unpack_arrays

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.recommend.items.trainer import TrainedBatch
    from state.arrays import Rows
    from state.config import Settings
    from state.interactions import EventColumns
    from state.journal import Journals
    from state.messages import Write
    from state.training import ItemEvents

STEP_ID = "train_items"
JOURNAL = "items"  # stored
PART = "recommender"  # stored when items were learned in the step that makes lists

EVENTS_PER_ITEM_LIST = 16
ITEM_LISTS_MIN = 8
"""A batch rewrites one changed item list for so many interactions, or `ITEM_LISTS_MIN`: item lists move
slowly, and the cost of a batch should follow what is in it."""


class ItemTraining:
    """The models and cards of items, and how far the step has come. Changes its state in place.

    `journal_names_erased`: the journal names somebody who was erased; it is rewritten as soon as
    possible, but not more often than the recovery folder is copied, or with the last batch.
    """

    def __init__(
        self, settings: Settings, snapshot: bytes | None = None, journals: Journals | None = None
    ) -> None:
        self._settings = settings
        self._weights = msgspec.structs.asdict(settings.lists.weights)
        self.trainer = build_trainer(settings.lists)
        self.errors = self.trainer.errors
        self.cards = ItemCards(price_drop_min=settings.triggers.price_drop_min)
        self._barrier: Barrier[ItemEvents] = Barrier(STEP_ID, settings.sessions.shards)
        self._table_store = TableStore(journals, JOURNAL)
        self.newest_ms = 0
        self._batches: dict[str, int] = {}
        self._is_last = False
        self._journal_names_erased = False
        self._journal_rewritten_ms = 0
        if snapshot is not None:
            self._restore(ITEMS_CODEC.decode(snapshot))

    def process_batch(self, messages: Sequence[ItemEvents]) -> list[ItemsTrained]:
        """Take in the entries of shards; one message for each batch that is whole now."""
        return [
            self._train(sorted(parts, key=lambda part: part.shard))
            for message in messages
            for parts in self._barrier.add(message)
        ]

    def _train(self, parts: list[ItemEvents]) -> ItemsTrained:
        batch, errors = parts[0].batch, self.errors
        for batch_id in (batch, *batch.joined):
            self._batches[batch_id.partition] = batch_id.number + 1
        entries = ItemBatch.from_parts(parts)
        self._is_last = entries.last
        with errors.isolate("leave"):
            self._remove_shoppers(entries)
        events = errors.call_or_default("clicks", no_interactions(), self._resolve, entries)
        self.newest_ms = max(self.newest_ms, entries.newest_ms, *events.at_ms)
        trained = self.trainer.train(events)
        writes = errors.call_or_default("sold_out", [], self._stockout_writes, trained)
        with errors.isolate("forget"):
            self.trainer.shoppers.remove(entries.evicted)
        removed = errors.call_or_default("bound", np.empty(0, np.int32), self._enforce_limit)
        after_removal = self.trainer.models.take_changes() if len(removed) else None
        writes += errors.call_or_default("items", [], self._item_writes, events, entries.last)
        has_changed_cards, events.cards, events.changed_items = bool(events.changed_items), {}, ()
        return ItemsTrained(
            batch,
            parts[0].sequence,
            events,
            entries.serves_ads if len(events.items) else None,
            trained,
            has_changed_cards,
            self.cards.take_catalogue_events(),
            removed,
            after_removal,
            writes,
            errors.take_counts(),
        )

    def _remove_shoppers(self, entries: ItemBatch) -> None:
        """Before the interactions: a user inherits the context of the shopper that it was."""
        for name, user in entries.merged:
            self.trainer.shoppers.merge(name, user)
            self._journal_names_erased |= not user
        self.trainer.shoppers.remove(entries.forgotten)

    def _resolve(self, entries: ItemBatch) -> EventColumns:
        self.cards.update(entries.item_updates)
        events = entries.columns(self._weights)
        events.cards, events.changed_items = self.cards.by_id, self.cards.take_changed()
        return events

    def _stockout_writes(self, trained: TrainedBatch) -> list[Write]:
        rule = self._settings.lists.rules.out_of_stock
        if not rule.enabled:
            return []
        return stockout_writes(
            self.trainer.item_lists,
            self.trainer.items.ids,
            trained.sold_out,
            trained.restocked,
            self.newest_ms,
            rule.rewrite_max,
        )

    def _enforce_limit(self) -> Rows:
        """Where there are more items than the limit, remove those unseen for longest."""
        items, limit = self.trainer.items, self._settings.state.items_max
        if len(items.row_by_id) <= limit:
            return np.empty(0, np.int32)
        rows = least_recent(items.live_rows(), self.trainer.last_seen.at_ms, limit)
        self.cards.remove([items.ids[row] for row in rows.tolist()])
        self.trainer.remove_items(rows)
        return rows

    def _item_writes(self, events: EventColumns, last: bool) -> list[Write]:
        """Item lists that changed, at most so many of a kind, and all cards that did."""
        limit = None if last else max(ITEM_LISTS_MIN, len(events.items) // EVENTS_PER_ITEM_LIST)
        lists = changed_list_writes(self.trainer.item_lists, self.newest_ms, limit)
        return [*lists, *self.cards.take_writes()]

    @property
    def row_count(self) -> int:
        """How many items have a row."""
        return len(self.trainer.items.row_by_id)

    def on_epoch_end(self) -> None:
        """Raises BarrierError where a batch is not whole."""
        self._barrier.check_empty()

    def snapshot(self) -> bytes:
        """The state as versioned bytes. Raises BarrierError where a batch is not whole."""
        self._barrier.check_empty()
        trainer = self.trainer
        journal = self._table_store.store(self._tables(), rewrite=self._take_rewrite_due())
        state = ItemsState(
            pack_arrays(trainer.scalars()),
            changed_cards=sorted(self.cards.unpublished),
            cursors=trainer.item_lists.cursors,
            newest_ms=self.newest_ms,
            journal=journal,
            batches=self._batches,
            is_unclean=self._journal_names_erased,
        )
        if journal is None:
            state.arrays = pack_arrays(trainer.arrays())
            state.ids = {name: index.ids for name, index in trainer.row_indexes().items()}
            state.cards = self.cards.by_id
        return ITEMS_CODEC.encode(state)

    def _restore(self, state: ItemsState) -> None:
        loaded = LoadedTables({PART: unpack_arrays(state.arrays)}, state.ids, state.cards)
        self._table_store.load(state.journal, loaded)
        self.trainer.restore(loaded.arrays[PART])
        self.trainer.restore_ids(loaded.ids)
        self.cards.by_id, self.cards.unpublished = loaded.cards, set(state.changed_cards)
        self.trainer.item_lists.cursors = state.cursors
        self.newest_ms, self._batches = state.newest_ms, state.batches
        self._journal_names_erased = state.is_unclean
        if state.journal is not None:
            self._tables().mark_stored()
        self.trainer.restore_cards(loaded.cards)

    def _tables(self) -> Tables:
        return Tables({PART: self.trainer}, self.trainer.row_indexes(), self.cards)

    def _take_rewrite_due(self) -> bool:
        """Whether the journal is rewritten now because it names somebody who was erased."""
        every_ms = self._settings.recovery.checkpoint_s * 1000
        if not self._journal_names_erased or (
            not self._is_last and self.newest_ms - self._journal_rewritten_ms < every_ms
        ):
            return False
        self._journal_names_erased, self._journal_rewritten_ms = False, self.newest_ms
        return True
