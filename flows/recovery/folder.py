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
from flows.recovery.backup_process import BackupProcess
from state import journal, private_files
from state.errors import DamageError, RecoveryError
from state.journal import Journals

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

    from state.config import Settings

_log = logging.getLogger("penstock.recovery")

_RETAINED_EPOCHS = 2
"""Epochs whose snapshots stay in the store: copies of its files, made one after the other, overlap."""

_ADVICE = "restore the recovery folder from its backup, or start from an empty one"

_LOCK_TIMEOUT_S = 10
"""How long what a killed run left behind may take to notice it."""


@dataclass(frozen=True)
class RecoveryStore:
    """Where a flow keeps its state: small snapshots in Bytewax's store, rows in journals."""

    config: RecoveryConfig
    journals: Journals


@contextmanager
def open_recovery(folder: Path | None, settings: Settings) -> Iterator[RecoveryStore | None]:
    """What is stored in a folder, locked and copied now and then while inside; None without a folder.

    What is damaged gives way to the previous snapshot, with a warning. Raises UserError where another
    run holds the folder, it cannot be written, or it is damaged and the previous snapshot too.
    """
    if folder is None:
        yield None
        return
    with _lock_folder(folder), _explain_errors(folder):
        _prepare(folder, settings)
        with BackupProcess(folder, settings):
            yield _recovery_store(folder / "store", folder, settings)
        backup.create_backup(folder, shards=settings.sessions.shards)
        # What is not gone on from may name who was erased since.
        checkpoint = checkpoint_reader.read_checkpoint(
            folder / "store", shards=settings.sessions.shards
        )
        checkpoint_reader.keep_only_epoch(folder / "store", checkpoint.epoch)
        checkpoint_reader.delete_unreferenced(
            folder / "rows", set(checkpoint.journal_positions), include_newer=True
        )


def inspect_folder(folder: Path, settings: Settings) -> str:
    """What a start would find in a folder, which is read and not changed.

    Raises UserError where another run holds it, or it is damaged.
    """
    try:
        is_new = not any(folder.iterdir())
    except OSError as error:
        raise _unwritable_error(folder, error) from error
    if is_new:
        return f"{folder} is new"
    with _lock_file(folder / "lock", fcntl.LOCK_EX):
        try:
            verify(folder, shards=settings.sessions.shards)
        except DamageError as error:
            raise RecoveryError(f"{error}: {_explain_start(folder, settings)}") from error
        summary = f"{folder} is free and sound"
        if backup.latest_backup(folder) is not None and backup.backup_epoch(folder) is None:
            summary += "; WARNING: its previous snapshot is damaged: a run replaces it"
    return summary


def _explain_start(folder: Path, settings: Settings) -> str:
    store = backup.latest_backup(folder)
    try:
        if store is None:
            return f"there is no previous snapshot: {_ADVICE}"
        checkpoint = checkpoint_reader.read_checkpoint(store, shards=settings.sessions.shards)
        checkpoint_reader.verify_journals(folder / "previous" / "rows", checkpoint)
    except DamageError as error:
        return f"so is the previous snapshot ({error}): {_ADVICE}"
    return "a start goes on from the previous snapshot"


@contextmanager
def open_shared(folder: Path, settings: Settings) -> Iterator[RecoveryStore]:
    """The same for a process that works while another one of this host is inside `recovery`."""
    with _lock_file(folder / "lock-workers", fcntl.LOCK_SH):
        yield _recovery_store(folder / "store", folder, settings)


@contextmanager
def open_shared_remote(folder: Path, settings: Settings) -> Iterator[RecoveryStore]:
    """The same where that one is on another host: SQLite's files cannot be shared, so it has them all.

    Bytewax sends snapshots to whoever has files; an empty folder says that here are none.
    """
    with (
        _lock_file(folder / "lock-workers", fcntl.LOCK_SH),
        TemporaryDirectory(prefix="penstock-") as empty,
    ):
        yield _recovery_store(Path(empty), folder, settings)


