"""One digest over the rows of a store, in constant memory, independent of order and of repetition.

A scan returns rows in any order and may return a row twice. So the digest of each row goes into one of
256 files by its first byte; each file is then sorted on its own, without duplicates.
"""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_BYTES = 32
_FILES = 256
_IN_MEMORY_BYTES = 4096
"""Bytes of each file that stay in memory; one megabyte for all files."""


class Digest:
    """Collects rows, then returns their digest.

    >>> one, other = Digest(), Digest()
    >>> for row in [("a", 1), ("b", [2, 3]), ("a", 1)]: one.add(row)
    >>> for row in [("b", iter([2, 3])), ("a", 1)]: other.add(row)
    >>> one.hexdigest() == other.hexdigest()
    True
    """

    def __init__(self) -> None:
        self._exit_stack = ExitStack()
        self._files = [
            self._exit_stack.enter_context(SpooledTemporaryFile(_IN_MEMORY_BYTES))  # noqa: SIM115
            for _ in range(_FILES)
        ]

    def add(self, row: tuple[str, Any]) -> None:
        """Add a row: its key, and its value or an iterator over the parts of a long list."""
        digest = _digest_of(*row)
        self._files[digest[0]].write(digest)

    def hexdigest(self) -> str:
        """Return the digest of all rows; no row can be added afterwards."""
        combined = hashlib.sha256()
        with self._exit_stack:
            for file in self._files:
                file.seek(0)
                content = file.read()
                rows = {content[start : start + _BYTES] for start in range(0, len(content), _BYTES)}
                combined.update(b"".join(sorted(rows)))
        return combined.hexdigest()


def sha256(rows: Iterable[tuple[str, Any]]) -> str:
    """Return one digest over rows, in any order."""
    digest = Digest()
    for row in rows:
        digest.add(row)
    return digest.hexdigest()


def _digest_of(key: str, value: Any) -> bytes:
    """Return the digest of a row's `repr`; a long list is hashed part by part with the same result."""
    if not hasattr(value, "__next__"):
        return hashlib.sha256(repr((key, value)).encode()).digest()
    hashed = hashlib.sha256()
    for text in _texts(key, value):
        hashed.update(text.encode())
    return hashed.digest()


def _texts(key: str, parts: Iterator[Any]) -> Iterator[str]:
    yield f"({key!r}, ["
    separator = ""
    for part in parts:
        yield f"{separator}{part!r}"
        separator = ", "
    yield "])"
