"""The previous snapshot: a copy of everything stored, apart from it and made sure of.

    <recovery>/previous/store-<n>/part-*.sqlite3   the store as it was at one moment
    <recovery>/previous/rows/*.rows                the journals it refers to, at least that far

A copy is made beside the one before and takes its place by a rename, so there is always a whole one.
Journals only grow: of those copied before only the growth is copied. SQLite's rule of
`flows.recovery.checkpoint_reader`
holds here too: not in a process that runs the flow.
"""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

from flows.recovery import checkpoint_reader
from state import journal, private_files
from state.errors import DamageError, SnapshotError, UserError

if TYPE_CHECKING:
    from pathlib import Path

    from state.journal import Handle

_log = logging.getLogger("penstock.recovery")

_TRIES = 200
_COMMITS = "SELECT commit_epoch FROM commits"


def current(folder: Path) -> Path | None:
    """The store of the copy in a recovery folder, if there is one."""
    stores = (folder / "previous").glob("store-*")
    whole = [store for store in stores if store.is_dir() and _number(store) >= 0]
    return max(whole, key=_number, default=None)


def _number(store: Path) -> int:
    """The number in the name of a copy's store; -1 where it is none of ours."""
    number = store.name.removeprefix("store-")
    return int(number) if number.isdecimal() and number.isascii() else -1


def epoch_of(folder: Path) -> int | None:
    """The first epoch that the copy does not hold; None where there is no copy, or a damaged one.

    A damaged copy hinders nobody: only a store that is damaged needs it.
    """
    store = current(folder)
    try:
        return None if store is None else checkpoint_reader.epoch_of(store)
    except DamageError as error:
        _log.warning("%s: the previous snapshot is damaged: the next copy takes its place", error)
        return None


def make(folder: Path, *, shards: int) -> bool:
    """Copy what is stored now, also while a flow writes it; False where nothing is yet.

    Raises DamageError where what is stored is damaged, UserError where it cannot be written; the copy
    before stays in both cases. A copy before that is damaged gives way to a whole new one.
    """
    previous = folder / "previous"
    rows = previous / "rows"
    begun = previous / "begun"
    try:
        _make_folders(folder, previous, begun, rows)
        copy_store(folder / "store", begun)
        cut = checkpoint_reader.read_cut(begun, shards=shards)
        if not cut.states:
            return False
        before = current(folder)
        known: dict[str, Handle] = {}
        former = None if before is None else _sound_cut(before, shards)
        if former is not None:
            if former.epoch == cut.epoch:
                return True
            if former.epoch > cut.epoch:
                raise checkpoint_reader.damage(folder / "store", "it is older than the copy of it")
            known = {handle.file: handle for handle in former.handles}
        for handle in cut.handles:
            journal.copy(folder / "rows", handle, rows, known.get(handle.file))
        for part in checkpoint_reader.part_paths(begun):
            _make_sure(part)
        for directory in (begun, rows):
            _make_sure(directory)
        number = 1 if before is None else _number(before) + 1
        begun.rename(previous / f"store-{number}")
        _make_sure(previous)
        _remove_before(previous, number)
        checkpoint_reader.sweep(rows, set(cut.handles), newer=True)
    except OSError as error:
        raise UserError(f"{previous}: {error.strerror}: make room or mend the disk") from error
    return True


def _make_folders(folder: Path, previous: Path, begun: Path, rows: Path) -> None:
    if previous.exists() and not previous.is_dir():
        previous.rename(new_aside(folder) / previous.name)
    shutil.rmtree(begun, ignore_errors=True)
    for made in (previous, begun, rows):
        private_files.make_folder(made)


def _remove_before(previous: Path, number: int) -> None:
    """Remove the stores of older copies: more than one where a process was killed on the way."""
    for store in previous.glob("store-*"):
        if 0 <= _number(store) < number:
            shutil.rmtree(store)


def _sound_cut(store: Path, shards: int) -> checkpoint_reader.Cut | None:
    """What the copy before holds; None, with a warning, where it cannot be read."""
    try:
        return checkpoint_reader.read_cut(store, shards=shards)
    except SnapshotError as error:
        _log.warning("the copy before cannot be read (%s): a whole new one is made", error)
        return None


def new_aside(folder: Path) -> Path:
    """A new, empty folder for what is damaged."""
    numbers = [int(path.name.rpartition("-")[2]) for path in folder.glob("damaged-[0-9]*")]
    aside = folder / f"damaged-{max(numbers, default=0) + 1}"
    aside.mkdir(mode=private_files.FOLDER_MODE)
    return aside


def put_back(folder: Path, *, shards: int) -> Path:
    """Put the copy in the place of what is stored; returns where the damaged files went.

    Raises DamageError where the copy is damaged too. A crash on the way leaves a store
    that is missing or whole.
    """
    store = current(folder)
    assert store is not None
    begun = folder / "begun"
    try:
        shutil.rmtree(begun, ignore_errors=True)
        shutil.copytree(store, begun / "store")
        shutil.copytree(folder / "previous" / "rows", begun / "rows")
        checkpoint_reader.check_journals(
            begun / "rows", checkpoint_reader.read_cut(begun / "store", shards=shards)
        )
        aside = new_aside(folder)
        for name in ("store", "rows"):
            if (folder / name).exists():
                (folder / name).rename(aside / name)
        for name in ("rows", "store"):
            (begun / name).rename(folder / name)
        begun.rmdir()
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}: make room or mend the disk") from error
    return aside


def copy_store(store: Path, to: Path) -> None:
    """All files of a store as they are at one moment: it is pinned, and tried again if it moved on."""
    for _ in range(_TRIES):
        with ExitStack() as stack:
            parts = [
                stack.enter_context(checkpoint_reader.opened(part))
                for part in checkpoint_reader.part_paths(store)
            ]
            epoch = checkpoint_reader.resume_epoch(
                [row for part in parts for row in checkpoint_reader.progress_of(part)]
            )
            for part in parts:
                part.execute("BEGIN")
            commits = [row for part in parts for row in part.execute(_COMMITS)]
            # What is older than a commit may be gone already from a file that was pinned later.
            if all(commit < max(epoch, 1) for (commit,) in commits):
                for part, path in zip(parts, checkpoint_reader.part_paths(to), strict=True):
                    with closing(sqlite3.connect(path, isolation_level=None)) as copy:
                        path.chmod(private_files.FILE_MODE)
                        part.backup(copy)
                        copy.execute(
                            "UPDATE fronts SET worker_frontier = min(worker_frontier, ?)", (epoch,)
                        )
                checkpoint_reader.keep_only(to, epoch)
                return
        time.sleep(0.02)
    raise UserError(f"{store}: it moved on {_TRIES} times while it was copied")


def _make_sure(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
