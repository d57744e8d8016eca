"""Shards: the keyed state of the flow, each a good many shoppers, folded a group at a time.

First by device: anonymous shoppers live there, and users are recognised. Then by user. The state of
an anonymous shopper who turns out to be a user moves from the first kind of shard to the second, so
the flow needs no cycle.
"""

from __future__ import annotations

import zlib
from copy import copy
from itertools import chain, repeat
from operator import itemgetter
from typing import TYPE_CHECKING

from operators.events.processing_errors import UNKNOWN_OFFSET
from operators.shards import processor
from operators.shards.cold_tier import ColdTier
from operators.shards.erasures import Erasures
from operators.shards.identity_map import IdentityMap
from operators.shards.identity_resolution import IdentityResolver
from operators.shards.shard_state import ShardJournal, encode_state
from operators.shoppers.profile import price_currency
from state import keys
from state.messages import BatchId, ShardOutput, ShardPart, UserShardInput
from state.snapshots import DEVICES_CODEC, USERS_CODEC, DevicesState, UsersState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from operators.shards.cold_tier import ColdStore
    from operators.shards.processor import ProcessorConfig
    from state.events import Event
    from state.journal import Journals
    from state.messages import DeviceShardInput, StateTransfer


ORDERING_SHARD = 0
"""The shard of devices whose order of batches is everybody's: batches of several partitions come to each
shard in an order of their own, but what shards tell of one shopper must come out in one."""


def shard_of(name: str, shards: int) -> int:
    """The shard that keeps a shopper or a device. Stored: the rule must not change."""
    return zlib.crc32(name.encode()) % shards


class Watermark:
    """How far event time has come for sure over all partitions of the source.

    `partitions` maps each to its own watermark (ms) and whether it holds nothing back: it was read to
    its end, or is idle; `batches` to how many batches have come from it: every batch comes to
    every shard, be it empty, and a start relies on that (`flows.recovery.checkpoint_reader`).
    """

    def __init__(
        self, partitions: dict[str, tuple[int, bool]], batches: dict[str, int] | None = None
    ) -> None:
        self.partitions = partitions
        self.batches = {} if batches is None else batches
        self._reached_ms: int | None = None

    def update(self, batch: BatchId) -> int:
        """Hear of a batch and of those joined with it; how far event time has come then."""
        reached_ms = self._update_partition(batch)
        for coalesced in batch.joined:
            reached_ms = self._update_partition(coalesced)
        return reached_ms

    def _update_partition(self, batch: BatchId) -> int:
        """Hear of a partition; the minimum over those that go on, 0 until all have been heard of.

        Where none goes on, it is the maximum. It never goes back: a partition that was idle comes back
        to what was reached without it.

        >>> watermark = Watermark({})
        >>> [watermark._update_partition(BatchId(*heard)) for heard in (
        ...     ("a", 0, 5, False, 2), ("b", 0, 3, False, 2), ("b", 1, 4, True, 2), ("a", 1, 9, True, 2)
        ... )]
        [0, 3, 5, 9]
        >>> watermark = Watermark({"a": (5, False), "b": (3, False)})
        >>> [watermark._update_partition(BatchId(*heard)) for heard in (
        ...     ("b", 0, 4, False, 2, True), ("b", 1, 4, False, 2), ("a", 0, 9, False, 2)
        ... )]
        [5, 5, 5]
        """
        reached_ms = self._reached_ms
        if reached_ms is None:
            reached_ms = self._minimum_ms(batch.partitions)
        own_ms = max(batch.watermark_ms, reached_ms)
        self.partitions[batch.partition] = (own_ms, batch.last or batch.idle)
        self.batches[batch.partition] = batch.number + 1
        self._reached_ms = self._minimum_ms(batch.partitions)
        return self._reached_ms

    @property
    def reached_ms(self) -> int:
        """How far event time has come over those heard of."""
        return self._minimum_ms(len(self.partitions)) if self.partitions else 0

    def _minimum_ms(self, partitions: int) -> int:
        if len(self.partitions) < partitions:
            return 0
        active_ms = [ms for ms, is_done in self.partitions.values() if not is_done]
        return min(active_ms) if active_ms else max(ms for ms, _ in self.partitions.values())


