"""Where events come from: a Bytewax source over any resumable run of records."""

from __future__ import annotations

from itertools import islice
from threading import Event as Flag
from typing import TYPE_CHECKING

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from operators.events.currencies import CurrencyConverter
from operators.shards.batching import SourceBatcher
from operators.shards.clock_jumps import LOOK_AHEAD_EVENTS
from state.errors import UserError
from state.messages import SourceBatch
from state.snapshots import SOURCE_CODEC, SourceState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from state.config import Settings
    from state.dead_letters import DeadLetter
    from state.events import Event

    Records = Callable[[], Iterator[Event | DeadLetter]]
    """Opens a recording at its beginning."""


class RecordedPartition(StatefulSourcePartition[SourceBatch, bytes]):
    """One recording, read to its end in batches of the configured size."""

    def __init__(
        self,
        records: Records,
        name: str,
        settings: Settings,
        state: SourceState,
        partitions: int,
        on_error: Callable[[UserError], None],
        stop: Flag,
        exchange: CurrencyConverter,
    ) -> None:
        self._on_error = on_error
        self._stop = stop
        self._partitions = partitions
        self._name = name
        self._settings = settings
        self._exchange = exchange
        self._offset = state.offset
        self._finished = state.finished
        self._batcher = SourceBatcher(state.batches, state.watermark_ms, state.totals)
        exchange.resume(state.totals.currency)
        self._records = iter(()) if self._finished else records()
        self._lookahead: list[Event | DeadLetter] = []
        # A recording cannot be entered in the middle: what was read before is read over.
        next(islice(self._records, self._offset, self._offset), None)

    def next_batch(self) -> list[SourceBatch]:
        """The next batch; after the last one an empty one that carries the final watermark."""
        if self._finished:
            raise StopIteration
        batch_events, sessions = self._settings.source.batch_events, self._settings.sessions
        try:
            self._lookahead.extend(
                islice(self._records, batch_events + LOOK_AHEAD_EVENTS - len(self._lookahead))
            )
        except UserError as error:
            # What was read before the damage is still worth its place in the output.
            self._on_error(error)
        if self._stop.is_set():
            # What was just read is read again: nothing of it went on.
            raise StopIteration
        records, self._lookahead = self._lookahead[:batch_events], self._lookahead[batch_events:]
        self._offset += len(records)
        self._finished = not records
        return [
            self._batcher.batch(
                records,
                partition=self._name,
                shards=sessions.shards,
                allowed_lateness_ms=sessions.allowed_lateness_ms,
                jump_ms=sessions.jump_ms,
                upcoming=self._lookahead,
                partitions=self._partitions,
                last=self._finished,
                converter=self._exchange,
            )
        ]

    def snapshot(self) -> bytes:
        """Where to go on."""
        batcher = self._batcher
        return SOURCE_CODEC.encode(
            SourceState(
                self._offset, batcher.batches, batcher.watermark_ms, self._finished, batcher.totals
            )
        )


class RecordedSource(FixedPartitionedSource[SourceBatch, bytes]):
    """Recordings as a source, one partition each. `failure` is what ended one before its end,
    `resumed_events` how many were read in former runs.

    When `stop` is set, they end between two batches, and a snapshot knows where.
    """

    def __init__(
        self, recordings: dict[str, Records], settings: Settings, stop: Flag | None = None
    ) -> None:
        self._recordings = recordings
        self._settings = settings
        self._stop = stop or Flag()
        self._exchange = CurrencyConverter(settings.money)
        self.failure: UserError | None = None
        self.resumed_events = 0

    def list_parts(self) -> list[str]:
        """The names of the recordings."""
        return list(self._recordings)

    def build_part(
        self, step_id: str, for_part: str, resume_state: bytes | None
    ) -> RecordedPartition:
        """One recording, from where its snapshot left it."""
        state = SourceState() if resume_state is None else SOURCE_CODEC.decode(resume_state)
        self.resumed_events += state.offset
        return RecordedPartition(
            self._recordings[for_part],
            for_part,
            self._settings,
            state,
            len(self._recordings),
            self._fail,
            self._stop,
            self._exchange,
        )

    def _fail(self, error: UserError) -> None:
        self.failure = error
