"""The state of the first keyed step: one shard of devices, its anonymous shoppers and their users."""

from __future__ import annotations

from copy import copy
from itertools import repeat
from typing import TYPE_CHECKING

from operators.events.processing_errors import UNKNOWN_OFFSET
from operators.shards.batch_order import BatchTurns
from operators.shards.cold_tier import ColdTier
from operators.shards.device_events import PlainDeviceEvents
from operators.shards.erasures import Erasures
from operators.shards.identity_map import IdentityMap, device_key
from operators.shards.identity_resolution import IdentityResolver
from operators.shards.processor import ShopperProcessor
from operators.shards.shard_journal import ShardJournal, encode_state
from operators.shards.shard_shoppers import ShardShoppers
from operators.shards.sharding import canonical_order, shard_of
from operators.shards.undo import undo_event
from operators.shards.watermark import Watermark
from operators.shoppers.amounts import price_currency
from state import keys
from state.entries import ForwardedEvent, ItemUpdate
from state.snapshots import DEVICES_CODEC, DevicesState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from operators.shards.cold_tier import ColdStore
    from operators.shards.config import ProcessorConfig
    from operators.shards.folded_events import FoldedEvents
    from state.events import Event
    from state.journal import Journals
    from state.messages import BatchTurn, DeviceShardInput, ShardOutput


