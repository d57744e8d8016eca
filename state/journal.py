"""Journals: the rows of one piece of state on disk, as a base and the changes since.

A journal is one append-only file, `<name>.<generation>.rows`: eight magic bytes, then records of
four bytes length, four bytes checksum and an opaque payload. The checksum (CRC-32) covers name,
generation and all records up to this one, so a `JournalPosition` matches one content only. The part
of a file up to a position never changes. `compact` starts the next generation; the old file stays
until no snapshot refers to it.

Nothing here waits for the disk: a killed process loses nothing; after a power cut the synced backup
of the recovery folder is used. The file format is stored: a change needs new magic bytes.
"""

from __future__ import annotations

import os
import re
import weakref
import zlib
from typing import TYPE_CHECKING

import msgspec

from state import private_files
from state.errors import DamageError, RecoveryError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_MAGIC = b"ps-rows\x01"
_HEAD_BYTES = 8
_WRITE_BYTES = 1 << 20
_COMPACT_ABOVE_BYTES = 1 << 16
_FILE = re.compile(r"(?P<name>[a-z0-9_-]+)\.(?P<generation>\d+)\.rows")


class JournalPosition(msgspec.Struct, frozen=True, array_like=True):
    """A position in a journal, stored in a snapshot: the file, its length in bytes, the checksum
    there.

    `base` is the length of the file before the first change.
    """

    name: str
    generation: int
    length: int
    base: int
    checksum: int

    @property
    def file_name(self) -> str:
        """The name of the file."""
        return _file_name(self.name, self.generation)


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
    """The rows of one piece of state; the constructor starts an empty journal, `open` an existing
    one.

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
                raise _damage_error(path, os.fstat(self._fd).st_size, "it ends here")
            os.ftruncate(self._fd, position.length)
        except OSError as error:
            raise _disk_error(path, error) from error
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
        if self._length > len(_MAGIC):
            self._start_generation()
        records: list[bytes] = []
        pending_bytes = 0
        for payload in payloads:
            records.append(self._encode_record(payload))
            pending_bytes += len(records[-1])
            if pending_bytes >= _WRITE_BYTES:
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
        path = self._folder / _file_name(self._name, generation)
        try:
            fd = os.open(
                path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, private_files.FILE_MODE
            )
        except OSError as error:
            raise _disk_error(path, error) from error
        self._use_file(fd)
        self._generation = generation
        self._checksum = _seed(self._name, generation)
        self._length = 0
        self._write(_MAGIC)

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
            path = self._folder / _file_name(self._name, self._generation)
            raise _disk_error(path, error) from error


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


def read(
    folder: Path, position: JournalPosition, *, since: JournalPosition | None = None
) -> Iterator[bytes]:
    """The payloads up to a position. Raises DamageError with file and byte if they are damaged.

    With an earlier position of the same file (`since`), only the payloads after it.
    """
    path = folder / position.file_name
    try:
        with path.open("rb") as file_name:
            offset, checksum = len(_MAGIC), _seed(position.name, position.generation)
            if file_name.read(offset) != _MAGIC:
                raise _damage_error(path, 0, "not the start of a journal")
            if since is not None:
                offset, checksum = since.length, since.checksum
                file_name.seek(offset)
            while offset < position.length:
                head = file_name.read(_HEAD_BYTES)
                length = int.from_bytes(head[:4], "big")
                if offset + _HEAD_BYTES + length > position.length:
                    raise _damage_error(path, offset, "a record longer than the journal")
                payload = file_name.read(length)
                checksum = zlib.crc32(payload, zlib.crc32(head[:4], checksum))
                if head[4:] != checksum.to_bytes(4, "big"):
                    raise _damage_error(path, offset, "a record with a wrong checksum")
                yield payload
                offset += _HEAD_BYTES + length
    except OSError as error:
        raise _disk_error(path, error) from error
    if checksum != position.checksum:
        raise _damage_error(path, position.length, "not the content to which the snapshot refers")


def copy(folder: Path, position: JournalPosition, to: Path, since: JournalPosition | None) -> None:
    """Copy a journal up to a position to another folder, and sync it.

    With the position of an earlier copy there (`since`), only the part after it is copied. Raises
    DamageError if the journal is damaged, OSError if the copy cannot be written.
    """
    path = to / position.file_name
    if since is None or not path.exists() or path.stat().st_size < since.length:
        since = None
    elif since == position:
        return
    for _ in read(folder, position, since=since):
        pass
    offset, mode = (0, "wb") if since is None else (since.length, "r+b")
    with (
        (folder / position.file_name).open("rb") as source,
        open(path, mode, opener=private_files.opener) as target,
    ):
        source.seek(offset)
        target.seek(offset)
        while offset < position.length:
            offset += target.write(source.read(min(_WRITE_BYTES, position.length - offset)))
        target.truncate()
        target.flush()
        os.fsync(target.fileno())


def list_journals(folder: Path) -> list[tuple[Path, str, int]]:
    """The journals in a folder: path, name, generation."""
    entries = ((entry, _FILE.fullmatch(entry.name)) for entry in folder.iterdir())
    return [(path, match["name"], int(match["generation"])) for path, match in entries if match]


def _file_name(name: str, generation: int) -> str:
    return f"{name}.{generation}.rows"


def _seed(name: str, generation: int) -> int:
    return zlib.crc32(_file_name(name, generation).encode())


def _damage_error(path: Path, offset: int, problem: str) -> DamageError:
    return DamageError(f"{path}: byte {offset}: {problem}")


def _disk_error(path: Path, error: OSError) -> RecoveryError:
    if isinstance(error, FileNotFoundError):
        return _damage_error(path, 0, "the file is missing")
    return RecoveryError(
        f"{path}: {error.strerror}: free disk space or repair the disk, then start again"
    )
