"""Where results go: Redis, and a file for dead letters."""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from flows.observability import metrics
from flows.process import liveness
from flows.sinks.dead_letter_file import blank
from flows.sinks.scrubber import Scrubber, scrub
from state.dead_letters import DeadLetter, Forgotten
from state.errors import UserError
from state.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from state.dead_letters import Letters
    from state.messages import Branch, Output, Write
    from state.store import Store

DEAD_LETTERS_FILE = Path("penstock.dead-letters.jsonl")
"""Where dead letters of a run go that names nothing else."""
DEAD_LETTERS_PART = "file"
"""The stored name of the one partition of dead letters, wherever they go."""


APART_WRITES = 1000
"""A batch with so many writes is sent branch by branch."""


class _RedisPartition(StatefulSinkPartition["Output", bool]):
    """Its state is whether histories may still name who was erased, when a snapshot is made."""

    def __init__(
        self, connect: Callable[[], Store], *, measured: bool, notice_days: int, is_unclean: bool
    ) -> None:
        self._store = connect()
        self._notice_days = notice_days
        self._scrubber = Scrubber(connect, notice_days)
        self._is_clean = not is_unclean
        self._measured = measured
        self._is_settled = True
        self._ended_s: float | None = None

    def write_batch(self, values: list[Output]) -> None:
        self._is_settled = False
        for output in values:
            self._is_clean = self._is_clean and not output.erased
            if self._measured:
                self._measure(output)
            else:
                self._store.send(output.writes, first=output.first)

    def _measure(self, output: Output) -> None:
        """Send what becomes visible together in one go, and note when it did."""
        metrics.learned(output)
        first = output.first
        for branches, writes in _together(output):
            metrics.WRITES_QUEUED.inc(len(writes))
            self._store.send(writes, partial(_visible, branches, len(writes)), first=first)
            first = 0

    def snapshot(self) -> bool:
        # An epoch may only be committed when all that it wrote has been answered.
        self._store.settle()
        self._is_settled = True
        if self._measured and not self._is_clean:  # the notices are in Redis now
            self._scrubber.ask()
            self._is_clean = True
        self._scrubber.go_on()
        liveness.beat()
        now_s = time.monotonic()
        if self._ended_s is not None:
            metrics.EPOCH.observe(now_s - self._ended_s)
        self._ended_s = now_s
        return not (self._is_clean and self._scrubber.is_clean)

    def close(self) -> None:
        self._scrubber.end()
        # With writes open an error is on its way: to wait for Redis once more would end in a
        # second one, and that aborts the process.
        if self._is_settled:
            if not self._is_clean:  # a replay: once for all
                with suppress(UserError):  # the next one scrubs, as it does whatever is left undone
                    scrub(self._store, self._notice_days)
            self._store.close()


def _together(output: Output) -> Iterator[tuple[list[Branch], list[Write]]]:
    """What is sent in one go: of a small batch all, since to part it would cost more than it tells."""
    branches, begin = output.branches, 0
    if len(output.writes) >= APART_WRITES:
        for branch in branches[:-1]:
            if branch.end > begin:
                yield [branch], output.writes[begin : branch.end]
                begin = branch.end
        branches = branches[-1:]
    yield branches, output.writes[begin:]


def _visible(branches: list[Branch], writes: int, seconds: float) -> None:
    metrics.WRITES_QUEUED.dec(writes)
    metrics.REDIS.observe(seconds)
    metrics.REDIS_AWAY.set(0)
    for branch in branches:
        metrics.visible(branch.name, branch.received_ms)


class RedisSink(FixedPartitionedSink["Output", bool]):
    """Writes commands in the order in which they come; if `measured`,
    `flows.observability.metrics` tells of them."""

    def __init__(
        self, connect: Callable[[], Store], *, measured: bool = False, notice_days: int = 7
    ) -> None:
        self._connect = connect
        self._notice_days = notice_days
        self._measured = measured

    def list_parts(self) -> list[str]:
        """One: what is written in order must arrive in order."""
        return ["redis"]

    def build_part(self, step_id: str, for_part: str, resume_state: bool | None) -> _RedisPartition:
        """A connection of this worker's own."""
        return _RedisPartition(
            self._connect,
            measured=self._measured,
            notice_days=self._notice_days,
            is_unclean=bool(resume_state),
        )


class _DeadLetterPartition(StatefulSinkPartition["Letters", int]):
    def __init__(self, file: BinaryIO, size: int) -> None:
        # What was written after the snapshot comes again: a dead letter is in the file once. A file
        # that someone emptied in between is not filled up to where it was.
        self._file = file
        self._file.truncate(min(size, self._file.seek(0, os.SEEK_END)))
        self._file.seek(0, os.SEEK_END)
        self._encoder = msgspec.json.Encoder()

    def write_batch(self, values: list[Letters]) -> None:
        letters = [letter for batch in values for letter in batch]
        told = self._encoder.encode_lines([one for one in letters if isinstance(one, DeadLetter)])
        self._file.write(printable(told.decode(), keep="\n").encode())
        forgotten = {one.name for one in letters if isinstance(one, Forgotten)}
        if forgotten:
            self._file.flush()
            blank(self._file, forgotten)
            self._file.seek(0, os.SEEK_END)

    def snapshot(self) -> int:
        self._file.flush()
        return self._file.tell()

    def close(self) -> None:
        self._file.close()


def _cannot_write(path: Path, why: str | None) -> UserError:
    return UserError(
        f"cannot write rejected records to {path}: {why}: name another file with --dead-letters"
    )


class DeadLetterSink(FixedPartitionedSink["Letters", int]):
    """Appends dead letters to a file as JSON lines. Raises UserError where it could not be there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Said here too: once the flow runs, a connection to Redis may be open, and would be heard.
        if not path.parent.is_dir():
            raise _cannot_write(path, os.strerror(errno.ENOENT))

    def list_parts(self) -> list[str]:
        """One file."""
        return [DEAD_LETTERS_PART]

    def build_part(
        self, step_id: str, for_part: str, resume_state: int | None
    ) -> _DeadLetterPartition:
        """The file, cut to where the snapshot left it."""
        try:
            self._path.touch()
            file = self._path.open("r+b")
        except OSError as error:
            raise _cannot_write(self._path, error.strerror) from error
        return _DeadLetterPartition(file, resume_state or 0)
