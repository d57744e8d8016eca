"""From a source's batch to the groups its shards fold: the clock of the source, and who gets what."""

from __future__ import annotations

from array import array
from itertools import chain, islice
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from operators.events.currencies import Exchange
from operators.events.validation import CLOCK_SKEW_MS
from operators.shards import clock_jumps
from operators.shards.clock_jumps import LOOK_AHEAD
from operators.shards.identity_map import device
from operators.shards.sharding import shard_of
from state.dead_letters import DeadLetter
from state.events import NO_PROPS, SHORTENED, Event
from state.messages import BatchId, Group, SourceBatch, SourceTotals

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_RECEIVED_BYTES = 8
ANY_MS = 1 << 62


class SourceClock(msgspec.Struct):
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
        following: Sequence[Event | DeadLetter] = (),
        partitions: int = 1,
        last: bool = False,
        idle_ms: int = 0,
        live: bool = False,
        now_ms: int | None = None,
        origin: tuple[str, str] = ("", ""),
        offsets: Sequence[int] = (),
        exchange: Exchange | None = None,
    ) -> SourceBatch:
        """The next batch as one group a shard, even if empty: each carries the watermark.

        An event more than `jump_ms` (None: however far) ahead of all before it moves the watermark
        only if most of those after it agree: the rest of the batch, `following` (what the source
        knows to come next), and live, where nothing is known yet, the next batch.

        Where nothing has come for `idle_ms`, the partition says that it holds nothing back and that so
        much time has passed; the clock itself, which is stored, knows of events only. `origin` is what
        dead letters say of the partition, `offsets` those of the records, where it has any. `now_ms`
        is our own clock, where it is to be asked.
        """
        records = list(records)
        if self._pending is not None:
            self._settle_pending(records, allowed_lateness_ms, jump_ms or 0, now_ms)
        passed_ms = self.watermark_ms and self.watermark_ms + idle_ms
        idle = idle_ms > 0
        batch = BatchId(
            partition, self.batches, passed_ms, last, partitions, idle, live, origin=origin
        )
        self.batches += 1
        groups = [Group(batch, n, [], [], []) for n in range(shards)]
        named: set[str] = set()
        rejected: list[DeadLetter] = []
        received_ms = array("q")
        totals, clock_ms, position = self.totals, self.watermark_ms, -1
        totals.source = origin[0] or partition
        by_type, jump_ms = totals.by_type, ANY_MS if jump_ms is None else jump_ms
        reach_ms = clock_ms + allowed_lateness_ms + jump_ms
        exchange = exchange or Exchange()
        exchange.resume(totals.currency)
        shop = exchange.shop
        for record in records:
            position += 1
            if isinstance(record, DeadLetter):
                rejected.append(record)
                received_ms.append(0)
                kind = record.failure_type
                totals.rejected[kind] = totals.rejected.get(kind, 0) + 1
                continue
            moves = True
            if record.event_ts > reach_ms and record.received_ts > reach_ms:
                near = records[position : position + LOOK_AHEAD + 1]
                reached_ms = clock_ms and clock_ms + allowed_lateness_ms
                record, moves = self._judge(near, following, reached_ms, jump_ms, live=live)
            if record.left_out or record.props is not NO_PROPS:
                record = _counted(record, totals)
            group = groups[shard_of(device(record), shards)]
            currency = record.currency
            if currency is not None and currency != shop:
                record = exchange.settle(record, totals.unconverted)
                shop = exchange.shop
            group.events.append(record)
            group.position.append(position)
            group.clock.append(clock_ms)
            if offsets:
                group.offset.append(offsets[position])
            received_ms.append(record.received_ts)
            if record.type == "erase":
                named.clear()
            if record.user_id is not None and record.user_id not in named:
                is_newest = record.event_ts - allowed_lateness_ms > clock_ms
                _tell_others(record, groups, group, named, is_newest=is_newest)
            by_type[record.type] = by_type.get(record.type, 0) + 1
            # Nothing happens after it was received: a clock that is ahead makes nobody late.
            seen_ms = record.event_ts
            if record.received_ts < seen_ms:
                # Nothing is farther ahead: it was set back, or is just as far.
                totals.clamped += seen_ms - record.received_ts >= CLOCK_SKEW_MS
                seen_ms = record.received_ts
            if moves and seen_ms - allowed_lateness_ms > clock_ms:
                clock_ms = seen_ms - allowed_lateness_ms
                reach_ms = seen_ms + jump_ms
        totals.read += position + 1
        self.watermark_ms = clock_ms
        totals.currency = shop
        groups[0].totals = {partition: _copy(totals)}
        groups[0].received_ms = received_ms.tobytes()
        return SourceBatch(groups, rejected)

    @property
    def has_pending(self) -> bool:
        """Whether an event waits for others to say that time has come so far."""
        return self._pending is not None

    def _judge(
        self,
        records: list[Event | DeadLetter],
        following: Sequence[Event | DeadLetter],
        reached_ms: int,
        jump_ms: int,
        *,
        live: bool,
    ) -> tuple[Event, bool]:
        """The first event, far ahead of all before, and whether it moves time on; live, the last waits.

        One that is alone among events in order has a wrong clock: its time is set back, as that of one
        ahead of its collector is, so that neither profiles nor lists take it for the present.
        """
        event, *after = records
        assert isinstance(event, Event)
        others = [one for one in islice(chain(after, following), LOOK_AHEAD) if type(one) is Event]
        agreed = clock_jumps.agreed(event, others, jump_ms)
        if agreed is None and live:
            self._pending = event
        elif agreed is False:
            self.totals.held += 1
            if not live:
                event = clock_jumps.set_back(event, others, reached_ms, jump_ms)
        return event, agreed is not False and self._pending is not event

    def _settle_pending(
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
        agreed = clock_jumps.agreed(event, records[:LOOK_AHEAD], jump_ms)
        if agreed is None and records:
            return
        if agreed is None and now_ms is not None:
            agreed = clock_jumps.seen_ms(event) <= now_ms + CLOCK_SKEW_MS
        self._pending = None
        if agreed is False:
            self.totals.held += 1
            return
        self.watermark_ms = max(self.watermark_ms, clock_jumps.seen_ms(event) - allowed_lateness_ms)


def _counted(event: Event, totals: SourceTotals) -> Event:
    """The event without `props`, and without the names of what could not be read, which are counted."""
    for name in event.left_out:
        if name == SHORTENED:
            totals.shortened += 1
        else:
            totals.left_out[name] = totals.left_out.get(name, 0) + 1
    return replace(event, left_out=(), props=NO_PROPS)


def _copy(totals: SourceTotals) -> SourceTotals:
    return replace(
        totals,
        rejected=dict(totals.rejected),
        by_type=dict(totals.by_type),
        left_out=dict(totals.left_out),
        unconverted=dict(totals.unconverted),
    )


def _tell_others(
    event: Event, groups: list[Group], own: Group, named: set[str], *, is_newest: bool
) -> None:
    """Tell of an event with a user who else is to know: all shards where the user is erased, else the
    shard of the user's id that it is a user's, by an event of another device: once a batch, `named`.

    What is not the newest of all before it may be from before an erasure, and tell nothing then.
    """
    user_id = event.user_id
    assert user_id is not None
    if event.type == "erase":
        for group in groups:
            group.erased.append(user_id)
            if group is not own:
                group.events.append(event)
                group.position.append(own.position[-1])
                group.clock.append(own.clock[-1])
                group.offset += own.offset[-1:]
    elif event.anonymous_id not in (None, user_id):
        note = (own.position[-1], user_id, event.event_ts, own.clock[-1])
        groups[shard_of(user_id, len(groups))].named.append(note)
        if is_newest:
            named.add(user_id)


def joined(batches: Iterable[SourceBatch]) -> Iterator[Group]:
    """The groups of batches that came at once; live ones of several partitions as those of one batch.

    Half of what a small batch costs does not depend on what is in it. Recorded batches stay as they
    are, so that a replay comes out the same.
    """
    live: list[list[Group]] = []
    for batch in batches:
        if batch.groups[0].batch.live:
            live.append(batch.groups)
        else:
            yield from batch.groups
    if live:
        yield from _as_one(live)


def _as_one(batches: list[list[Group]]) -> list[Group]:
    first, *others = batches
    if not others:
        return first
    ids, before = [], len(first[0].received_ms) // _RECEIVED_BYTES
    for groups in others:
        ids.append(replace(groups[0].batch, first=before))
        before += len(groups[0].received_ms) // _RECEIVED_BYTES
    batch = replace(first[0].batch, joined=tuple(ids))
    for into in first:
        into.batch = batch
    for groups, joined_id in zip(others, ids, strict=True):
        before = joined_id.first
        head = groups[0]
        first[0].totals |= head.totals
        first[0].received_ms += head.received_ms
        for into, group in zip(first, groups, strict=True):
            if group.events:
                into.events += group.events
                into.position += [before + position for position in group.position]
                into.clock += group.clock
                into.offset += group.offset
            if group.named:
                into.named += [(before + named[0], *named[1:]) for named in group.named]
            into.erased += group.erased
    return first
