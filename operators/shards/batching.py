"""From the records of a source partition to batches: the watermark, the totals, currencies.

Stored with the offset of the partition (`state.snapshots.SourceState`): fields may not be renamed.
"""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from operators.events.currencies import CurrencyConverter
from operators.events.validation import CLOCK_SKEW_MS
from operators.shards import clock_jumps
from operators.shards.clock_jumps import LOOK_AHEAD_EVENTS
from operators.shards.distribution import Distribution
from state.dead_letters import DeadLetter
from state.events import NO_PROPS, SHORTENED, Event
from state.messages import BatchId, SourceBatch, SourceTotals

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

UNLIMITED_MS = 1 << 62


class SourceBatcher(msgspec.Struct):
    """Builds the batches of one source partition, and knows how far it has come.

    `watermark_ms` is the newest event time less the allowed lateness, 0 before the first event.
    `_pending` is an event far ahead that waits for later ones to confirm its time.
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
        """The next batch: one input for every shard, even without events, since it has the watermark.

        An event more than `jump_ms` ahead of all before it (None: no limit) advances the watermark only
        if most events after it confirm it: the rest of the batch, `upcoming` (what the source knows to
        come next), or, in a live run, the next batch.

        `idle_ms` is for how long no record has come. The partition then no longer holds others back,
        and its watermark goes on by as much; the stored one knows of events only. `origin` goes into
        dead letters, `offsets` are those of the records. `now_ms` is the clock of this process, None
        where it must not be asked.
        """
        records = list(records)
        if self._pending is not None:
            self._resolve_pending(records, allowed_lateness_ms, jump_ms or 0, now_ms)
        reached_ms = self.watermark_ms and self.watermark_ms + idle_ms
        is_idle = idle_ms > 0
        batch = BatchId(
            partition, self.batches, reached_ms, last, partitions, is_idle, live, origin=origin
        )
        self.batches += 1
        self.totals.source = origin[0] or partition
        self.totals.read += len(records)
        distribution = Distribution(batch, shards, allowed_lateness_ms)
        converter = converter or CurrencyConverter()
        converter.resume(self.totals.currency)
        jump_ms = UNLIMITED_MS if jump_ms is None else jump_ms
        self._distribute(
            records, upcoming, distribution, converter, jump_ms, live=live, offsets=offsets
        )
        self.totals.currency = converter.shop_currency
        return distribution.finish(partition, _copy_totals(self.totals))

    def _distribute(
        self,
        records: list[Event | DeadLetter],
        upcoming: Sequence[Event | DeadLetter],
        distribution: Distribution,
        converter: CurrencyConverter,
        jump_ms: int,
        *,
        live: bool,
        offsets: Sequence[int],
    ) -> None:
        """Distribute the records of a batch, and advance the watermark with them. Hot."""
        totals, watermark_ms = self.totals, self.watermark_ms
        allowed_lateness_ms, add = distribution.allowed_lateness_ms, distribution.add
        by_type, shop_currency = totals.by_type, converter.shop_currency
        jump_limit_ms = watermark_ms + allowed_lateness_ms + jump_ms
        for position, record in enumerate(records):
            if isinstance(record, DeadLetter):
                distribution.reject(record)
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
            currency = record.currency
            if currency is not None and currency != shop_currency:
                record = converter.convert(record, totals.unconverted)
                shop_currency = converter.shop_currency
            # With the watermark before the event: it is late by the events before it.
            add(record, position, watermark_ms, offsets[position] if offsets else None)
            by_type[record.type] = by_type.get(record.type, 0) + 1
            # By the time of receipt where that is earlier: a clock that is ahead makes no event late.
            effective_ms = record.event_ts
            if record.received_ts < effective_ms:
                # The difference is at most the skew: validation has set a larger one back to it.
                totals.clamped += effective_ms - record.received_ts >= CLOCK_SKEW_MS
                effective_ms = record.received_ts
            if advances and effective_ms - allowed_lateness_ms > watermark_ms:
                watermark_ms = effective_ms - allowed_lateness_ms
                jump_limit_ms = effective_ms + jump_ms
        self.watermark_ms = watermark_ms

    @property
    def has_pending(self) -> bool:
        """Whether an event far ahead waits for later ones to confirm its time."""
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
        """The first event, which is far ahead of all before it, and whether it advances the watermark.

        In a live run the last event waits for the next batch. An event that no other confirms has a
        wrong clock: in a replay its time is corrected, so that neither profiles nor lists take it for
        the present.
        """
        event, *later_records = records
        assert isinstance(event, Event)
        following = islice(chain(later_records, upcoming), LOOK_AHEAD_EVENTS)
        later_events = [record for record in following if type(record) is Event]
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
        """Decide about the event that waits, by the events after it.

        If none comes, by the clock of this process: an event that is not ahead of it is confirmed.
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
    """The event without its `props`; fields that could not be read are counted by name."""
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
