"""The recovery folder: made on first use, verified at every start, used by one run at a time.

<recovery>/store/      Bytewax's recovery store: small snapshots, and how far each epoch came
<recovery>/rows/       journals: the rows those snapshots refer to
<recovery>/previous/   a copy of both, made now and then (`flows.recovery.backup`)
<recovery>/damaged-<n>/  what was found damaged and gave way to the copy
<recovery>/holder, fence.json  who writes (`flows.cluster.leadership`)
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from bytewax.recovery import RecoveryConfig, init_db_dir

from flows.recovery import backup, checkpoint_reader
from flows.recovery.backup_process import Keeper
from state import journal, private_files
from state.errors import DamageError, UserError
from state.journal import Journals

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

    from state.config import Settings

_log = logging.getLogger("penstock.recovery")

_KEPT_EPOCHS = 2
"""Epochs whose snapshots stay in the store: copies of its files, made one after the other, overlap."""

_ADVICE = "restore the recovery folder from its backup, or start from an empty one"

_PATIENCE_S = 10
"""How long what a killed run left behind may take to notice it."""


@dataclass(frozen=True)
class Stored:
    """Where a flow keeps its state: small snapshots in Bytewax's store, rows in journals."""

    config: RecoveryConfig
    journals: Journals


@contextmanager
def recovery(folder: Path | None, settings: Settings) -> Iterator[Stored | None]:
    """What is stored in a folder, locked and copied now and then while inside; None without a folder.

    What is damaged gives way to the previous snapshot, with a warning. Raises UserError where another
    run holds the folder, it cannot be written, or it is damaged and the previous snapshot too.
    """
    if folder is None:
        yield None
        return
    with _locked(folder), _faults_in_words(folder):
        _make_ready(folder, settings)
        with Keeper(folder, settings):
            yield _stored(folder / "store", folder, settings)
        backup.make(folder, shards=settings.sessions.shards)
        # What is not gone on from may name who was erased since.
        cut = checkpoint_reader.read_cut(folder / "store", shards=settings.sessions.shards)
        checkpoint_reader.keep_only(folder / "store", cut.epoch)
        checkpoint_reader.sweep(folder / "rows", set(cut.handles), newer=True)


def look(folder: Path, settings: Settings) -> str:
    """What a start would find in a folder, which is read and not changed.

    Raises UserError where another run holds it, or it is damaged.
    """
    try:
        is_new = not any(folder.iterdir())
    except OSError as error:
        raise _unwritable(folder, error) from error
    if is_new:
        return f"{folder} is new"
    with _lock(folder / "lock", fcntl.LOCK_EX):
        try:
            verify(folder, shards=settings.sessions.shards)
        except DamageError as error:
            raise UserError(f"{error}: {_what_a_start_does(folder, settings)}") from error
        said = f"{folder} is free and sound"
        if backup.current(folder) is not None and backup.epoch_of(folder) is None:
            said += "; WARNING: its previous snapshot is damaged: a run replaces it"
    return said


def _what_a_start_does(folder: Path, settings: Settings) -> str:
    store = backup.current(folder)
    try:
        if store is None:
            return f"there is no previous snapshot: {_ADVICE}"
        cut = checkpoint_reader.read_cut(store, shards=settings.sessions.shards)
        checkpoint_reader.check_journals(folder / "previous" / "rows", cut)
    except DamageError as error:
        return f"so is the previous snapshot ({error}): {_ADVICE}"
    return "a start goes on from the previous snapshot"


@contextmanager
def joined(folder: Path, settings: Settings) -> Iterator[Stored]:
    """The same for a process that works while another one of this host is inside `recovery`."""
    with _lock(folder / "lock-workers", fcntl.LOCK_SH):
        yield _stored(folder / "store", folder, settings)


@contextmanager
def joined_from_afar(folder: Path, settings: Settings) -> Iterator[Stored]:
    """The same where that one is on another host: SQLite's files cannot be shared, so it has them all.

    Bytewax sends snapshots to whoever has files; an empty folder says that here are none.
    """
    with (
        _lock(folder / "lock-workers", fcntl.LOCK_SH),
        TemporaryDirectory(prefix="penstock-") as empty,
    ):
        yield _stored(Path(empty), folder, settings)


