"""The locks of a recovery folder: one run at a time uses it. The names of the lock files are stored."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from state import private_files
from state.errors import RecoveryError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import TextIO

_LOCK_TIMEOUT_S = 10
"""How long the other processes of a killed run may take to end."""


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Create a recovery folder, if there is none, and lock it while inside. Raises RecoveryError."""
    try:
        private_files.make_folder(folder)
    except OSError as error:
        raise unwritable_error(folder, error) from error
    with lock_file(folder / "lock", fcntl.LOCK_EX):
        # The other processes of a killed run may take a moment to end.
        for name in ("lock-workers", "lock-keeper"):
            lock_file(folder / name, fcntl.LOCK_EX, timeout_s=_LOCK_TIMEOUT_S).close()
        yield


def lock_file(path: Path, mode: int, *, timeout_s: float = 0) -> TextIO:
    """Lock a file in a recovery folder; closing it unlocks it. Raises RecoveryError if it is in use."""
    try:
        file = os.fdopen(
            private_files.opener(str(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC), "w"
        )
    except OSError as error:
        raise unwritable_error(path.parent, error) from error
    deadline_s = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(file, mode | fcntl.LOCK_NB)
        except OSError as error:
            if time.monotonic() > deadline_s:
                file.close()
                raise RecoveryError(
                    f"recovery folder {path.parent} is in use by another run: "
                    "stop it, or name another"
                ) from error
            time.sleep(0.05)
        else:
            return file


def unwritable_error(folder: Path, error: OSError) -> RecoveryError:
    """The error for a recovery folder that cannot be written."""
    return RecoveryError(f"recovery folder {folder}: {error.strerror}: name a writable one")
