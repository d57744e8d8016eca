"""Journals: rows of one piece of state on disk, a base and what changed since.

A journal is one append-only file, `<name>.<generation>.rows`: eight bytes that say what it is, then
records of four bytes length, four bytes checksum and a payload nobody here looks into. The checksum
(CRC-32) goes over name, generation and all records up to this one, so a `Handle` fits one content
only. What a handle covers never changes; `rewrite` starts the next generation and leaves the file
before it until nothing refers to it any more.

Nothing here waits for the disk: a killed process loses nothing, after a power cut the copy that was
made sure of serves (`flows.recovery.folder`). The file format is stored: a change needs new
magic bytes.
"""

from __future__ import annotations

import os
import re
import weakref
import zlib
from typing import TYPE_CHECKING

import msgspec

from state import private_files
from state.errors import DamageError, UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_MAGIC = b"ps-rows\x01"
_HEAD_BYTES = 8
_WRITE_BYTES = 1 << 20
_SMALL_BYTES = 1 << 16
_FILE = re.compile(r"(?P<name>[a-z0-9_-]+)\.(?P<generation>\d+)\.rows")


class Handle(msgspec.Struct, frozen=True, array_like=True):
    """What a snapshot keeps of a journal: the file, how much of it counts (bytes), its checksum there.

    `base` is how long the file was before anything was changed.
    """

    name: str
    generation: int
    length: int
    base: int
    checksum: int

    @property
    def file(self) -> str:
        """The name of the file."""
        return _file(self.name, self.generation)


class Pace:
    """Spreads the rewriting of many journals: one is paid for by changes before the next may begin.

    So a snapshot never costs more than a few times what changed, though all journals fill up alike.
    """

    def __init__(self) -> None:
        self._owed_bytes = 0

    @property
    def is_free(self) -> bool:
        """Whether the last rewriting has been paid for."""
        return self._owed_bytes <= 0

    def pay(self, appended_bytes: int) -> None:
        """Count changes: twice what they are, so that no journal waits for ever."""
        self._owed_bytes = max(0, self._owed_bytes - 2 * appended_bytes)

    def owe(self, written_bytes: int) -> None:
        """Count a rewriting."""
        self._owed_bytes += written_bytes


class Journal:
    """The rows of one piece of state; made new and empty, or with `open`.

    `ratio` is how much larger than the base the changes may be before `is_due`. All methods raise
    UserError where the disk takes no more.
    """

    def __init__(
        self, folder: Path, name: str, *, ratio: float = 1.0, pace: Pace | None = None
    ) -> None:
        self._folder = folder
        self._name = name
        self._ratio = ratio
        self._pace = pace or Pace()
        self._close: weakref.finalize[..., Journal] | None = None
        self._begin()
        self._base = self._length

    @classmethod
    def open(
        cls, folder: Path, handle: Handle, *, ratio: float = 1.0, pace: Pace | None = None
    ) -> tuple[Journal, Iterator[bytes]]:
        """The journal as the handle knows it, and its payloads; what came after is cut off.

        Raises DamageError, also while payloads are read, where the file is not what it was.
        """
        self = cls.__new__(cls)
        self._folder, self._name = folder, handle.name
        self._ratio, self._pace = ratio, pace or Pace()
        self._close = None
        path = folder / handle.file
        try:
            self._use(os.open(path, os.O_RDWR | os.O_CLOEXEC))
            if os.fstat(self._fd).st_size < handle.length:
                raise _damaged(path, os.fstat(self._fd).st_size, "it ends here")
            os.ftruncate(self._fd, handle.length)
        except OSError as error:
            raise _unusable(path, error) from error
        self._generation = handle.generation
        self._length, self._base, self._checksum = handle.length, handle.base, handle.checksum
        return self, read(folder, handle)

    @property
    def handle(self) -> Handle:
        """What is in the journal now."""
        return Handle(self._name, self._generation, self._length, self._base, self._checksum)

    @property
    def is_due(self) -> bool:
        """Whether changes outweigh the base, so that `rewrite` should be called instead of `append`."""
        changed = self._length - self._base
        return changed > max(_SMALL_BYTES, self._ratio * self._base) and self._pace.is_free

    def append(self, payload: bytes) -> Handle:
        """Add what changed, with one write."""
        record = self._record(payload)
        self._write(record)
        self._pace.pay(len(record))
        return self.handle

    def rewrite(self, payloads: Iterable[bytes]) -> Handle:
        """Begin the next generation with all that there is."""
        if self._length > len(_MAGIC):
            self._begin()
        records: list[bytes] = []
        waiting = 0
        for payload in payloads:
            records.append(self._record(payload))
            waiting += len(records[-1])
            if waiting >= _WRITE_BYTES:
                self._write(b"".join(records))
                records, waiting = [], 0
        self._write(b"".join(records))
        self._base = self._length
        self._pace.owe(self._base)
        return self.handle

    def _begin(self) -> None:
        generations = [
            generation for _, name, generation in files(self._folder) if name == self._name
        ]
        generation = max(generations, default=0) + 1
        path = self._folder / _file(self._name, generation)
        try:
            fd = os.open(
                path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, private_files.FILE_MODE
            )
        except OSError as error:
            raise _unusable(path, error) from error
        self._use(fd)
        self._generation = generation
        self._checksum = _seed(self._name, generation)
        self._length = 0
        self._write(_MAGIC)

    def _use(self, fd: int) -> None:
        if self._close is not None:
            self._close()
        self._fd = fd
        self._close = weakref.finalize(self, os.close, fd)

    def _record(self, payload: bytes) -> bytes:
        length = len(payload).to_bytes(4, "big")
        self._checksum = zlib.crc32(payload, zlib.crc32(length, self._checksum))
        return b"".join((length, self._checksum.to_bytes(4, "big"), payload))

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                written = os.pwrite(self._fd, rest, self._length)
                self._length += written
                rest = rest[written:]
        except OSError as error:
            path = self._folder / _file(self._name, self._generation)
            raise _unusable(path, error) from error