@contextmanager
def _faults_in_words(folder: Path) -> Iterator[None]:
    """Say what to do about damage found later, and where SQLite cannot write: Bytewax panics there."""
    try:
        yield
    except DamageError as error:
        raise UserError(
            f"{error}: start again: what is damaged gives way to the previous snapshot, if there is one"
        ) from error
    except BaseException as error:
        if "SqliteFailure" not in str(error):
            raise
        said = re.search(r'Some\("(.*?)"\)', str(error))
        raise UserError(
            f"recovery folder {folder}: {said[1] if said else 'SQLite cannot write'}: "
            "make room or mend the disk, then start again"
        ) from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        private_files.make_folder(folder)
    except OSError as error:
        raise _unwritable(folder, error) from error
    with _lock(folder / "lock", fcntl.LOCK_EX):
        # What a killed run had started may take a moment to see that it is gone.
        for name in ("lock-workers", "lock-keeper"):
            _lock(folder / name, fcntl.LOCK_EX, patience_s=_PATIENCE_S).close()
        yield


def _lock(path: Path, how: int, *, patience_s: float = 0) -> TextIO:
    try:
        file = os.fdopen(
            private_files.opener(str(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC), "w"
        )
    except OSError as error:
        raise _unwritable(path.parent, error) from error
    until = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
        except OSError as error:
            if time.monotonic() > until:
                file.close()
                raise UserError(
                    f"recovery folder {path.parent} is in use by another run: "
                    "stop it, or name another"
                ) from error
            time.sleep(0.05)
        else:
            return file


def _unwritable(folder: Path, error: OSError) -> UserError:
    return UserError(f"recovery folder {folder}: {error.strerror}: name one that can be written to")


def _stored(store: Path, folder: Path, settings: Settings) -> Stored:
    kept = timedelta(milliseconds=_KEPT_EPOCHS * settings.source.epoch_ms)
    return Stored(
        RecoveryConfig(str(store), kept),
        Journals(folder / "rows", ratio=settings.recovery.rewrite_ratio),
    )


def _make_ready(folder: Path, settings: Settings) -> None:
    """A new folder, or one whose every byte that counts is as it was written."""
    shards = settings.sessions.shards
    try:
        shutil.rmtree(folder / "begun", ignore_errors=True)
        private_files.restrict(folder)
        rows = folder / "rows"
        private_files.make_folder(rows)
        _make_store(folder)
        try:
            cut = verify(folder, shards=shards)
        except DamageError as error:
            aside = _fall_back(folder, error, shards=shards)
            _log.warning("%s: going on from the previous snapshot; it is now in %s", error, aside)
            cut = verify(folder, shards=shards)
        checkpoint_reader.keep_only(folder / "store", cut.epoch)
        checkpoint_reader.sweep(rows, checkpoint_reader.referenced(folder / "store"), newer=True)
    except OSError as error:
        raise _unwritable(folder, error) from error


def verify(folder: Path, *, shards: int) -> checkpoint_reader.Cut:
    """What a run would go on with, every byte of it read; DamageError where that is not sound."""
    cut = checkpoint_reader.read_cut(folder / "store", shards=shards)
    copied = backup.epoch_of(folder)
    if copied is not None and copied > cut.epoch:
        raise checkpoint_reader.damage(folder / "store", "it is older than the copy of it")
    checkpoint_reader.check_journals(folder / "rows", cut)
    return cut


def _make_store(folder: Path) -> None:
    """A store in a folder that has none and never had; made whole or not at all."""
    store = folder / "store"
    if store.exists() or (folder / "previous").exists() or journal.files(folder / "rows"):
        return
    begun = folder / "begun"
    private_files.make_folder(begun)
    init_db_dir(begun, checkpoint_reader.PARTS)
    private_files.restrict(begun)
    begun.rename(store)


def _fall_back(folder: Path, found: DamageError, *, shards: int) -> Path:
    if backup.current(folder) is None:
        raise UserError(f"{found} (there is no previous snapshot): {_ADVICE}") from found
    try:
        return backup.put_back(folder, shards=shards)
    except DamageError as error:
        raise UserError(f"{found} (so is the previous snapshot: {error}): {_ADVICE}") from error
