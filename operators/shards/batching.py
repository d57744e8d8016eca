"""From a source's batch to the groups its shards fold: the clock of the source, and who gets what."""

from __future__ import annotations

from array import array
from itertools import chain, islice
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from operators.events.currencies import CurrencyConverter
from operators.events.validation import CLOCK_SKEW_MS
from operators.shards import clock_jumps
from operators.shards.clock_jumps import LOOK_AHEAD_EVENTS
from operators.shards.identity_map import device_key
from operators.shards.sharding import shard_of
from state.dead_letters import DeadLetter
from state.events import NO_PROPS, SHORTENED, Event
from state.messages import BatchId, DeviceShardInput, SourceBatch, SourceTotals

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_RECEIVED_BYTES = 8
UNLIMITED_MS = 1 << 62


class SourceBatcher(msgspec.Struct):
    """How far a source partition has come; stored with its offset.

    `watermark_ms` is the newest event time seen less the allowed lateness, 0 before the first event.
    """

    batches: int = 0
    watermark_ms: int = 0
    totals: SourceTotals = msgspec.field(default_factory=SourceTotals)
    _pending: Event | None = None

    def batch(
        self,
        records: Iterable[Event | DeadLetter],
        *,
        partition: str,
        shards: int,
        allowed_lateness_ms: int,
        jump_ms: int | None = None,
        upcoming: Sequence[Event | DeadLetter] = (),
        partitions: int = 1,
        last: bool = False,
        idle_ms: int = 0,
        live: bool = False,
        now_ms: int | None = None,
        origin: tuple[str, str] = ("", ""),
        offsets: Sequence[int] = (),
        converter: CurrencyConverter | None = None,
    ) -> SourceBatch:
        """The next batch as one group a shard, even if empty: each carries the watermark.

        An event more than `jump_ms` (None: however far) ahead of all before it moves the watermark
        only if most of those after it agree: the rest of the batch, `upcoming` (what the source
        knows to come next), and live, where nothing is known yet, the next batch.

        Where nothing has come for `idle_ms`, the partition says that it holds nothing back and that so
        much time has passed; the clock itself, which is stored, knows of events only. `origin` is what
        dead letters say of the partition, `offsets` those of the records, where it has any. `now_ms`
        is our own clock, where it is to be asked.
        """
        records = list(records)
        if self._pending is not None:
            self._resolve_pending(records, allowed_lateness_ms, jump_ms or 0, now_ms)
        partition_watermark_ms = self.watermark_ms and self.watermark_ms + idle_ms
        idle = idle_ms > 0
        batch = BatchId(
            partition,
            self.batches,
            partition_watermark_ms,
            last,
            partitions,
            idle,
            live,
            origin=origin,
        )
        self.batches += 1
        groups = [DeviceShardInput(batch, n, [], [], []) for n in range(shards)]
        named_users: set[str] = set()
        rejected: list[DeadLetter] = []
        received_ms = array("q")
        totals, watermark_ms, position = self.totals, self.watermark_ms, -1
        totals.source = origin[0] or partition
        by_type, jump_ms = totals.by_type, UNLIMITED_MS if jump_ms is None else jump_ms
        jump_limit_ms = watermark_ms + allowed_lateness_ms + jump_ms
        converter = converter or CurrencyConverter()
        converter.resume(totals.currency)
        shop_currency = converter.shop_currency
        for record in records:
            position += 1
            if isinstance(record, DeadLetter):
                rejected.append(record)
                received_ms.append(0)
                failure_type = record.failure_type
                totals.rejected[failure_type] = totals.rejected.get(failure_type, 0) + 1
                continue
            advances = True
            if record.event_ts > jump_limit_ms and record.received_ts > jump_limit_ms:
                lookahead = records[position : position + LOOK_AHEAD_EVENTS + 1]
                newest_ms = watermark_ms and watermark_ms + allowed_lateness_ms
                record, advances = self._check_jump(
                    lookahead, upcoming, newest_ms, jump_ms, live=live
                )
            if record.left_out or record.props is not NO_PROPS:
                record = _without_props(record, totals)
            group = groups[shard_of(device_key(record), shards)]
            currency = record.currency
            if currency is not None and currency != shop_currency:
                record = converter.convert(record, totals.unconverted)
                shop_currency = converter.shop_currency
            group.events.append(record)
            group.positions.append(position)
            group.watermarks_ms.append(watermark_ms)
            if offsets:
                group.offsets.append(offsets[position])
            received_ms.append(record.received_ts)
            if record.type == "erase":
                named_users.clear()
            if record.user_id is not None and record.user_id not in named_users:
                is_newest = record.event_ts - allowed_lateness_ms > watermark_ms
                _notify_other_shards(record, groups, group, named_users, is_newest=is_newest)
            by_type[record.type] = by_type.get(record.type, 0) + 1
            # Nothing happens after it was received: a clock that is ahead makes nobody late.
            effective_ms = record.event_ts
            if record.received_ts < effective_ms:
                # Nothing is farther ahead: it was set back, or is just as far.
                totals.clamped += effective_ms - record.received_ts >= CLOCK_SKEW_MS
                effective_ms = record.received_ts
            if advances and effective_ms - allowed_lateness_ms > watermark_ms:
                watermark_ms = effective_ms - allowed_lateness_ms
                jump_limit_ms = effective_ms + jump_ms
        totals.read += position + 1
        self.watermark_ms = watermark_ms
        totals.currency = shop_currency
        groups[0].source_totals = {partition: _copy_totals(totals)}
        groups[0].received_ms = received_ms.tobytes()
        return SourceBatch(groups, rejected)

    @property
    def has_pending(self) -> bool:
        """Whether an event waits for others to say that time has come so far."""
        return self._pending is not None

    def _check_jump(
        self,
        records: list[Event | DeadLetter],
        upcoming: Sequence[Event | DeadLetter],
        newest_ms: int,
        jump_ms: int,
        *,
        live: bool,
    ) -> tuple[Event, bool]:
        """The first event, far ahead of all before, and whether it moves time on; live, the last waits.

        One that is alone among events in order has a wrong clock: its time is set back, as that of one
        ahead of its collector is, so that neither profiles nor lists take it for the present.
        """
        event, *later_records = records
        assert isinstance(event, Event)
        later_events = [
            one
            for one in islice(chain(later_records, upcoming), LOOK_AHEAD_EVENTS)
            if type(one) is Event
        ]
        is_confirmed = clock_jumps.is_confirmed(event, later_events, jump_ms)
        if is_confirmed is None and live:
            self._pending = event
        elif is_confirmed is False:
            self.totals.held += 1
            if not live:
                event = clock_jumps.correct_clock(event, later_events, newest_ms, jump_ms)
        return event, is_confirmed is not False and self._pending is not event

    def _resolve_pending(
        self,
        records: list[Event | DeadLetter],
        allowed_lateness_ms: int,
        jump_ms: int,
        now_ms: int | None,
    ) -> None:
        """What came after the event that waited says whether it moves time on; so does silence, of what
        is not ahead of our own clock too.
        """
        assert self._pending is not None
        event = self._pending
        is_confirmed = clock_jumps.is_confirmed(event, records[:LOOK_AHEAD_EVENTS], jump_ms)
        if is_confirmed is None and records:
            return
        if is_confirmed is None and now_ms is not None:
            is_confirmed = clock_jumps.effective_time_ms(event) <= now_ms + CLOCK_SKEW_MS
        self._pending = None
        if is_confirmed is False:
            self.totals.held += 1
            return
        self.watermark_ms = max(
            self.watermark_ms, clock_jumps.effective_time_ms(event) - allowed_lateness_ms
        )


