"""Files that only their owner may read: stored data names shoppers and what they did.

Folders get mode 700 and files 600, whatever the umask allows. May change freely: no file format is
here.
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
    """Use as `open(path, mode, opener=opener)`: a file that is created is private."""
    return os.open(path, flags, FILE_MODE)


def make_folder(folder: Path) -> None:
    """Create a folder and its missing parents; an existing folder keeps its mode."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=FOLDER_MODE, exist_ok=True)


def write_atomically(path: Path, content: bytes, *, temporary: Path) -> None:
    """Write a small file completely or not at all: to the path `temporary` first, then renamed."""
    with open(temporary, "wb", opener=opener) as file:
        file.write(content)
    temporary.replace(path)


def restrict(folder: Path) -> None:
    """Remove the permissions of other users below a folder, which older releases left open.

    Files of another owner stay unchanged: a shared volume may have its own rules.
    """
    for path in folder.rglob("*"):
        if not path.is_symlink() and (mode := path.stat().st_mode & 0o777) & _OTHERS_MASK:
            with suppress(PermissionError):
                path.chmod(mode & ~_OTHERS_MASK)
