"""Files that are their owner's alone: what is stored names shoppers and what they did.

Folders are 700 and files 600, whatever the umask allows. May change freely: no file format is here.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

FOLDER_MODE, FILE_MODE = 0o700, 0o600
_OTHERS_MASK = 0o077


def opener(path: str, flags: int) -> int:
    """For `open(path, mode, opener=opener)`: a file that it makes is private."""
    return os.open(path, flags, FILE_MODE)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing; one that is there keeps its mode."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=FOLDER_MODE, exist_ok=True)


def write_atomically(path: Path, content: bytes, *, temporary: Path) -> None:
    """Write a small file whole or not at all: under the name of `temporary` first."""
    with open(temporary, "wb", opener=opener) as file:
        file.write(content)
    temporary.replace(path)


def restrict(folder: Path) -> None:
    """Take from others what they may do with the files below a folder, as former releases let them.

    What belongs to somebody else stays as it is: a shared volume may have its own rules.
    """
    for path in folder.rglob("*"):
        if not path.is_symlink() and (mode := path.stat().st_mode & 0o777) & _OTHERS_MASK:
            with suppress(PermissionError):
                path.chmod(mode & ~_OTHERS_MASK)