def _without_props(event: Event, totals: SourceTotals) -> Event:
    """The event without `props`, and without the names of what could not be read, which are counted."""
    for name in event.left_out:
        if name == SHORTENED:
            totals.shortened += 1
        else:
            totals.left_out[name] = totals.left_out.get(name, 0) + 1
    return replace(event, left_out=(), props=NO_PROPS)


def _copy_totals(totals: SourceTotals) -> SourceTotals:
    return replace(
        totals,
        rejected=dict(totals.rejected),
        by_type=dict(totals.by_type),
        left_out=dict(totals.left_out),
        unconverted=dict(totals.unconverted),
    )


def _notify_other_shards(
    event: Event,
    groups: list[DeviceShardInput],
    own_group: DeviceShardInput,
    named_users: set[str],
    *,
    is_newest: bool,
) -> None:
    """Tell of an event with a user who else is to know: all shards where the user is erased, else the
    shard of the user's id that it is a user's, by an event of another device: once a batch, `named`.

    What is not the newest of all before it may be from before an erasure, and tell nothing then.
    """
    user_id = event.user_id
    assert user_id is not None
    if event.type == "erase":
        for group in groups:
            group.erased_users.append(user_id)
            if group is not own_group:
                group.events.append(event)
                group.positions.append(own_group.positions[-1])
                group.watermarks_ms.append(own_group.watermarks_ms[-1])
                group.offsets += own_group.offsets[-1:]
    elif event.anonymous_id not in (None, user_id):
        note = (own_group.positions[-1], user_id, event.event_ts, own_group.watermarks_ms[-1])
        groups[shard_of(user_id, len(groups))].user_mentions.append(note)
        if is_newest:
            named_users.add(user_id)


def coalesce_live(batches: Iterable[SourceBatch]) -> Iterator[DeviceShardInput]:
    """The groups of batches that came at once; live ones of several partitions as those of one batch.

    Half of what a small batch costs does not depend on what is in it. Recorded batches stay as they
    are, so that a replay comes out the same.
    """
    live_batches: list[list[DeviceShardInput]] = []
    for batch in batches:
        if batch.shard_inputs[0].batch.live:
            live_batches.append(batch.shard_inputs)
        else:
            yield from batch.shard_inputs
    if live_batches:
        yield from _merge_batches(live_batches)


def _merge_batches(batches: list[list[DeviceShardInput]]) -> list[DeviceShardInput]:
    first, *other_batches = batches
    if not other_batches:
        return first
    ids, first_position = [], len(first[0].received_ms) // _RECEIVED_BYTES
    for groups in other_batches:
        ids.append(replace(groups[0].batch, first_position=first_position))
        first_position += len(groups[0].received_ms) // _RECEIVED_BYTES
    batch = replace(first[0].batch, joined=tuple(ids))
    for target in first:
        target.batch = batch
    for groups, joined_id in zip(other_batches, ids, strict=True):
        first_position = joined_id.first_position
        first_group = groups[0]
        first[0].source_totals |= first_group.source_totals
        first[0].received_ms += first_group.received_ms
        for target, group in zip(first, groups, strict=True):
            if group.events:
                target.events += group.events
                target.positions += [first_position + position for position in group.positions]
                target.watermarks_ms += group.watermarks_ms
                target.offsets += group.offsets
            if group.user_mentions:
                target.user_mentions += [
                    (first_position + named[0], *named[1:]) for named in group.user_mentions
                ]
            target.erased_users += group.erased_users
    return first
