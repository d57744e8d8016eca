"""The step `kpis`: facts of all shards of a batch in, Redis commands of key figures out.

It keeps the facts of shoppers as long as something may follow from them, and the sums by scope and
hour. Only sums are published: what was counted of an erased shopper is taken back as far as facts are
kept of it, and then nothing is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.events.event_clock import EventClock
from operators.events.processing_errors import ProcessingErrors
from operators.kpis.hour_sums import HourSums, read_record
from operators.kpis.publishing import expired_writes, hour_writes, now_writes
from operators.publish.report_timer import ReportTimer
from operators.tables.barrier import Barrier
from state.kpis import KpiState
from state.messages import BatchOutput, KpiEvents
from state.snapshots import KPI_RECORD_CODEC, KPIS_CODEC
from state.times import HOUR_MS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from operators.kpis.attribution import Key
    from state.config import Settings
    from state.journal import Journal, Journals
    from state.journal_files import JournalPosition
    from state.kpis import Fact, KpiRecord
    from state.messages import ShardPart, Write

STEP_ID = "kpis"
JOURNAL = "kpis"  # stored


class KpiStep:
    """The facts and sums, and how far the step has come. Changes its state in place."""

    def __init__(
        self, settings: Settings, snapshot: bytes | None = None, journals: Journals | None = None
    ) -> None:
        state = KpiState() if snapshot is None else KPIS_CODEC.decode(snapshot)
        self._journals = journals
        self._journal: Journal | None = None
        record = state.record
        if state.journal is not None:
            assert journals is not None
            self._journal, payloads = journals.open(state.journal)
            record = read_record(map(KPI_RECORD_CODEC.decode, payloads))
        self.hour_sums = HourSums(settings.kpis, record)
        self._errors = ProcessingErrors(STEP_ID)
        self._barrier: Barrier[KpiEvents] = Barrier(STEP_ID, settings.sessions.shards)
        self._clock = EventClock(settings.sessions.allowed_lateness_ms)
        self._clock.newest_event_ms, self._clock.event_time_ms = state.newest_ms, state.clock_ms
        self._batches = state.batches
        self._timer = ReportTimer(
            batch_numbers=self._batches,
            batch_events=settings.source.batch_events,
            every_ms=settings.lists.figures_every_ms,
            last_ms=state.report_ms,
        )
        self._published_hour = state.published_hour
        self._is_unclean = state.is_unclean
        self._has_reported = False
        self._unpublished: set[Key] = set(state.unpublished)

    def process_batch(self, messages: Sequence[KpiEvents]) -> list[BatchOutput]:
        """Take in the facts of shards; an output for each whole batch with which figures are due."""
        outputs: list[BatchOutput] = []
        for message in messages:
            for parts in self._barrier.add(message):
                output = self._process(sorted(parts, key=lambda part: part.shard))
                if output.aggregates or output.error_counts:
                    outputs.append(output)
        return outputs

    @property
    def row_count(self) -> int:
        """Shoppers of whom facts are kept."""
        return len(self.hour_sums.facts)

    def on_epoch_end(self) -> None:
        """Raises BarrierError where a batch is not whole."""
        self._barrier.check_empty()

    def snapshot(self) -> bytes:
        """The state as versioned bytes. Raises BarrierError where a batch is not whole."""
        self._barrier.check_empty()
        state = KpiState(
            self._batches,
            self._clock.newest_event_ms,
            self._clock.event_time_ms,
            self._timer.last_ms,
            self._published_hour,
            journal=self._store(),
            unpublished=sorted(self._unpublished),
        )
        state.is_unclean = self._is_unclean
        if state.journal is None:
            state.record.facts, state.record.sums = self.hour_sums.facts, self.hour_sums.sums
        return KPIS_CODEC.encode(state)

    def writes(self) -> Iterator[list[Write]]:
        """All figures again, for a Redis that lost them."""
        sums, now_ms = self.hour_sums.sums, self._clock.reporting_time_ms
        for scope in sorted(sums):
            yield [
                *hour_writes(sums, [(scope, hour) for hour in sorted(sums[scope])]),
                *now_writes(sums, [scope], now_ms),
            ]

    def _process(self, parts: list[KpiEvents]) -> BatchOutput:
        batch = parts[0].batch
        for batch_id in (batch, *batch.joined):
            self._batches[batch_id.partition] = batch_id.number + 1
        watermark_ms = max(part.watermark_ms for part in parts)
        self._clock.advance(watermark_ms)
        with self._errors.isolate("figures"):
            self._count(parts)
        now_ms, is_last = self._clock.reporting_time_ms, any(part.last for part in parts)
        writes: list[Write] = []
        if self._timer.take_due(
            now_ms, live=batch.live, first=not self._has_reported, last=is_last
        ):
            self._has_reported = True
            writes = self._errors.call_or_default("report", [], self._report, now_ms)
        return BatchOutput(
            aggregates=writes,
            watermark_ms=watermark_ms,
            error_counts=self._errors.take_counts(),
        )

    def _count(self, parts: list[KpiEvents]) -> None:
        added: dict[str, list[Fact]] = {}
        for part in parts:
            for event in part.events:
                added.setdefault(event.shopper, []).append(event.fact)
                self._clock.observe(event.fact.at_ms)
        merged = [one for part in parts for one in part.merged]
        erased: dict[str, int] = {}
        for part in parts:
            for name, at_ms in part.erased:
                erased[name] = max(at_ms, erased.get(name, 0))
                self._is_unclean = True
        if added or merged or erased:
            pairs = [(one.anonymous_id, one.shopper) for one in merged]
            now_ms = self._clock.reporting_time_ms
            self._unpublished.update(self.hour_sums.apply(added, pairs, erased, now_ms))

    def _report(self, now_ms: int) -> list[Write]:
        """What changed since the last report; with a new hour the last day of every scope."""
        sums, hour = self.hour_sums.sums, now_ms // HOUR_MS
        changed, self._unpublished = sorted(self._unpublished), set()
        writes: list[Write] = []
        scopes = sorted({scope for scope, _ in changed})
        writes += hour_writes(sums, changed)
        if hour > self._published_hour:
            scopes = sorted(sums)
            if self._published_hour:
                writes += expired_writes(scopes, self._published_hour, hour)
            self.hour_sums.drop_old(now_ms)
            self.hour_sums.drop_old_facts(now_ms)
            self._published_hour = hour
        return writes + now_writes(sums, scopes, now_ms)

    def _store(self) -> JournalPosition | None:
        if self._journals is None:
            return None
        changes = self.hour_sums.changes()
        if self._journal is None:
            self._journal = self._journals.new(JOURNAL)
            self._rewrite(self._journal)
        elif self._is_unclean or self._journal.needs_compaction:
            self._rewrite(self._journal)
        elif changes.facts or changes.sums:
            self._journal.append(KPI_RECORD_CODEC.encode(changes))
        return self._journal.position

    def _rewrite(self, journal: Journal) -> None:
        journal.compact(map(_encoded, self.hour_sums.records()))
        self._is_unclean = False


def _encoded(record: KpiRecord) -> bytes:
    return KPI_RECORD_CODEC.encode(record)


def kpi_events_of(part: ShardPart) -> KpiEvents:
    """What key figures are made of, of shards' part of a batch."""
    outputs = part.outputs
    return KpiEvents(
        part.batch,
        part.sequence,
        part.shard,
        max(output.watermark_ms for output in outputs),
        any(output.last for output in outputs),
        [one for output in outputs for one in output.counted_events],
        [one for output in outputs for one in output.merged],
        [one for output in outputs for one in output.erased],
        part.parts,
    )
