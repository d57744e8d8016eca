"""The recovery folder: made on first use, and used by one run at a time."""

from __future__ import annotations

import fcntl
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bytewax.recovery import RecoveryConfig, init_db_dir

from state.errors import UserError
from state.journal import Journals

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PARTS = 4
"""Files of a recovery folder: fixed when it is made, and the most workers that can share the load."""


_SQLITE = b"SQLite format 3\0"


@dataclass(frozen=True)
class Stored:
    """Where a flow keeps its state: small snapshots in Bytewax's store, rows in journals."""

    config: RecoveryConfig
    journals: Journals


@contextmanager
def recovery(folder: Path | None) -> Iterator[Stored | None]:
    """What is stored in a folder, locked while inside; None where no folder is wanted.

    Raises UserError where another run holds it, it cannot be written or it is damaged.
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
        store = _store(folder)
        rows = folder / "rows"
        rows.mkdir(exist_ok=True)
        yield Stored(RecoveryConfig(str(store)), Journals(rows, ratio=1.0))


def _store(folder: Path) -> Path:
    """The files of the store in a folder, made whole or not at all; UserError if some are unfit."""
    store = folder / "store"
    if not store.exists():
        begun = folder / "begun"
        shutil.rmtree(begun, ignore_errors=True)
        begun.mkdir()
        init_db_dir(begun, PARTS)
        begun.rename(store)
    for number in range(PARTS):
        part = store / f"part-{number}.sqlite3"
        if not part.exists() or _start(part) != _SQLITE:
            raise UserError(
                f"recovery folder {folder} is damaged ({part.name}): "
                "restore it from its backup, or name an empty one"
            )
    return store


def _start(part: Path) -> bytes:
    with part.open("rb") as file:
        return file.read(len(_SQLITE))
