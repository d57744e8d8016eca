"""The recovery folder: made on first use, and used by one run at a time."""

from __future__ import annotations

import fcntl
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bytewax.recovery import RecoveryConfig, init_db_dir

from state.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PARTS = 4
"""Files of a recovery folder: fixed when it is made, and the most workers that can share the load."""


@contextmanager
def recovery(folder: Path | None) -> Iterator[RecoveryConfig | None]:
    """The recovery store in a folder, locked while inside; None where no folder is wanted.

    Raises UserError where another run holds it or it cannot be written.
    """
    if folder is None:
        yield None
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise UserError(
            f"recovery folder {folder}: {error.strerror}: name one that can be written to"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(
                f"recovery folder {folder} is in use by another run: stop it, or name another"
            ) from error
        if not any(folder.glob("part-*.sqlite3")):
            init_db_dir(folder, PARTS)
        yield RecoveryConfig(str(folder))
