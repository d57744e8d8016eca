"""The sink for dead letters: a file of JSON lines.

An erased shopper's records in the file are blanked (`dead_letter_file.py`). Stored: the name of the
partition, and its snapshot (the size of the file).
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from flows.sinks.dead_letter_file import blank_letters
from state.dead_letters import DeadLetter, Erasure
from state.errors import OutputError
from state.printable import printable

if TYPE_CHECKING:
    from state.dead_letters import DeadLetterBatch

DEAD_LETTERS_FILE = Path("penstock.dead-letters.jsonl")
"""The default file of dead letters."""
DEAD_LETTERS_PART = "file"
"""The stored name of the one partition of dead letters, wherever they go."""


class _DeadLetterPartition(StatefulSinkPartition["DeadLetterBatch", int]):
    def __init__(self, file: BinaryIO, size: int) -> None:
        # Letters after the snapshot will be written again, so cut the file to its size at the snapshot:
        # each letter is in it once. If someone emptied the file meanwhile, it is not extended.
        self._file = file
        self._file.truncate(min(size, self._file.seek(0, os.SEEK_END)))
        self._file.seek(0, os.SEEK_END)
        self._encoder = msgspec.json.Encoder()

    def write_batch(self, values: list[DeadLetterBatch]) -> None:
        letters = [letter for batch in values for letter in batch]
        lines = self._encoder.encode_lines(
            [letter for letter in letters if isinstance(letter, DeadLetter)]
        )
        self._file.write(printable(lines.decode(), keep="\n").encode())
        erased = {letter.name for letter in letters if isinstance(letter, Erasure)}
        if erased:
            self._file.flush()
            blank_letters(self._file, erased)
            self._file.seek(0, os.SEEK_END)

    def snapshot(self) -> int:
        self._file.flush()
        return self._file.tell()

    def close(self) -> None:
        self._file.close()


def _write_error(path: Path, reason: str | None) -> OutputError:
    return OutputError(
        f"cannot write rejected records to {path}: {reason}: name another file with --dead-letters"
    )


class DeadLetterSink(FixedPartitionedSink["DeadLetterBatch", int]):
    """Appends dead letters to a file as JSON lines. Raises OutputError if its folder does not exist."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Checked here already: an error in a running flow comes after connections are open.
        if not path.parent.is_dir():
            raise _write_error(path, os.strerror(errno.ENOENT))

    def list_parts(self) -> list[str]:
        """One file."""
        return [DEAD_LETTERS_PART]

    def build_part(
        self, step_id: str, for_part: str, resume_state: int | None
    ) -> _DeadLetterPartition:
        """The file, cut to its size at the snapshot."""
        try:
            self._path.touch()
            file = self._path.open("r+b")
        except OSError as error:
            raise _write_error(self._path, error.strerror) from error
        return _DeadLetterPartition(file, resume_state or 0)
