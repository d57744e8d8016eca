"""One digest over rows of a store, in constant memory: whatever their order, each row once.

The digests of rows go into files by their first byte, and are put in order one file at a time: a scan
gives rows in no order, and may give one twice.
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
"""What of a file is kept in memory: in all a megabyte."""


class Digest:
    """Takes rows, then says their digest.

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
        """Take a row: its key and its value, or an iterator over the parts of a list that is long."""
        digest = _digest_of(*row)
        self._files[digest[0]].write(digest)

    def hexdigest(self) -> str:
        """The digest of all rows; nothing can be added then."""
        combined = hashlib.sha256()
        with self._exit_stack:
            for file in self._files:
                file.seek(0)
                content = file.read()
                rows = {content[start : start + _BYTES] for start in range(0, len(content), _BYTES)}
                combined.update(b"".join(sorted(rows)))
        return combined.hexdigest()


def sha256(rows: Iterable[tuple[str, Any]]) -> str:
    """One digest over rows, whatever their order."""
    digest = Digest()
    for row in rows:
        digest.add(row)
    return digest.hexdigest()


def _digest_of(key: str, value: Any) -> bytes:
    """The digest of a row as Python writes it; of a list that is long, part by part."""
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
