"""The recovery folder: created on first use, verified at every start, used by one run at a time.

<recovery>/store/      Bytewax's recovery store: small snapshots, and the epochs that workers reached
<recovery>/rows/       journals: the rows to which those snapshots refer
<recovery>/previous/   the backup: a copy of both, made regularly (`backup.py`)
<recovery>/migrating   a migration has begun (`migration.py`)
<recovery>/damaged-<n>/  damaged files that were replaced by the backup
<recovery>/holder, fence.json  the owner, and the token under which it writes (`owner.py`)

All these names are stored.
"""

from __future__ import annotations

import fcntl
import logging
import re
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from bytewax.recovery import RecoveryConfig, init_db_dir

from flows.recovery import backup, checkpoint_reader, cleanup, migration, store_files
from flows.recovery.backup_process import BackupProcess
from flows.recovery.folder_lock import lock_file, lock_folder, unwritable_error
from state import journal_files, private_files
from state.errors import DamageError, RecoveryError
from state.journal import Journals

if TYPE_CHECKING:
    from collections.abc import Iterator

    from state.config import Settings

_log = logging.getLogger("penstock.recovery")

_RETAINED_EPOCHS = 2
"""Epochs whose snapshots stay in the store: a backup copies its files one after the other."""

_ADVICE = "restore the recovery folder from its backup, or start from an empty one"


@dataclass(frozen=True)
class RecoveryStore:
    """The stores of a flow's state: Bytewax's store for small snapshots, journals for rows."""

    config: RecoveryConfig
    journals: Journals


@contextmanager
def open_recovery(folder: Path | None, settings: Settings) -> Iterator[RecoveryStore | None]:
    """Lock a folder, verify it, and back it up regularly while inside; gives None without a folder.

    Damaged state is replaced by the previous snapshot, with a warning. Raises UserError if another
    run uses the folder, it is not writable, or both the state and the previous snapshot are
    damaged.
    """
    if folder is None:
        yield None
        return
    with lock_folder(folder), _explain_errors(folder):
        _prepare(folder, settings)
        with BackupProcess(folder, settings):
            yield _recovery_store(folder / "store", folder, settings)
        backup.create_backup(folder, shards=settings.sessions.shards)
        # Snapshots that are no longer needed may contain shoppers who were erased since.
        checkpoint = checkpoint_reader.read_checkpoint(
            folder / "store", shards=settings.sessions.shards
        )
        cleanup.keep_only_epoch(folder / "store", checkpoint.epoch)
        cleanup.delete_unreferenced(
            folder / "rows", set(checkpoint.journal_positions), include_newer=True
        )


def inspect_folder(folder: Path, settings: Settings) -> str:
    """Describe what a start would find in a folder. It only reads the folder.

    Raises UserError if another run uses it, or it is damaged.
    """
    try:
        is_new = not any(folder.iterdir())
    except OSError as error:
        raise unwritable_error(folder, error) from error
    if is_new:
        return f"{folder} is new"
    with lock_file(folder / "lock", fcntl.LOCK_EX):
        try:
            verify(folder, shards=settings.sessions.shards)
        except DamageError as error:
            raise RecoveryError(f"{error}: {_explain_start(folder, settings)}") from error
        summary = f"{folder} is free and intact"
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
        return f"the previous snapshot is damaged too ({error}): {_ADVICE}"
    return "a start resumes from the previous snapshot"


@contextmanager
def open_shared(folder: Path, settings: Settings) -> Iterator[RecoveryStore]:
    """The store for a process that works while another one of this host is inside `open_recovery`."""
    with lock_file(folder / "lock-workers", fcntl.LOCK_SH):
        yield _recovery_store(folder / "store", folder, settings)


