"""A Bytewax source of recorded events, which can stop and resume between batches."""

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
    """A function that opens a recording at its beginning."""


class RecordedPartition(StatefulSourcePartition[SourceBatch, bytes]):
    """One recording, read to its end in batches of the configured size."""

    def __init__(self, source: RecordedSource, name: str, state: SourceState) -> None:
        self._source = source
        self._settings = source.settings
        self._name = name
        self._offset = state.offset
        self._finished = state.finished
        self._batcher = SourceBatcher(state.batches, state.watermark_ms, state.totals)
        source.converter.resume(state.totals.currency)
        self._records = iter(()) if self._finished else source.recordings[name]()
        self._lookahead: list[Event | DeadLetter] = []
        # A recording can only be read from its beginning: skip the records of earlier runs.
        next(islice(self._records, self._offset, self._offset), None)

    def next_batch(self) -> list[SourceBatch]:
        """The next batch; after the last one an empty batch with the final watermark."""
        if self._finished:
            raise StopIteration
        batch_events, sessions = self._settings.source.batch_events, self._settings.sessions
        try:
            self._lookahead.extend(
                islice(self._records, batch_events + LOOK_AHEAD_EVENTS - len(self._lookahead))
            )
        except UserError as error:
            # The records before the damage are still processed.
            self._source.failure = error
        if self._source.stop.is_set():
            # The records just read were not emitted: the next run reads them again.
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
                partitions=len(self._source.recordings),
                last=self._finished,
                converter=self._source.converter,
            )
        ]

    def snapshot(self) -> bytes:
        """The number of records read, and the state of the watermark."""
        batcher = self._batcher
        return SOURCE_CODEC.encode(
            SourceState(
                self._offset, batcher.batches, batcher.watermark_ms, self._finished, batcher.totals
            )
        )


class RecordedSource(FixedPartitionedSource[SourceBatch, bytes]):
    """Recordings as a source, one partition each.

    `failure` is the error that ended a recording early, `resumed_events` the number of events read in
    earlier runs. When `stop` is set, every partition ends between two batches, and can resume there.
    """

    def __init__(
        self, recordings: dict[str, Records], settings: Settings, stop: Flag | None = None
    ) -> None:
        self.recordings = recordings
        self.settings = settings
        self.stop = stop or Flag()
        self.converter = CurrencyConverter(settings.money)
        self.failure: UserError | None = None
        self.resumed_events = 0

    def list_parts(self) -> list[str]:
        """The names of the recordings."""
        return list(self.recordings)

    def build_part(
        self, step_id: str, for_part: str, resume_state: bytes | None
    ) -> RecordedPartition:
        """One recording, from the position in its snapshot."""
        state = SourceState() if resume_state is None else SOURCE_CODEC.decode(resume_state)
        self.resumed_events += state.offset
        return RecordedPartition(self, for_part, state)
