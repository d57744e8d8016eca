"""The state of the second keyed step: one shard of users."""

from __future__ import annotations

from copy import copy
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING

from operators.shards.aliases import add_device
from operators.shards.cold_tier import ColdTier
from operators.shards.erasures import Erasures
from operators.shards.event_columns import is_plain
from operators.shards.merging import merge_in
from operators.shards.processor import ShopperProcessor
from operators.shards.removal import drop_transfer, erase
from operators.shards.shard_journal import ShardJournal, encode_state
from operators.shards.shard_shoppers import ShardShoppers
from operators.shards.undo import undo_event
from operators.shards.watermark import Watermark
from operators.tables.barrier import Barrier
from state import keys
from state.messages import ShardPart
from state.snapshots import USERS_CODEC, UsersState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from operators.shards.cold_tier import ColdStore
    from operators.shards.config import ProcessorConfig
    from operators.shards.folded_events import FoldedEvents
    from state.entries import ForwardedEvent
    from state.events import Event
    from state.journal import Journals
    from state.messages import StateTransfer, UserShardInput

_POSITION = attrgetter("position")


class UserShard:
    """Counts events of users, and merges devices' shoppers into them. Stored like a `DeviceShard`."""

    def __init__(
        self,
        config: ProcessorConfig,
        snapshot: bytes | None = None,
        journals: Journals | None = None,
        cold_store: ColdStore | None = None,
    ) -> None:
        state = UsersState() if snapshot is None else USERS_CODEC.decode(snapshot)
        self._journal = ShardJournal("users", journals)
        loaded = self._journal.load(state)
        self.shoppers = ShardShoppers(
            config, loaded.rows, state.totals, state.rules, step="sessionize"
        )
        self._processor = ShopperProcessor(self.shoppers)
        self.erasures = Erasures(config, loaded.erased, journal_names_erased=state.is_unclean)
        self.cold_tier = ColdTier(
            keys.row_key,
            config,
            cold_store,
            self.shoppers,
            idle_ms=config.known_idle_ms,
            run_id=state.lineage,
            pending_deletes=state.gone,
        )
        self.watermark = Watermark(state.watermarks, state.batches)
        # The device shards are kept by several workers, each of which sends its part.
        self._barrier: Barrier[UserShardInput] = Barrier("sessionize", config.shards)
        self._is_ended = False

    @property
    def row_count(self) -> int:
        """Shoppers in memory."""
        return len(self.shoppers.rows)

    def snapshot(self) -> bytes:
        """The state as versioned bytes. Raises BarrierError where a batch is not whole."""
        self._barrier.check_empty()  # before the journal is written
        shoppers, watermark, erasures = self.shoppers, self.watermark, self.erasures
        state = UsersState({}, watermark.partitions, shoppers.totals, None, watermark.batches)
        state.lineage, state.gone = self.cold_tier.run_id, self.cold_tier.pending_deletes
        state.rules = shoppers.rules_state()
        rewrite = erasures.take_rewrite_due(watermark.reached_ms, last=self._is_ended)
        state.journal = self._journal.store(shoppers, erasures, rewrite=rewrite)
        state.is_unclean = erasures.journal_names_erased
        if state.journal is None:
            state.rows, state.erased = (
                dict(shoppers.rows.read_items()),
                dict(erasures.tombstones.items()),
            )
        self.on_epoch_end()
        return encode_state(USERS_CODEC, state, shoppers)

    def on_epoch_end(self) -> None:
        """Events up to now are not processed again. Raises BarrierError where a batch is not whole."""
        self._barrier.check_empty()
        self.cold_tier.on_epoch_end()

    def process_batch(self, messages: Iterable[UserShardInput]) -> list[ShardPart]:
        """Take in messages one by one."""
        return [part for message in messages for part in self.process(message)]

    def process(self, message: UserShardInput) -> list[ShardPart]:
        """Process the batches that a message completes, in the order of all shards.

        The same order everywhere: what is published last about a user is what holds.
        """
        return [self._process_complete(parts) for parts in self._barrier.add(message)]

    def _process_complete(self, parts: list[UserShardInput]) -> ShardPart:
        """Process one batch, of which each worker has sent a part."""
        head, shoppers = parts[0], self.shoppers
        batch, sessions_closed = head.batch, shoppers.totals.sessions_closed
        self._journal.shard = head.shard
        watermark_ms = self.watermark.update(batch)
        self.erasures.expire(watermark_ms)
        self._processor.begin_batch(batch, head.shard, watermark_ms, last=batch.last)
        # Transfers without an event that is forwarded too: of a device that is erased, or of none.
        transfers = sorted(
            chain.from_iterable(part.state_transfers for part in parts), key=_transfer_key
        )
        events = [event for part in parts for event in part.forwarded_events]
        events.sort(key=_POSITION)
        users = [transfer.shopper for transfer in transfers]
        self.cold_tier.reload([*(event.shopper for event in events), *users])
        devices = {one.position: one.device for part in parts for one in part.new_aliases}
        self._process_events(head, events, transfers, devices, watermark_ms)
        self.cold_tier.erase_refusing(self.erasures)
        output = self._processor.end_batch()
        # After the shoppers of the batch were put out: none of them is evicted in it.
        self.cold_tier.evict(output)
        outputs = [output_ for part in parts for output_ in part.device_outputs]
        # Most user shards have nothing to put out of a small batch.
        has_output = events or users or output.writes or output.transitions or output.error_counts
        if has_output or shoppers.totals.sessions_closed != sessions_closed:
            output.totals[f"users:{head.shard}"] = copy(shoppers.totals)
            outputs.append(output)
        self._is_ended = batch.last
        return ShardPart(batch, head.shard, head.sequence, outputs)

    def _process_events(
        self,
        head: UserShardInput,
        events: list[ForwardedEvent],
        transfers: list[StateTransfer],
        devices: dict[int, str],
        watermark_ms: int,
    ) -> None:
        """Process events and state transfers in the order in which they were read.

        A transfer before the event that led to it: that event already counts for the user of both.
        """
        shoppers, waiting = self.shoppers, transfers[::-1]
        folded = self._fold_plain(events, transfers, devices, watermark_ms)
        done = folded.positions if folded else ()
        for forwarded in events:
            if forwarded.position in done:
                continue
            if folded:
                folded.put_out_before(forwarded.position)
            position, user_id, event = forwarded.position, forwarded.shopper, forwarded.event
            event_watermark_ms = max(forwarded.watermark_ms, watermark_ms)
            while waiting and waiting[-1].position <= position:
                transfer = waiting.pop()
                self._merge_or_drop(transfer, event if transfer.position == position else None)
            try:
                self._process_event(user_id, event, position, event_watermark_ms)
            except Exception as error:
                shoppers.processing_errors.reject_event(
                    event, error, head.batch, position, forwarded.offset
                )
                undo_event(shoppers, user_id, event, position)
            if position in devices:
                add_device(shoppers, user_id, devices[position])
        if folded:
            folded.put_out_all()
        while waiting:
            self._merge_or_drop(waiting.pop(), None)

    def _fold_plain(
        self,
        events: list[ForwardedEvent],
        transfers: list[StateTransfer],
        devices: dict[int, str],
        watermark_ms: int,
    ) -> FoldedEvents | None:
        """Fold the events of users whose events here are all plain, and into whom nobody is merged."""
        if not self._processor.plain_fold.is_worthwhile(len(events)):
            return None
        newest_ms, slow = self.erasures.newest_ms, {transfer.shopper for transfer in transfers}
        slow.update(
            one.shopper
            for one in events
            if one.event.event_ts <= newest_ms or one.position in devices or not is_plain(one.event)
        )
        plain = [one for one in events if one.shopper not in slow]
        names = [one.shopper for one in plain]
        return self._processor.plain_fold.fold(
            [one.event for one in plain],
            names,
            [one.position for one in plain],
            [max(one.watermark_ms, watermark_ms) for one in plain],
            set(names),
        )

    def _merge_or_drop(self, transfer: StateTransfer, event: Event | None) -> None:
        """Merge a shopper into its user; if the user is erased, the shopper is erased with it."""
        if self.erasures.covers(transfer.shopper, transfer.at_ms):
            drop_transfer(self.shoppers, transfer)
        else:
            merge_in(self.shoppers, transfer, event)

    def _process_event(
        self, user_id: str, event: Event, position: int, event_watermark_ms: int
    ) -> None:
        """Count one event of a user, or erase the user."""
        shoppers, totals, at_ms = self.shoppers, self.shoppers.totals, event.event_ts
        is_erased = at_ms <= self.erasures.newest_ms and self.erasures.covers(user_id, at_ms)
        if event.type == "erase":
            totals.accepted += not is_erased
            totals.erased += not is_erased
            totals.duplicates += is_erased
            if not is_erased:
                erase(shoppers, user_id, at_ms)
                self.cold_tier.schedule_delete(user_id, is_erased=True)
                shoppers.output.writes += self.erasures.add(user_id, at_ms)
        elif is_erased:
            totals.suppressed += 1
        else:
            self._processor.process_event(user_id, event, position, event_watermark_ms, known=True)


def _transfer_key(transfer: StateTransfer) -> tuple[int, bool, str]:
    """Transfers by the event that led to them; of one event, the user's own shopper first."""
    return transfer.position, transfer.anonymous_id != transfer.shopper, transfer.anonymous_id
