"""Migrates a recovery folder of a release whose steps or shards were others, once, before a run.

The state is backed up first. A file says that a migration has begun: a run that finds it starts again
from that backup. So the folder holds the old state or the new one, never half of each. The file name is
stored.
"""

from __future__ import annotations

import logging
import pickle
from typing import TYPE_CHECKING, Any

import msgspec

from flows import steps
from flows.recovery import backup
from flows.recovery.snapshot_places import snapshot_places
from flows.recovery.store_files import open_partition, partition_files
from operators.personalize.training.split import (
    clusters_heir,
    items_heir,
    load_learned,
    propensity_heir,
)
from operators.shards.partition_merge import merge_shards, regroup_totals, store_rows
from operators.shards.shard_journal import ShardJournal
from state import journal_files
from state.journal import Journals
from state.snapshots import CODEC_BY_STEP, DevicesState, LearnState, SourceState

if TYPE_CHECKING:
    from pathlib import Path

    from flows.recovery.checkpoint_reader import Checkpoint
    from state.config import Settings

_log = logging.getLogger("penstock.recovery")

BEGUN_FILE = "migrating"
_HEIRS = (
    (steps.TRAIN_CLUSTERS, steps.CLUSTERS_KEY),
    (steps.TRAIN_PROPENSITY, steps.PROPENSITY_KEY),
    (steps.TRAIN_ITEMS, steps.ITEMS_KEY),
)
"""Steps whose state was in that of `learn`, with their keys."""
FORMER_IDS = {
    "visit_devices": steps.IDENTIFY,
    "visit_users": steps.SESSIONIZE,
    "learn": steps.PERSONALIZE,
}
"""What steps were called in former releases."""
JOURNAL_KINDS = {steps.IDENTIFY: "devices", steps.SESSIONIZE: "users"}
"""The name of the journals of each step with shards."""

States = dict[tuple[str, str], Any]
"""States by step and key, both without the name of the flow."""

Snapshots = dict[tuple[str, str], bytes | None]
"""New snapshots by step and key, None for one that goes; both without the name of the flow."""


def undo_incomplete(folder: Path, settings: Settings) -> None:
    """Restore the backup that was made before a migration that a crash interrupted."""
    if (folder / BEGUN_FILE).exists():
        files = backup.restore_backup(folder, shards=settings.sessions.shards)
        _log.warning("a migration was interrupted and begins again; its files are in %s", files)
        (folder / BEGUN_FILE).unlink()


def migrate(folder: Path, checkpoint: Checkpoint, settings: Settings) -> bool:
    """Give each step of this release its state; returns whether anything had to be changed."""
    shards = settings.sessions.shards
    states, former = _by_step(checkpoint)
    learned = states.get((steps.PERSONALIZE, steps.SINGLE_KEY))
    if not isinstance(learned, LearnState):
        return False
    found = sum(isinstance(state, DevicesState) for state in states.values())
    missing = [heir for heir in _HEIRS if heir not in states]
    if not missing and not former and found == shards:
        return False
    backup.create_backup(folder, shards=shards)
    (folder / BEGUN_FILE).touch()
    if found != shards:
        journals = Journals(folder / "rows", ratio=settings.recovery.rewrite_ratio)
        states = _merged_shards(states, journals, found, shards)
    changes: Snapshots = dict.fromkeys(former)
    changes |= {
        (step, key): CODEC_BY_STEP[step].encode(state)
        for (step, key), state in states.items()
        if step in FORMER_IDS.values() or (found != shards and step in CODEC_BY_STEP)
    }
    changes |= {
        (step, str(shard)): None for step in JOURNAL_KINDS for shard in range(shards, found)
    }
    if missing:
        learned = states[steps.PERSONALIZE, steps.SINGLE_KEY]
        # A release that did not store the numbers of batches: the checkpoint was verified, so they are
        # those of the sources.
        learned.batches = learned.batches or _batches_read(states)
        changes |= _heirs(folder / "rows", learned, missing)
    _write(folder / "store", checkpoint.epoch - 1, changes)
    (folder / BEGUN_FILE).unlink()
    _log.info("the recovery folder of an older release was migrated, after a backup")
    return True


