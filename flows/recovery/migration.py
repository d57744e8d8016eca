"""Migrates a recovery folder of a release whose steps were others, once, before a run.

The state is backed up first. A file says that a migration has begun: a run that finds it starts again
from that backup. So the folder holds the old state or the new one, never half of each. The file name is
stored.
"""

from __future__ import annotations

import logging
import pickle
from typing import TYPE_CHECKING

from flows import steps
from flows.recovery import backup
from flows.recovery.snapshot_places import snapshot_places
from flows.recovery.store_files import open_partition, partition_files
from operators.personalize.training.split import clusters_heir, items_heir, load_learned
from state import journal_files
from state.snapshots import LearnState

if TYPE_CHECKING:
    from pathlib import Path

    from flows.recovery.checkpoint_reader import Checkpoint

_log = logging.getLogger("penstock.recovery")

BEGUN_FILE = "migrating"

_HEIRS = (
    (steps.TRAIN_CLUSTERS, steps.CLUSTERS_KEY),
    (steps.TRAIN_ITEMS, steps.ITEMS_KEY),
)
"""Steps whose state was in that of `learn`, with their keys."""

Blobs = dict[tuple[str, str], bytes]
"""Snapshots by step and key, both without the name of the flow."""


def undo_incomplete(folder: Path, *, shards: int) -> None:
    """Restore the backup that was made before a migration that a crash interrupted."""
    if (folder / BEGUN_FILE).exists():
        interrupted = backup.restore_backup(folder, shards=shards)
        _log.warning(
            "a migration was interrupted and begins again; its files are in %s", interrupted
        )
        (folder / BEGUN_FILE).unlink()


def migrate(folder: Path, checkpoint: Checkpoint, *, shards: int) -> bool:
    """Give each step of this release its state; returns whether anything had to be changed."""
    added = _inherited(folder / "rows", checkpoint)
    if not added:
        return False
    backup.create_backup(folder, shards=shards)
    (folder / BEGUN_FILE).touch()
    _write(folder / "store", checkpoint.epoch - 1, added)
    (folder / BEGUN_FILE).unlink()
    _log.info(
        "the recovery folder of an older release was migrated: %s",
        ", ".join(sorted(step for step, _ in added)),
    )
    return True


def _inherited(rows: Path, checkpoint: Checkpoint) -> Blobs:
    """The snapshots of steps that did not exist when the checkpoint was made."""
    states = checkpoint.states
    learned = states.get((steps.stored_id(steps.PERSONALIZE), steps.SINGLE_KEY))
    if not isinstance(learned, LearnState):
        return {}
    missing = [one for one in _HEIRS if (steps.stored_id(one[0]), one[1]) not in states]
    if not missing:
        return {}
    records = () if learned.journal is None else journal_files.read(rows, learned.journal)
    loaded = load_learned(learned, records)
    heirs = {
        steps.TRAIN_CLUSTERS: lambda: clusters_heir(learned, loaded.arrays["clusters"]),
        steps.TRAIN_ITEMS: lambda: items_heir(learned, loaded),
    }
    return {(step, key): heirs[step]() for step, key in missing}


def _write(store: Path, epoch: int, added: Blobs) -> None:
    """Write snapshots as of an epoch, each into the file where Bytewax will replace it."""
    places = snapshot_places(steps.FLOW_ID, _keys_by_step(added))
    for number, partition in enumerate(partition_files(store)):
        with open_partition(partition) as connection:
            connection.executemany(
                "INSERT INTO snaps (step_id, state_key, snap_epoch, ser_change) VALUES (?, ?, ?, ?)",
                [
                    (steps.stored_id(step), key, epoch, pickle.dumps(blob))
                    for (step, key), blob in added.items()
                    if places[steps.stored_id(step), key] == number
                ],
            )


def _keys_by_step(blobs: Blobs) -> dict[str, list[str]]:
    keys: dict[str, list[str]] = {}
    for step, key in blobs:
        keys.setdefault(step, []).append(key)
    return keys
