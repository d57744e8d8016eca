"""Where results go: Redis, and a file for dead letters."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO

import msgspec
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from state.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from state.deadletters import DeadLetter
    from state.messages import Output
    from state.store import Store

DEAD_LETTERS_PART = "file"
"""The stored name of the one partition of dead letters, wherever they go."""


class _RedisPartition(StatefulSinkPartition["Output", None]):
    def __init__(self, store: Store) -> None:
        self._store = store
        self._is_settled = True

    def write_batch(self, values: list[Output]) -> None:
        self._is_settled = False
        for output in values:
            self._store.send(output.writes)

    def snapshot(self) -> None:
        # An epoch may only be committed when all that it wrote has been answered.
        self._store.settle()
        self._is_settled = True

    def close(self) -> None:
        # With writes open an error is on its way: to wait for Redis once more would end in a
        # second one, and that aborts the process.
        if self._is_settled:
            self._store.close()


class RedisSink(FixedPartitionedSink["Output", None]):
    """Writes commands in the order in which they come."""

    def __init__(self, connect: Callable[[], Store]) -> None:
        self._connect = connect

    def list_parts(self) -> list[str]:
        """One: what is written in order must arrive in order."""
        return ["redis"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _RedisPartition:
        """A connection of this worker's own."""
        return _RedisPartition(self._connect())


class _DeadLetterPartition(StatefulSinkPartition["list[DeadLetter]", int]):
    def __init__(self, file: BinaryIO, size: int) -> None:
        # What was written after the snapshot comes again: a dead letter is in the file once. A file
        # that someone emptied in between is not filled up to where it was.
        self._file = file
        self._file.truncate(min(size, self._file.seek(0, os.SEEK_END)))
        self._file.seek(0, os.SEEK_END)
        self._encoder = msgspec.json.Encoder()

    def write_batch(self, values: list[list[DeadLetter]]) -> None:
        letters = [letter for batch in values for letter in batch]
        self._file.write(self._encoder.encode_lines(letters))

    def snapshot(self) -> int:
        self._file.flush()
        return self._file.tell()

    def close(self) -> None:
        self._file.close()


class DeadLetterSink(FixedPartitionedSink["list[DeadLetter]", int]):
    """Appends dead letters to a file as JSON lines."""

    def __init__(self, path: Path) -> None:
        self._path = path

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
            raise UserError(
                f"cannot write rejected records to {self._path}: {error.strerror}: "
                "name another file with --dead-letters"
            ) from error
        return _DeadLetterPartition(file, resume_state or 0)