class DeviceShard:
    """Anonymous shoppers of one shard, and the users its devices belong to.

    Its rows are stored in `journals`; without any, a snapshot holds them all. Those too many go to the
    `cold_store`; without one, none are.
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
        rows = loaded.rows
        self.shoppers = processor.ShopperProcessor(
            config, rows, state.totals, state.rules, step="visit_devices"
        )
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
            alias_ttl_s=config.alias_ttl_s,
            undecided_from_ms=undecided_from_ms,
        )
        self._shards = config.shards
        self._was_tracking = False
        self._batches_processed = 0
        self._is_ended = False

    @property
    def row_count(self) -> int:
        """Shoppers in memory."""
        return len(self.shoppers.rows)

    def snapshot(self) -> bytes:
        """The state as versioned bytes."""
        shoppers, watermark = self.shoppers, self.watermark
        state = DevicesState({}, {}, watermark.partitions, shoppers.totals, None, watermark.batches)
        state.lineage, state.gone = self.cold_tier.run_id, self.cold_tier.pending_deletes
        state.rules = shoppers.rules_state()
        erasures = self.erasures
        rewrite = erasures.take_rewrite_due(watermark.reached_ms, last=self._is_ended)
        state.journal = self._journal.store(shoppers, erasures, self.identity_map, rewrite=rewrite)
        state.is_unclean = erasures.journal_names_erased
        state.undecided_from_ms = self.identity_resolver.undecided_from_ms
        if state.journal is None:
            state.rows = shoppers.rows
            state.links, state.known = self.identity_map.links, self.identity_map.known_users
            state.erased = dict(erasures.tombstones.items())
        self.on_epoch_end()
        return encode_state(DEVICES_CODEC, state, shoppers)

    def on_epoch_end(self) -> None:
        """What was folded until now will not be folded again."""
        self.cold_tier.on_epoch_end()

    def process_batch(self, groups: Iterable[DeviceShardInput]) -> list[ShardOutput]:
        """Fold groups one by one."""
        return [output for group in groups for output in self.process(group)]

    def process(self, group: DeviceShardInput) -> list[ShardOutput]:
        """Fold a group in order; events of users are handed on in `forwards`."""
        shoppers, totals = self.shoppers, self.shoppers.totals
        self._journal.shard = group.shard
        watermark_ms, sessions_closed = self.watermark.update(group.batch), totals.sessions_closed
        self._reload(group, watermark_ms)
        shoppers.begin_batch(group.batch, group.shard, watermark_ms, last=group.batch.last)
        self.identity_resolver.begin_batch(watermark_ms)
        named_users = group.user_mentions[::-1]
        for event, position, event_watermark_ms, offset in zip(
            group.events,
            group.positions,
            _event_watermarks(watermark_ms, group),
            group.offsets or repeat(UNKNOWN_OFFSET),
            strict=False,
        ):
            while named_users and named_users[-1][0] <= position:
                self.identity_resolver.observe_named_user(*named_users.pop())
            try:
                self._process_event(event, position, event_watermark_ms, offset)
            except Exception as error:
                shoppers.errors.reject_event(event, error, group.batch, position, offset)
                shoppers.undo_event(event.anonymous_id or event.user_id or "", event, position)
        while named_users:
            self.identity_resolver.observe_named_user(*named_users.pop())
        _erase_refusing(shoppers, self.cold_tier, self.erasures)
        output = shoppers.end_batch()
        self.cold_tier.evict(output)
        has_output = group.events or output.writes or output.state_transfers
        if has_output or totals.sessions_closed != sessions_closed:
            output.totals[f"devices:{group.shard}"] = copy(totals)
        output.source_totals = group.source_totals
        output.received_ms = group.received_ms
        if group.shard == ORDERING_SHARD:
            output.sequence = self._batches_processed
        self._batches_processed += 1
        self._is_ended = group.batch.last
        return [output]

    def _reload(self, group: DeviceShardInput, watermark_ms: int) -> None:
        """Have all in memory that a group is about, and know the devices of whom it erases."""
        self.erasures.expire(watermark_ms)
        names: Iterable[str] = _ids_in(group)
        if group.erased_users:
            users = sorted(set(group.erased_users))
            self.cold_tier.reload_devices(users, self._owns)
            self.identity_map.track_users(users)
            names = filter(self._owns, [*names, *users])
        elif self._was_tracking:
            self.identity_map.track_users(())
        self._was_tracking = bool(group.erased_users)
        self.cold_tier.reload(names)

    def _owns(self, name: str) -> bool:
        return shard_of(name, self._shards) == self._journal.shard

    def _process_event(
        self, event: Event, position: int, event_watermark_ms: int, offset: int
    ) -> None:
        """Fold one event, or hand it on."""
        shoppers, output = self.shoppers, self.shoppers.output
        if event.type == "item":
            for item in event.items:
                output.item_updates.append((event.event_ts, item, price_currency(event)))
            shoppers.totals.accepted += 1
            return
        if event.type == "erase":
            user = self._erase(event)
        elif event.event_ts <= self.erasures.newest_ms and self.erasures.covers_event(event):
            shoppers.totals.suppressed += 1
            return
        else:
            user = self.identity_resolver.user_of(event, position, event_watermark_ms)
            if user is None:
                name = event.anonymous_id or event.user_id
                assert name is not None
                is_user = event.anonymous_id is None
                shoppers.process_event(name, event, position, event_watermark_ms, known=is_user)
        if user is not None:
            output.forwarded_events.append((position, user, event, event_watermark_ms, offset))

    def _erase(self, event: Event) -> str | None:
        """Forget whom the event names, as far as this shard keeps anything of them; the user that the
        shard of users is to forget."""
        device, user, at_ms = event.anonymous_id, event.user_id, event.event_ts
        if device is not None and device != user and self._owns(device):
            self.identity_resolver.erase_device(device, at_ms, is_requested=user is None)
        if user is None:
            return None
        return self.identity_resolver.erase_user(user, at_ms, is_own=self._owns(user))


class UserShard:
    """Known shoppers of one shard, stored like those of `DeviceShard`."""

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
        rows = loaded.rows
        self.shoppers = processor.ShopperProcessor(
            config, rows, state.totals, state.rules, step="visit_users"
        )
        self.erasures = Erasures(config, loaded.erased, journal_names_erased=state.is_unclean)
        self._is_ended = False
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
        # What has come of batches that are not whole, whose turn it is, and how many have been folded.
        # Counted anew after a resume, by all shards: an epoch is complete before its snapshot.
        self._incomplete: dict[BatchId, list[UserShardInput]] = {}
        self._batch_by_sequence: dict[int, BatchId] = {}
        self._batches_processed = 0

    @property
    def row_count(self) -> int:
        """Shoppers in memory."""
        return len(self.shoppers.rows)

    def snapshot(self) -> bytes:
        """The state as versioned bytes."""
        shoppers, watermark = self.shoppers, self.watermark
        state = UsersState({}, watermark.partitions, shoppers.totals, None, watermark.batches)
        state.lineage, state.gone = self.cold_tier.run_id, self.cold_tier.pending_deletes
        state.rules = shoppers.rules_state()
        erasures = self.erasures
        rewrite = erasures.take_rewrite_due(watermark.reached_ms, last=self._is_ended)
        state.journal = self._journal.store(shoppers, erasures, rewrite=rewrite)
        state.is_unclean = erasures.journal_names_erased
        if state.journal is None:
            state.rows, state.erased = shoppers.rows, dict(erasures.tombstones.items())
        self.on_epoch_end()
        return encode_state(USERS_CODEC, state, shoppers)

    def on_epoch_end(self) -> None:
        """As for devices."""
        self.cold_tier.on_epoch_end()

    def process_batch(self, groups: Iterable[UserShardInput]) -> list[ShardPart]:
        """Fold groups one by one."""
        return [part for group in groups for part in self.process(group)]

    def process(self, group: UserShardInput) -> list[ShardPart]:
        """Fold what came of users in a batch, when it is whole, in the order in which it was read.

        The devices of one user may be kept by different workers, which say their part each. Batches
        take turns, the same everywhere: what is told of a user last is what is true of it.
        """
        self._incomplete.setdefault(group.batch, []).append(group)
        if group.sequence is not None:
            self._batch_by_sequence[group.sequence] = group.batch
        parts: list[ShardPart] = []
        while (batch := self._batch_by_sequence.get(self._batches_processed)) is not None:
            if (
                sum(part.device_shards for part in self._incomplete[batch])
                < group.device_shards_total
            ):
                break
            del self._batch_by_sequence[self._batches_processed]
            self._batches_processed += 1
            parts.append(self._process_complete(self._incomplete.pop(batch)))
        return parts

    def _process_complete(self, parts: list[UserShardInput]) -> ShardPart:
        group = parts[0]
        self._journal.shard = group.shard
        shoppers = self.shoppers
        watermark_ms, sessions_closed = (
            self.watermark.update(group.batch),
            shoppers.totals.sessions_closed,
        )
        self.erasures.expire(watermark_ms)
        shoppers.begin_batch(group.batch, group.shard, watermark_ms, last=group.batch.last)
        # Also those of events that are not handed on: of a device that is erased, or of none.
        transfers = sorted(
            chain.from_iterable(part.state_transfers for part in parts), key=_transfer_key
        )[::-1]
        aliases = {position: device for part in parts for position, _, device in part.new_aliases}
        forwards = [forward for part in parts for forward in part.forwarded_events]
        forwards.sort(key=itemgetter(0))
        transferred = [transfer.shopper for transfer in transfers]
        self.cold_tier.reload([*map(itemgetter(1), forwards), *transferred])
        for position, shopper, event, event_watermark_ms, offset in forwards:
            if event_watermark_ms < watermark_ms:
                event_watermark_ms = watermark_ms
            while transfers and transfers[-1].position <= position:
                transfer = transfers.pop()
                self._merge_or_drop(transfer, event if transfer.position == position else None)
            try:
                self._process_event(shopper, event, position, event_watermark_ms)
            except Exception as error:
                shoppers.errors.reject_event(event, error, group.batch, position, offset)
                shoppers.undo_event(shopper, event, position)
            if position in aliases:
                shoppers.add_device(shopper, aliases[position])
        while transfers:
            self._merge_or_drop(transfers.pop(), None)
        _erase_refusing(shoppers, self.cold_tier, self.erasures)
        output = shoppers.end_batch()
        self.cold_tier.evict(output)
        outputs = [visited for part in parts for visited in part.device_outputs]
        # Of a small batch most shards of users have nothing to tell.
        has_output = (
            forwards or transferred or output.writes or output.transitions or output.error_counts
        )
        if has_output or shoppers.totals.sessions_closed != sessions_closed:
            output.totals[f"users:{group.shard}"] = copy(shoppers.totals)
            outputs.append(output)
        self._is_ended = group.batch.last
        return ShardPart(group.batch, group.shard, group.device_shards_total, outputs)

    def _merge_or_drop(self, transfer: StateTransfer, event: Event | None) -> None:
        """Take a shopper over, but for a user who is erased: then it is erased with the user."""
        if self.erasures.covers(transfer.shopper, transfer.at_ms):
            self.shoppers.drop_transfer(transfer)
        else:
            self.shoppers.merge_in(transfer, event)

    def _process_event(
        self, shopper_id: str, event: Event, position: int, event_watermark_ms: int
    ) -> None:
        """Fold one event of a user, or forget the user."""
        shoppers, totals, at_ms = self.shoppers, self.shoppers.totals, event.event_ts
        is_erased = at_ms <= self.erasures.newest_ms and self.erasures.covers(shopper_id, at_ms)
        if event.type == "erase":
            totals.accepted += not is_erased
            totals.erased += not is_erased
            totals.duplicates += is_erased
            if not is_erased:
                shoppers.erase(shopper_id, at_ms)
                self.cold_tier.schedule_delete(shopper_id, is_erased=True)
                shoppers.output.writes += self.erasures.add(shopper_id, at_ms)
        elif is_erased:
            totals.suppressed += 1
        else:
            shoppers.process_event(shopper_id, event, position, event_watermark_ms, known=True)


def _erase_refusing(
    shoppers: processor.ShopperProcessor, cold_tier: ColdTier, erasures: Erasures
) -> None:
    """What is kept elsewhere of those who refuse analytics now is forgotten too."""
    erasures.journal_names_erased |= bool(shoppers.refusing_analytics)
    cold_tier.erase_all(shoppers.refusing_analytics)


def _ids_in(group: DeviceShardInput) -> Iterator[str]:
    """What a group names that its shard may know of."""
    for event in group.events:
        if (name := event.anonymous_id or event.user_id) is not None:
            yield name
    for _, user_id, _, _ in group.user_mentions:
        yield user_id


def _transfer_key(transfer: StateTransfer) -> tuple[int, bool, str]:
    """Moves by the event that led to them, those of one event in an order of their own: the user's own
    shopper first."""
    return transfer.position, transfer.anonymous_id != transfer.shopper, transfer.anonymous_id


def _event_watermarks(watermark_ms: int, group: DeviceShardInput) -> list[int]:
    """The watermark at each event; the others' where they went on while this partition was idle."""
    batch = group.batch
    if watermark_ms <= batch.watermark_ms and all(
        watermark_ms <= coalesced.watermark_ms for coalesced in batch.joined
    ):
        return group.watermarks_ms
    return [max(event_watermark_ms, watermark_ms) for event_watermark_ms in group.watermarks_ms]


def regroup(outputs: Iterable[ShardOutput], shards: int) -> list[UserShardInput]:
    """Deal what device shards made of a batch to the shards of users, one message each."""
    batches: dict[BatchId, list[ShardOutput]] = {}
    for output in outputs:
        batches.setdefault(output.batch, []).append(output)
    return [message for parts in batches.values() for message in _regroup_batch(parts, shards)]


def _regroup_batch(parts: list[ShardOutput], shards: int) -> list[UserShardInput]:
    batch = parts[0].batch
    messages = [
        UserShardInput(batch, shard, len(parts), shards, [], [], []) for shard in range(shards)
    ]
    for part in parts:
        for forward in part.forwarded_events:
            messages[shard_of(forward[1], shards)].forwarded_events.append(forward)
        for transfer in part.state_transfers:
            messages[shard_of(transfer.shopper, shards)].state_transfers.append(transfer)
        for alias in part.new_aliases:
            messages[shard_of(alias[1], shards)].new_aliases.append(alias)
        part.forwarded_events, part.state_transfers, part.new_aliases = [], [], []
        messages[part.shard].device_outputs.append(part)
        if part.sequence is not None:
            for message in messages:
                message.sequence = part.sequence
    return messages
