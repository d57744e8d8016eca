"""Files that a command writes: checked before the work begins, written after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from state.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path


def check_directory(path: Path | None) -> None:
    """Raise OutputError if the directory of a file does not exist; None: the option was not given."""
    if path and not path.parent.is_dir():
        raise OutputError(f"cannot write {path}: make the directory {path.parent} first")


def write_file(path: Path, content: bytes) -> None:
    """Write a file. Raises OutputError."""
    try:
        path.write_bytes(content)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}: name another file") from error
