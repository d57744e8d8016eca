"""The files of journals: their format, and how they are read, copied and listed.

A journal is one append-only file, `<name>.<generation>.rows`: eight magic bytes, then records of
four bytes length, four bytes checksum and an opaque payload. The checksum (CRC-32) covers name,
generation and all records up to this one, so a `JournalPosition` matches one content only. The format is
stored: a change needs new magic bytes.
"""

from __future__ import annotations

import os
import re
import zlib
from typing import TYPE_CHECKING

import msgspec

from state import private_files
from state.errors import DamageError, RecoveryError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAGIC = b"ps-rows\x01"
_HEAD_BYTES = 8
WRITE_BYTES = 1 << 20
_FILE = re.compile(r"(?P<name>[a-z0-9_-]+)\.(?P<generation>\d+)\.rows")


class JournalPosition(msgspec.Struct, frozen=True, array_like=True):
    """A position in a journal, stored in a snapshot: the file, its length, the checksum there.

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
        return file_name_of(self.name, self.generation)


def read(
    folder: Path, position: JournalPosition, *, since: JournalPosition | None = None
) -> Iterator[bytes]:
    """The payloads up to a position. Raises DamageError with file and byte if they are damaged.

    With an earlier position of the same file (`since`), only the payloads after it.
    """
    path = folder / position.file_name
    try:
        with path.open("rb") as file:
            offset, checksum = len(MAGIC), checksum_seed(position.name, position.generation)
            if file.read(offset) != MAGIC:
                raise damage_error(path, 0, "not the start of a journal")
            if since is not None:
                offset, checksum = since.length, since.checksum
                file.seek(offset)
            while offset < position.length:
                head = file.read(_HEAD_BYTES)
                length = int.from_bytes(head[:4], "big")
                if offset + _HEAD_BYTES + length > position.length:
                    raise damage_error(path, offset, "a record longer than the journal")
                payload = file.read(length)
                checksum = zlib.crc32(payload, zlib.crc32(head[:4], checksum))
                if head[4:] != checksum.to_bytes(4, "big"):
                    raise damage_error(path, offset, "a record with a wrong checksum")
                yield payload
                offset += _HEAD_BYTES + length
    except OSError as error:
        raise disk_error(path, error) from error
    if checksum != position.checksum:
        raise damage_error(path, position.length, "not the content to which the snapshot refers")


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
            offset += target.write(source.read(min(WRITE_BYTES, position.length - offset)))
        target.truncate()
        target.flush()
        os.fsync(target.fileno())


def list_journals(folder: Path) -> list[tuple[Path, str, int]]:
    """The journals in a folder: path, name, generation."""
    entries = ((entry, _FILE.fullmatch(entry.name)) for entry in folder.iterdir())
    return [(path, match["name"], int(match["generation"])) for path, match in entries if match]


def file_name_of(name: str, generation: int) -> str:
    """The name of a journal's file."""
    return f"{name}.{generation}.rows"


def checksum_seed(name: str, generation: int) -> int:
    """The checksum with which a journal starts."""
    return zlib.crc32(file_name_of(name, generation).encode())


def damage_error(path: Path, offset: int, problem: str) -> DamageError:
    """The error for a damaged journal."""
    return DamageError(f"{path}: byte {offset}: {problem}")


def disk_error(path: Path, error: OSError) -> RecoveryError:
    """The error for a journal that cannot be read or written."""
    if isinstance(error, FileNotFoundError):
        return damage_error(path, 0, "the file is missing")
    return RecoveryError(
        f"{path}: {error.strerror}: free disk space or repair the disk, then start again"
    )
