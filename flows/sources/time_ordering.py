"""Sorts the events of a recorded file by time, in constant memory: for logs that are not in order.

It writes sorted runs to temporary files and merges them (external merge sort).
"""

from __future__ import annotations

import heapq
from contextlib import ExitStack
from operator import attrgetter
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING

import msgspec

from state.dead_letters import DeadLetter
from state.events import Event

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SORT_RUN_EVENTS = 100_000
"""Events in memory at once (some 60 MB); a log of 40 million makes 400 runs."""

_decode = msgspec.json.Decoder(Event).decode
_encode = msgspec.json.Encoder().encode
_by_time = attrgetter("event_ts")


def sort_by_time(
    records: Iterable[Event | DeadLetter], *, run_events: int = SORT_RUN_EVENTS
) -> Iterator[Event | DeadLetter]:
    """Give dead letters at once, then all events by `event_ts`; equal times keep their order.

    Temporary files of about the size of the events as JSON live in TMPDIR until the end.
    """
    runs: list[Iterator[Event]] = []
    run: list[Event] = []
    with ExitStack() as files:
        for record in records:
            if isinstance(record, DeadLetter):
                yield record
                continue
            run.append(record)
            if len(run) >= run_events:
                run.sort(key=_by_time)
                runs.append(_spill(files.enter_context(TemporaryFile()), run))
                run = []
        run.sort(key=_by_time)
        yield from heapq.merge(*runs, run, key=_by_time)


def _spill(file: IO[bytes], run: list[Event]) -> Iterator[Event]:
    """Write a run to a file, and return an iterator that reads it back."""
    file.writelines(_encode(event) + b"\n" for event in run)
    file.seek(0)
    return map(_decode, file)
