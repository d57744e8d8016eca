"""The backup in a recovery folder: a copy of all stored state, synced to disk.

    <recovery>/previous/store-<n>/part-*.sqlite3   the store as it was at one moment
    <recovery>/previous/rows/*.rows                the journals it refers to, at least that far

A new backup is made beside the old one and replaces it by a rename, so a complete one exists at all
times. Journals only grow: of a journal in the last backup, only the new part is copied. Do not call
this in a process that runs the flow (`checkpoint_reader` gives the reason). File names are stored.
"""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

from flows.recovery import checkpoint_reader, cleanup, store_files
from state import journal_files, private_files
from state.errors import DamageError, RecoveryError, SnapshotError

if TYPE_CHECKING:
    from pathlib import Path

    from state.journal_files import JournalPosition

_log = logging.getLogger("penstock.recovery")

_ATTEMPTS = 200
_COMMITS = "SELECT commit_epoch FROM commits"


def latest_backup(folder: Path) -> Path | None:
    """The store of the newest backup in a recovery folder, if there is one."""
    stores = (folder / "previous").glob("store-*")
    numbered = [store for store in stores if store.is_dir() and _backup_number(store) >= 0]
    return max(numbered, key=_backup_number, default=None)


def _backup_number(store: Path) -> int:
    """The number in the name of a backup's store; -1 for a name of another form."""
    number = store.name.removeprefix("store-")
    return int(number) if number.isdecimal() and number.isascii() else -1


def backup_epoch(folder: Path) -> int | None:
    """The first epoch that the backup does not contain; None without a backup or with a damaged one.

    A damaged backup is only logged: the run needs it only when the store itself is damaged.
    """
    store = latest_backup(folder)
    try:
        return None if store is None else checkpoint_reader.latest_epoch(store)
    except DamageError as error:
        _log.warning("%s: the previous snapshot is damaged: the next backup replaces it", error)
        return None


def create_backup(folder: Path, *, shards: int) -> bool:
    """Back up the stored state, also while a flow writes it. Returns False if nothing is stored yet.

    Raises DamageError if the stored state is damaged, UserError if the backup cannot be written; the
    last backup stays in both cases. A damaged last backup is replaced by a complete new one.
    """
    previous = folder / "previous"
    rows = previous / "rows"
    staging = previous / "begun"
    try:
        _prepare_folders(folder, previous, staging, rows)
        copy_store(folder / "store", staging)
        checkpoint = checkpoint_reader.read_checkpoint(staging, shards=shards)
        if not checkpoint.states:
            return False
        latest = latest_backup(folder)
        copied_positions: dict[str, JournalPosition] = {}
        copied_checkpoint = None if latest is None else _readable_checkpoint(latest, shards)
        if copied_checkpoint is not None:
            if copied_checkpoint.epoch == checkpoint.epoch:
                return True
            if copied_checkpoint.epoch > checkpoint.epoch:
                raise store_files.damage_error(folder / "store", "it is older than its backup")
            copied_positions = {
                position.file_name: position for position in copied_checkpoint.journal_positions
            }
        for position in checkpoint.journal_positions:
            journal_files.copy(
                folder / "rows", position, rows, copied_positions.get(position.file_name)
            )
        for partition in store_files.partition_files(staging):
            _fsync(partition)
        for directory in (staging, rows):
            _fsync(directory)
        number = 1 if latest is None else _backup_number(latest) + 1
        staging.rename(previous / f"store-{number}")
        _fsync(previous)
        _remove_older(previous, number)
        cleanup.delete_unreferenced(rows, set(checkpoint.journal_positions), include_newer=True)
    except OSError as error:
        raise RecoveryError(
            f"{previous}: {error.strerror}: free disk space or repair the disk"
        ) from error
    return True


def _prepare_folders(folder: Path, previous: Path, staging: Path, rows: Path) -> None:
    if previous.exists() and not previous.is_dir():
        previous.rename(new_damaged_folder(folder) / previous.name)
    shutil.rmtree(staging, ignore_errors=True)
    for path in (previous, staging, rows):
        private_files.make_folder(path)


def _remove_older(previous: Path, number: int) -> None:
    """Remove the stores of older backups. There are several if a process was killed in between."""
    for store in previous.glob("store-*"):
        if 0 <= _backup_number(store) < number:
            shutil.rmtree(store)


def _readable_checkpoint(store: Path, shards: int) -> checkpoint_reader.Checkpoint | None:
    """The checkpoint of the last backup; None, with a warning, if it cannot be read."""
    try:
        return checkpoint_reader.read_checkpoint(store, shards=shards)
    except SnapshotError as error:
        _log.warning("the last backup cannot be read (%s): making a complete new one", error)
        return None


def new_damaged_folder(folder: Path) -> Path:
    """Create an empty folder for damaged files."""
    numbers = [int(path.name.rpartition("-")[2]) for path in folder.glob("damaged-[0-9]*")]
    damaged_folder = folder / f"damaged-{max(numbers, default=0) + 1}"
    damaged_folder.mkdir(mode=private_files.FOLDER_MODE)
    return damaged_folder


def restore_backup(folder: Path, *, shards: int) -> Path:
    """Replace the stored state by the backup. Returns the folder to which the damaged files moved.

    Raises DamageError if the backup is damaged too. A crash in between leaves a store that is missing
    or complete.
    """
    store = latest_backup(folder)
    assert store is not None
    staging = folder / "begun"
    try:
        shutil.rmtree(staging, ignore_errors=True)
        shutil.copytree(store, staging / "store")
        shutil.copytree(folder / "previous" / "rows", staging / "rows")
        checkpoint_reader.verify_journals(
            staging / "rows", checkpoint_reader.read_checkpoint(staging / "store", shards=shards)
        )
        damaged_folder = new_damaged_folder(folder)
        for name in ("store", "rows"):
            if (folder / name).exists():
                (folder / name).rename(damaged_folder / name)
        for name in ("rows", "store"):
            (staging / name).rename(folder / name)
        staging.rmdir()
    except OSError as error:
        raise RecoveryError(
            f"{folder}: {error.strerror}: free disk space or repair the disk"
        ) from error
    return damaged_folder


def copy_store(store: Path, to: Path) -> None:
    """Copy all files of a store as of one moment: pin each by a transaction, retry if it moved on."""
    for _ in range(_ATTEMPTS):
        with ExitStack() as stack:
            parts = [
                stack.enter_context(store_files.open_partition(part))
                for part in store_files.partition_files(store)
            ]
            epoch = store_files.resume_epoch(
                [row for part in parts for row in store_files.read_progress(part)]
            )
            for partition in parts:
                partition.execute("BEGIN")
            commits = [row for partition in parts for row in partition.execute(_COMMITS)]
            # Snapshots older than a commit may be missing already in a file that was opened later.
            if all(commit < max(epoch, 1) for (commit,) in commits):
                for partition, path in zip(parts, store_files.partition_files(to), strict=True):
                    with closing(sqlite3.connect(path, isolation_level=None)) as copy:
                        path.chmod(private_files.FILE_MODE)
                        partition.backup(copy)
                        copy.execute(
                            "UPDATE fronts SET worker_frontier = min(worker_frontier, ?)", (epoch,)
                        )
                cleanup.keep_only_epoch(to, epoch)
                return
        time.sleep(0.02)
    raise RecoveryError(f"{store}: it changed {_ATTEMPTS} times while it was copied")


def _fsync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
