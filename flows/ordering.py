"""Events of a recorded file by time, in constant memory: for logs that were not written in order.

Sorted runs go to temporary files and are merged; nothing else is kept.
"""

from __future__ import annotations

import heapq
from operator import attrgetter
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING

import msgspec

from state.deadletters import DeadLetter
from state.events import Event

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

RUN_EVENTS = 200_000
"""Events in memory at once (some 150 MB); a file of 40 million makes 200 runs."""

_decode = msgspec.json.Decoder(Event).decode
_encode = msgspec.json.Encoder().encode
_by_time = attrgetter("event_ts")


def in_time_order(
    records: Iterable[Event | DeadLetter], *, run_events: int = RUN_EVENTS
) -> Iterator[Event | DeadLetter]:
    """Dead letters as they come, then all events by `event_ts`; equal times keep their order.

    Temporary files of about the size of the events as JSON live in TMPDIR until the end.
    """
    runs: list[IO[bytes]] = []
    run: list[Event] = []
    try:
        for record in records:
            if isinstance(record, DeadLetter):
                yield record
                continue
            run.append(record)
            if len(run) >= run_events:
                runs.append(_stored(sorted(run, key=_by_time)))
                run = []
        run.sort(key=_by_time)
        yield from heapq.merge(*map(_events, runs), run, key=_by_time)
    finally:
        for file in runs:
            file.close()


def _stored(run: list[Event]) -> IO[bytes]:
    file = TemporaryFile()
    for event in run:
        file.write(_encode(event) + b"\n")
    file.seek(0)
    return file


def _events(file: IO[bytes]) -> Iterator[Event]:
    return map(_decode, file)