@contextmanager
def open_shared_remote(folder: Path, settings: Settings) -> Iterator[RecoveryStore]:
    """The store if that process is on another host: only that process uses the SQLite files.

    Bytewax sends snapshots to the processes that have files; an empty folder means that this one
    has none.
    """
    with (
        lock_file(folder / "lock-workers", fcntl.LOCK_SH),
        TemporaryDirectory(prefix="penstock-") as empty,
    ):
        yield _recovery_store(Path(empty), folder, settings)


@contextmanager
def _explain_errors(folder: Path) -> Iterator[None]:
    """Turn later damage, and panics of Bytewax about SQLite, into UserErrors with advice."""
    try:
        yield
    except DamageError as error:
        raise RecoveryError(
            f"{error}: start again: the previous snapshot, if there is one, replaces the damaged state"
        ) from error
    except BaseException as error:
        if "SqliteFailure" not in str(error):
            raise
        match = re.search(r'Some\("(.*?)"\)', str(error))
        raise RecoveryError(
            f"recovery folder {folder}: {match[1] if match else 'SQLite cannot write'}: "
            "free disk space or repair the disk, then start again"
        ) from error


def _recovery_store(store: Path, folder: Path, settings: Settings) -> RecoveryStore:
    retention = timedelta(milliseconds=_RETAINED_EPOCHS * settings.source.epoch_ms)
    return RecoveryStore(
        RecoveryConfig(str(store), retention),
        Journals(folder / "rows", ratio=settings.recovery.rewrite_ratio),
    )


def _prepare(folder: Path, settings: Settings) -> None:
    """Create a new folder, or verify an existing one; a damaged one is restored from its backup."""
    shards = settings.sessions.shards
    try:
        shutil.rmtree(folder / "begun", ignore_errors=True)
        private_files.restrict(folder)
        rows = folder / "rows"
        private_files.make_folder(rows)
        _create_store(folder)
        migration.undo_incomplete(folder, settings)
        try:
            checkpoint = verify(folder, shards=shards)
        except DamageError as error:
            damaged_folder = _restore_backup(folder, error, shards=shards)
            _log.warning(
                "%s: resuming from the previous snapshot; the damaged files are now in %s",
                error,
                damaged_folder,
            )
            checkpoint = verify(folder, shards=shards)
        cleanup.keep_only_epoch(folder / "store", checkpoint.epoch)
        if migration.migrate(folder, checkpoint, settings):
            verify(folder, shards=shards)
        cleanup.delete_unreferenced(
            rows, cleanup.referenced_journals(folder / "store"), include_newer=True
        )
    except OSError as error:
        raise unwritable_error(folder, error) from error


def verify(folder: Path, *, shards: int) -> checkpoint_reader.Checkpoint:
    """Read all state from which a run would resume. Raises DamageError if it is damaged."""
    checkpoint = checkpoint_reader.read_checkpoint(folder / "store", shards=shards)
    backup_epoch = backup.backup_epoch(folder)
    if backup_epoch is not None and backup_epoch > checkpoint.epoch:
        raise store_files.damage_error(folder / "store", "it is older than its backup")
    checkpoint_reader.verify_journals(folder / "rows", checkpoint)
    return checkpoint


def _create_store(folder: Path) -> None:
    """Create the store of a new folder, completely or not at all."""
    store = folder / "store"
    if (
        store.exists()
        or (folder / "previous").exists()
        or journal_files.list_journals(folder / "rows")
    ):
        return
    staging = folder / "begun"
    private_files.make_folder(staging)
    init_db_dir(staging, store_files.PARTITIONS)
    private_files.restrict(staging)
    staging.rename(store)


def _restore_backup(folder: Path, damage: DamageError, *, shards: int) -> Path:
    if backup.latest_backup(folder) is None:
        raise RecoveryError(f"{damage} (there is no previous snapshot): {_ADVICE}") from damage
    try:
        return backup.restore_backup(folder, shards=shards)
    except DamageError as error:
        raise RecoveryError(
            f"{damage} (the previous snapshot is damaged too: {error}): {_ADVICE}"
        ) from error
