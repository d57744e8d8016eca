"""Journals: the rows of one piece of state on disk, as a base and the changes since.

The part of a file up to a position never changes. `compact` starts the next generation; the old file
stays until no snapshot refers to it. `journal_files.py` has the format.

Nothing here waits for the disk: a killed process loses nothing; after a power cut the synced backup
of the recovery folder is used.
"""

from __future__ import annotations

import os
import weakref
import zlib
from typing import TYPE_CHECKING

from state import private_files
from state.journal_files import (
    MAGIC,
    WRITE_BYTES,
    JournalPosition,
    checksum_seed,
    damage_error,
    disk_error,
    file_name_of,
    list_journals,
    read,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_COMPACT_ABOVE_BYTES = 1 << 16


class RewriteThrottle:
    """Spreads the compaction of many journals: changes must pay for one before the next may start.

    So a snapshot never costs more than a few times the changes, although all journals fill up alike.
    """

    def __init__(self) -> None:
        self._owed_bytes = 0

    @property
    def may_rewrite(self) -> bool:
        """Whether changes have paid for the last compaction."""
        return self._owed_bytes <= 0

    def credit(self, appended_bytes: int) -> None:
        """Count appended bytes twice, so that no journal waits for ever."""
        self._owed_bytes = max(0, self._owed_bytes - 2 * appended_bytes)

    def debit(self, written_bytes: int) -> None:
        """Count the bytes of a compaction."""
        self._owed_bytes += written_bytes


class Journal:
    """The rows of one piece of state. The constructor starts an empty journal, `open` an old one.

    Changes may be `ratio` times as large as the base before `needs_compaction`. All methods raise
    UserError if the disk is full or fails.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        ratio: float = 1.0,
        throttle: RewriteThrottle | None = None,
    ) -> None:
        self._folder = folder
        self._name = name
        self._ratio = ratio
        self._throttle = throttle or RewriteThrottle()
        self._close: weakref.finalize[..., Journal] | None = None
        self._start_generation()
        self._base = self._length

    @classmethod
    def open(
        cls,
        folder: Path,
        position: JournalPosition,
        *,
        ratio: float = 1.0,
        throttle: RewriteThrottle | None = None,
    ) -> tuple[Journal, Iterator[bytes]]:
        """Open a journal at a position; gives it and its payloads. Later records are cut off.

        Raises DamageError, also while payloads are read, if the file has changed.
        """
        self = cls.__new__(cls)
        self._folder, self._name = folder, position.name
        self._ratio, self._throttle = ratio, throttle or RewriteThrottle()
        self._close = None
        path = folder / position.file_name
        try:
            self._use_file(os.open(path, os.O_RDWR | os.O_CLOEXEC))
            if os.fstat(self._fd).st_size < position.length:
                raise damage_error(path, os.fstat(self._fd).st_size, "it ends here")
            os.ftruncate(self._fd, position.length)
        except OSError as error:
            raise disk_error(path, error) from error
        self._generation = position.generation
        self._length, self._base, self._checksum = position.length, position.base, position.checksum
        return self, read(folder, position)

    @property
    def position(self) -> JournalPosition:
        """The current end of the journal."""
        return JournalPosition(
            self._name, self._generation, self._length, self._base, self._checksum
        )

    @property
    def needs_compaction(self) -> bool:
        """Whether the changes outweigh the base, so that `compact` should be called, not `append`."""
        changed = self._length - self._base
        return (
            changed > max(_COMPACT_ABOVE_BYTES, self._ratio * self._base)
            and self._throttle.may_rewrite
        )

    def append(self, payload: bytes) -> JournalPosition:
        """Append changes with one write."""
        record = self._encode_record(payload)
        self._write(record)
        self._throttle.credit(len(record))
        return self.position

    def compact(self, payloads: Iterable[bytes]) -> JournalPosition:
        """Start the next generation with all rows as its base."""
        if self._length > len(MAGIC):
            self._start_generation()
        records: list[bytes] = []
        pending_bytes = 0
        for payload in payloads:
            records.append(self._encode_record(payload))
            pending_bytes += len(records[-1])
            if pending_bytes >= WRITE_BYTES:
                self._write(b"".join(records))
                records, pending_bytes = [], 0
        self._write(b"".join(records))
        self._base = self._length
        self._throttle.debit(self._base)
        return self.position

    def _start_generation(self) -> None:
        generations = [
            generation for _, name, generation in list_journals(self._folder) if name == self._name
        ]
        generation = max(generations, default=0) + 1
        path = self._folder / file_name_of(self._name, generation)
        try:
            fd = os.open(
                path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, private_files.FILE_MODE
            )
        except OSError as error:
            raise disk_error(path, error) from error
        self._use_file(fd)
        self._generation = generation
        self._checksum = checksum_seed(self._name, generation)
        self._length = 0
        self._write(MAGIC)

    def _use_file(self, fd: int) -> None:
        if self._close is not None:
            self._close()
        self._fd = fd
        self._close = weakref.finalize(self, os.close, fd)

    def _encode_record(self, payload: bytes) -> bytes:
        length = len(payload).to_bytes(4, "big")
        self._checksum = zlib.crc32(payload, zlib.crc32(length, self._checksum))
        return b"".join((length, self._checksum.to_bytes(4, "big"), payload))

    def _write(self, data: bytes) -> None:
        remaining = memoryview(data)
        try:
            while remaining:
                written = os.pwrite(self._fd, remaining, self._length)
                self._length += written
                remaining = remaining[written:]
        except OSError as error:
            path = self._folder / file_name_of(self._name, self._generation)
            raise disk_error(path, error) from error


class Journals:
    """The journals of one folder, as one process uses them."""

    def __init__(self, folder: Path, *, ratio: float) -> None:
        self._folder = folder
        self._ratio = ratio
        self._throttle = RewriteThrottle()

    def new(self, name: str) -> Journal:
        """Start an empty journal of a new generation; names consist of `a-z 0-9 _ -`."""
        return Journal(self._folder, name, ratio=self._ratio, throttle=self._throttle)

    def open(self, position: JournalPosition) -> tuple[Journal, Iterator[bytes]]:
        """Open a journal at the position in a snapshot; gives it and its payloads."""
        return Journal.open(self._folder, position, ratio=self._ratio, throttle=self._throttle)