def _by_step(checkpoint: Checkpoint) -> tuple[States, list[tuple[str, str]]]:
    """The states by the ids of today, and those found under former ids."""
    states: States = {}
    former: list[tuple[str, str]] = []
    for (stored, key), state in checkpoint.states.items():
        step = stored.partition(".")[2]
        states[FORMER_IDS.get(step, step), key] = state
        if step in FORMER_IDS:
            former.append((step, key))
    return states, former


def _batches_read(states: States) -> dict[str, int]:
    """How many batches each partition of the source had given."""
    return {
        partition: state.batches
        for (_, partition), state in states.items()
        if isinstance(state, SourceState) and state.batches
    }


def _heirs(rows: Path, learned: LearnState, missing: list[tuple[str, str]]) -> Snapshots:
    """The snapshots of steps that did not exist when the checkpoint was made."""
    records = () if learned.journal is None else journal_files.read(rows, learned.journal)
    loaded = load_learned(learned, records)
    heirs = {
        steps.TRAIN_CLUSTERS: lambda: clusters_heir(learned, loaded.arrays["clusters"]),
        steps.TRAIN_PROPENSITY: lambda: propensity_heir(learned, loaded),
        steps.TRAIN_ITEMS: lambda: items_heir(learned, loaded),
    }
    return {(step, key): heirs[step]() for step, key in missing}


def _merged_shards(states: States, journals: Journals, found: int, shards: int) -> States:
    """The states with fewer shards, each of all shards whose number is its own modulo them."""
    merged_states = {at: state for at, state in states.items() if at[0] not in JOURNAL_KINDS}
    for step, kind in JOURNAL_KINDS.items():
        for shard in range(shards):
            own = [states[step, str(old)] for old in range(shard, found, shards)]
            loaded = [ShardJournal(kind, journals).load(state) for state in own]
            merged, content = merge_shards(own, loaded)
            merged.journal = store_rows(journals, f"{kind}-{shard}", content)
            merged_states[step, str(shard)] = merged
    learned = states[steps.PERSONALIZE, steps.SINGLE_KEY]
    totals = regroup_totals(learned.ledger.shards, shards)
    merged_states[steps.PERSONALIZE, steps.SINGLE_KEY] = msgspec.structs.replace(
        learned, ledger=msgspec.structs.replace(learned.ledger, shards=totals)
    )
    clusters = (steps.TRAIN_CLUSTERS, steps.CLUSTERS_KEY)
    if clusters in states:
        accepted = {name: one.accepted for name, one in totals.items()}
        merged_states[clusters] = msgspec.structs.replace(states[clusters], accepted=accepted)
    return merged_states


def _write(store: Path, epoch: int, changes: Snapshots) -> None:
    """Write snapshots as of an epoch, each into the file where Bytewax will replace it."""
    places = snapshot_places(steps.FLOW_ID, _keys_by_step(changes))
    for number, partition in enumerate(partition_files(store)):
        with open_partition(partition) as connection:
            own = [
                (steps.stored_id(step), key, blob)
                for (step, key), blob in changes.items()
                if places[steps.stored_id(step), key] == number
            ]
            connection.executemany(
                "DELETE FROM snaps WHERE step_id = ? AND state_key = ?",
                [(step, key) for step, key, _ in own],
            )
            connection.executemany(
                "INSERT INTO snaps (step_id, state_key, snap_epoch, ser_change) VALUES (?, ?, ?, ?)",
                [
                    (step, key, epoch, pickle.dumps(blob))
                    for step, key, blob in own
                    if blob is not None
                ],
            )


def _keys_by_step(changes: Snapshots) -> dict[str, list[str]]:
    keys: dict[str, list[str]] = {}
    for step, key in changes:
        keys.setdefault(step, []).append(key)
    return keys