class Journals:
    """The journals of one folder, as one process uses them."""

    def __init__(self, folder: Path, *, ratio: float) -> None:
        self._folder = folder
        self._ratio = ratio
        self._pace = Pace()

    def new(self, name: str) -> Journal:
        """An empty journal, of a generation that never was; names are `a-z 0-9 _ -`."""
        return Journal(self._folder, name, ratio=self._ratio, pace=self._pace)

    def open(self, handle: Handle) -> tuple[Journal, Iterator[bytes]]:
        """A journal as a snapshot knew it, and its payloads."""
        return Journal.open(self._folder, handle, ratio=self._ratio, pace=self._pace)


def read(folder: Path, handle: Handle, *, known: Handle | None = None) -> Iterator[bytes]:
    """The payloads that a handle covers; DamageError names file and byte where they are damaged.

    With an earlier handle of the same file, those that came after it.
    """
    path = folder / handle.file
    try:
        with path.open("rb") as file:
            at, checksum = len(_MAGIC), _seed(handle.name, handle.generation)
            if file.read(at) != _MAGIC:
                raise _damaged(path, 0, "not the start of a journal")
            if known is not None:
                at, checksum = known.length, known.checksum
                file.seek(at)
            while at < handle.length:
                head = file.read(_HEAD_BYTES)
                length = int.from_bytes(head[:4], "big")
                if at + _HEAD_BYTES + length > handle.length:
                    raise _damaged(path, at, "a record longer than the journal")
                payload = file.read(length)
                checksum = zlib.crc32(payload, zlib.crc32(head[:4], checksum))
                if head[4:] != checksum.to_bytes(4, "big"):
                    raise _damaged(path, at, "a record whose checksum is wrong")
                yield payload
                at += _HEAD_BYTES + length
    except OSError as error:
        raise _unusable(path, error) from error
    if checksum != handle.checksum:
        raise _damaged(path, handle.length, "not what the snapshot refers to")


def copy(folder: Path, handle: Handle, to: Path, known: Handle | None) -> None:
    """Copy what a handle covers to another folder, and wait for the disk.

    Of what is `known` to be there from an earlier copy only the growth. Raises DamageError where it is
    not what was written, OSError where the copy cannot be.
    """
    path = to / handle.file
    if known is None or not path.exists() or path.stat().st_size < known.length:
        known = None
    elif known == handle:
        return
    for _ in read(folder, handle, known=known):
        pass
    at, mode = (0, "wb") if known is None else (known.length, "r+b")
    with (
        (folder / handle.file).open("rb") as source,
        open(path, mode, opener=private_files.opener) as target,
    ):
        source.seek(at)
        target.seek(at)
        while at < handle.length:
            at += target.write(source.read(min(_WRITE_BYTES, handle.length - at)))
        target.truncate()
        target.flush()
        os.fsync(target.fileno())


def files(folder: Path) -> list[tuple[Path, str, int]]:
    """The journals in a folder: path, name, generation."""
    found = ((entry, _FILE.fullmatch(entry.name)) for entry in folder.iterdir())
    return [(path, match["name"], int(match["generation"])) for path, match in found if match]


def _file(name: str, generation: int) -> str:
    return f"{name}.{generation}.rows"


def _seed(name: str, generation: int) -> int:
    return zlib.crc32(_file(name, generation).encode())


def _damaged(path: Path, at: int, what: str) -> DamageError:
    return DamageError(f"{path}: byte {at}: {what}")


def _unusable(path: Path, error: OSError) -> UserError:
    if isinstance(error, FileNotFoundError):
        return _damaged(path, 0, "the file is missing")
    return UserError(f"{path}: {error.strerror}: make room or mend the disk, then start again")