@contextmanager
def _explain_errors(folder: Path) -> Iterator[None]:
    """Say what to do about damage found later, and where SQLite cannot write: Bytewax panics there."""
    try:
        yield
    except DamageError as error:
        raise RecoveryError(
            f"{error}: start again: what is damaged gives way to the previous snapshot, if there is one"
        ) from error
    except BaseException as error:
        if "SqliteFailure" not in str(error):
            raise
        match = re.search(r'Some\("(.*?)"\)', str(error))
        raise RecoveryError(
            f"recovery folder {folder}: {match[1] if match else 'SQLite cannot write'}: "
            "make room or mend the disk, then start again"
        ) from error


@contextmanager
def _lock_folder(folder: Path) -> Iterator[None]:
    try:
        private_files.make_folder(folder)
    except OSError as error:
        raise _unwritable_error(folder, error) from error
    with _lock_file(folder / "lock", fcntl.LOCK_EX):
        # What a killed run had started may take a moment to see that it is gone.
        for name in ("lock-workers", "lock-keeper"):
            _lock_file(folder / name, fcntl.LOCK_EX, timeout_s=_LOCK_TIMEOUT_S).close()
        yield


def _lock_file(path: Path, mode: int, *, timeout_s: float = 0) -> TextIO:
    try:
        file = os.fdopen(
            private_files.opener(str(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC), "w"
        )
    except OSError as error:
        raise _unwritable_error(path.parent, error) from error
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


def _unwritable_error(folder: Path, error: OSError) -> RecoveryError:
    return RecoveryError(
        f"recovery folder {folder}: {error.strerror}: name one that can be written to"
    )


def _recovery_store(store: Path, folder: Path, settings: Settings) -> RecoveryStore:
    retention = timedelta(milliseconds=_RETAINED_EPOCHS * settings.source.epoch_ms)
    return RecoveryStore(
        RecoveryConfig(str(store), retention),
        Journals(folder / "rows", ratio=settings.recovery.rewrite_ratio),
    )


def _prepare(folder: Path, settings: Settings) -> None:
    """A new folder, or one whose every byte that counts is as it was written."""
    shards = settings.sessions.shards
    try:
        shutil.rmtree(folder / "begun", ignore_errors=True)
        private_files.restrict(folder)
        rows = folder / "rows"
        private_files.make_folder(rows)
        _create_store(folder)
        try:
            checkpoint = verify(folder, shards=shards)
        except DamageError as error:
            damaged_folder = _restore_backup(folder, error, shards=shards)
            _log.warning(
                "%s: going on from the previous snapshot; it is now in %s", error, damaged_folder
            )
            checkpoint = verify(folder, shards=shards)
        checkpoint_reader.keep_only_epoch(folder / "store", checkpoint.epoch)
        checkpoint_reader.delete_unreferenced(
            rows, checkpoint_reader.referenced_journals(folder / "store"), include_newer=True
        )
    except OSError as error:
        raise _unwritable_error(folder, error) from error


def verify(folder: Path, *, shards: int) -> checkpoint_reader.Checkpoint:
    """What a run would go on with, every byte of it read; DamageError where that is not sound."""
    checkpoint = checkpoint_reader.read_checkpoint(folder / "store", shards=shards)
    backup_epoch = backup.backup_epoch(folder)
    if backup_epoch is not None and backup_epoch > checkpoint.epoch:
        raise checkpoint_reader.damage_error(folder / "store", "it is older than the copy of it")
    checkpoint_reader.verify_journals(folder / "rows", checkpoint)
    return checkpoint


def _create_store(folder: Path) -> None:
    """A store in a folder that has none and never had; made whole or not at all."""
    store = folder / "store"
    if store.exists() or (folder / "previous").exists() or journal.list_journals(folder / "rows"):
        return
    staging = folder / "begun"
    private_files.make_folder(staging)
    init_db_dir(staging, checkpoint_reader.PARTITIONS)
    private_files.restrict(staging)
    staging.rename(store)


def _restore_backup(folder: Path, damage: DamageError, *, shards: int) -> Path:
    if backup.latest_backup(folder) is None:
        raise RecoveryError(f"{damage} (there is no previous snapshot): {_ADVICE}") from damage
    try:
        return backup.restore_backup(folder, shards=shards)
    except DamageError as error:
        raise RecoveryError(
            f"{damage} (so is the previous snapshot: {error}): {_ADVICE}"
        ) from error