class DeviceShard:
    """Counts events of anonymous shoppers, and forwards events of users to the shards of users.

    Rows are stored in `journals`; without them, a snapshot holds all rows. Rows that are too many go to
    the `cold_store`; without one, all stay in memory.
    """

    def __init__(
        self,
        config: ProcessorConfig,
        snapshot: bytes | None = None,
        journals: Journals | None = None,
        cold_store: ColdStore | None = None,
    ) -> None:
        state = DevicesState() if snapshot is None else DEVICES_CODEC.decode(snapshot)
        self._journal = ShardJournal("devices", journals)
        loaded = self._journal.load(state)
        self.shoppers = ShardShoppers(
            config, loaded.rows, state.totals, state.rules, step="identify"
        )
        self._processor = ShopperProcessor(self.shoppers)
        self.identity_map = IdentityMap(loaded.links, loaded.known)
        self.erasures = Erasures(config, loaded.erased, journal_names_erased=state.is_unclean)
        self.cold_tier = ColdTier(
            keys.device_row_key,
            config,
            cold_store,
            self.shoppers,
            self.identity_map,
            idle_ms=config.idle_ms,
            run_id=state.lineage,
            pending_deletes=state.gone,
        )
        self.watermark = Watermark(state.watermarks, state.batches)
        undecided_from_ms = state.undecided_from_ms
        if undecided_from_ms is None:
            is_older = snapshot is not None
            undecided_from_ms = is_older * (self.watermark.reached_ms + config.known_idle_ms)
        self.identity_resolver = IdentityResolver(
            self.shoppers,
            self.identity_map,
            self.cold_tier,
            self.erasures,
            undecided_from_ms=undecided_from_ms,
        )
        self._turns = BatchTurns("identify")
        self._shards = config.shards
        self._was_tracking = False
        self._batches_processed = 0
        self._is_ended = False

    @property
    def row_count(self) -> int:
        """Shoppers in memory."""
        return len(self.shoppers.rows)

    def snapshot(self) -> bytes:
        """The state as versioned bytes. Raises BarrierError where a batch waits for its turn."""
        self._turns.check_empty()  # before the journal is written
        shoppers, watermark, erasures = self.shoppers, self.watermark, self.erasures
        state = DevicesState({}, {}, watermark.partitions, shoppers.totals, None, watermark.batches)
        state.lineage, state.gone = self.cold_tier.run_id, self.cold_tier.pending_deletes
        state.rules = shoppers.rules_state()
        rewrite = erasures.take_rewrite_due(watermark.reached_ms, last=self._is_ended)
        state.journal = self._journal.store(shoppers, erasures, self.identity_map, rewrite=rewrite)
        state.is_unclean = erasures.journal_names_erased
        state.undecided_from_ms = self.identity_resolver.undecided_from_ms
        if state.journal is None:
            state.rows = dict(shoppers.rows.read_items())
            state.links, state.known = self.identity_map.links, self.identity_map.known_users
            state.erased = dict(erasures.tombstones.items())
        self.on_epoch_end()
        return encode_state(DEVICES_CODEC, state, shoppers)

    def on_epoch_end(self) -> None:
        """Events up to now are not processed again. Raises BarrierError where a batch waits."""
        self._turns.check_empty()
        self.cold_tier.on_epoch_end()

    def process_batch(self, messages: Iterable[DeviceShardInput | BatchTurn]) -> list[ShardOutput]:
        """Process the messages whose turn it is, one by one."""
        return [
            output for message in self._turns.in_order(messages) for output in self.process(message)
        ]

    def process(self, message: DeviceShardInput) -> list[ShardOutput]:
        """Process the events of one message in order. Gives one output, even for no events."""
        batch, totals = message.batch, self.shoppers.totals
        self._journal.shard = message.shard
        watermark_ms, sessions_closed = self.watermark.update(batch), totals.sessions_closed
        self._reload(message, watermark_ms)
        self._processor.begin_batch(batch, message.shard, watermark_ms, last=batch.last)
        # After `begin_batch`, which starts the output that transfers go into. Before the events: a
        # shopper that is a user by now is one for them.
        self.identity_resolver.begin_batch(watermark_ms)
        self._process_events(message, watermark_ms)
        self.cold_tier.erase_refusing(self.erasures)
        output = self._processor.end_batch()
        # After the shoppers of the batch were put out: none of them is evicted in it.
        self.cold_tier.evict(output)
        has_output = message.events or output.writes or output.state_transfers
        if has_output or totals.sessions_closed != sessions_closed:
            output.totals[f"devices:{message.shard}"] = copy(totals)
        output.source_totals = message.source_totals
        output.received_ms = message.received_ms
        # The same number in all device shards: each processes all batches, in one order.
        output.sequence = self._batches_processed
        self._batches_processed += 1
        self._is_ended = batch.last
        return [output]

    def _reload(self, message: DeviceShardInput, watermark_ms: int) -> None:
        """Load all shoppers that a message names, and the devices of users that it erases."""
        self.erasures.expire(watermark_ms)
        names: Iterable[str] = _ids_in(message)
        if message.erased_users:
            users = sorted(set(message.erased_users))
            self.cold_tier.reload_devices(users, self._owns)
            self.identity_map.track_users(users)
            names = filter(self._owns, [*names, *users])
        elif self._was_tracking:
            self.identity_map.track_users(())
        self._was_tracking = bool(message.erased_users)
        self.cold_tier.reload(names)

    def _owns(self, name: str) -> bool:
        return shard_of(name, self._shards) == self._journal.shard

    def _process_events(self, message: DeviceShardInput, watermark_ms: int) -> None:
        """Process events and mentions of users, in the order in which they were read."""
        mentions = message.user_mentions[::-1]
        watermarks_ms = _event_watermarks(watermark_ms, message)
        folded = self._fold_plain(message, watermark_ms, watermarks_ms)
        done = folded.positions if folded else ()
        for event, position, event_watermark_ms, offset in zip(
            message.events,
            message.positions,
            watermarks_ms,
            message.offsets or repeat(UNKNOWN_OFFSET),
            strict=False,
        ):
            if position in done:
                continue
            if folded and not self._is_of_another_shard(event):
                folded.put_out_before(position)
            while mentions and mentions[-1].position <= position:
                self.identity_resolver.observe_mention(mentions.pop())
            try:
                self._process_event(event, position, event_watermark_ms, offset)
            except Exception as error:
                shoppers, shopper_id = self.shoppers, event.anonymous_id or event.user_id or ""
                shoppers.processing_errors.reject_event(
                    event, error, message.batch, position, offset
                )
                undo_event(shoppers, shopper_id, event, position)
        if folded:
            folded.put_out_all()
        while mentions:
            self.identity_resolver.observe_mention(mentions.pop())

    def _is_of_another_shard(self, event: Event) -> bool:
        """Whether an event is only forwarded, and puts out nothing here."""
        name, identity_map = event.anonymous_id, self.identity_map
        if name is None:
            return event.user_id in identity_map.known_users and event.type != "erase"
        return (
            event.user_id is None and name in identity_map.links and name not in self.shoppers.rows
        )

    def _fold_plain(
        self, message: DeviceShardInput, watermark_ms: int, watermarks_ms: list[int]
    ) -> FoldedEvents | None:
        """Fold the events of shoppers whose events here are all plain."""
        if not self._processor.plain_fold.is_worthwhile(len(message.events)):
            return None
        resolver, rows = self.identity_resolver, self.shoppers.rows
        plain = PlainDeviceEvents(
            message,
            rows,
            self.identity_map,
            self.erasures,
            decides_users=resolver.undecided_from_ms <= watermark_ms,
        )
        new_users = [name for name in plain.undecided if name not in rows]
        folded = self._processor.plain_fold.fold(
            [message.events[number] for number in plain.numbers],
            plain.names,
            [message.positions[number] for number in plain.numbers],
            [watermarks_ms[number] for number in plain.numbers],
            plain.undecided,
        )
        for name in new_users:
            if name in rows:
                resolver.watch_undecided(name, plain.undecided[name])
        return folded

    def _process_event(
        self, event: Event, position: int, event_watermark_ms: int, offset: int
    ) -> None:
        """Count one event, or forward it to the shard of its user."""
        shoppers, output = self.shoppers, self.shoppers.output
        if event.type == "item":
            order, currency = canonical_order(device_key(event)), price_currency(event)
            for item in event.items:
                output.item_updates.append(ItemUpdate(event.event_ts, item, currency, order))
            shoppers.totals.accepted += 1
            return
        if event.type == "erase":
            user = self._erase(event)
        # Erasures before identity: an event from before an erasure links no device to a user.
        elif event.event_ts <= self.erasures.newest_ms and self.erasures.covers_event(event):
            shoppers.totals.suppressed += 1
            return
        else:
            user = self.identity_resolver.user_of(event, position, event_watermark_ms)
            if user is None:
                name = event.anonymous_id or event.user_id
                assert name is not None
                is_user = event.anonymous_id is None
                self._processor.process_event(
                    name, event, position, event_watermark_ms, known=is_user
                )
        if user is not None:
            output.forwarded_events.append(
                ForwardedEvent(position, user, event, event_watermark_ms, offset)
            )

    def _erase(self, event: Event) -> str | None:
        """Erase what this shard keeps of an event's ids; the user that its own shard has to erase."""
        device, user, at_ms = event.anonymous_id, event.user_id, event.event_ts
        if device is not None and device != user and self._owns(device):
            self.identity_resolver.erase_device(device, at_ms, is_requested=user is None)
        if user is None:
            return None
        return self.identity_resolver.erase_user(user, at_ms, is_own=self._owns(user))


def _ids_in(message: DeviceShardInput) -> Iterator[str]:
    """The ids in a message of which its shard may have a row."""
    for event in message.events:
        if (name := event.anonymous_id or event.user_id) is not None:
            yield name
    for mention in message.user_mentions:
        yield mention.user_id


def _event_watermarks(watermark_ms: int, message: DeviceShardInput) -> list[int]:
    """The watermark at each event: that of its partition, or of the shard, which went on while the
    partition was idle."""
    batch = message.batch
    if all(watermark_ms <= part.watermark_ms for part in (batch, *batch.joined)):
        return message.watermarks_ms
    return [max(event_ms, watermark_ms) for event_ms in message.watermarks_ms]
