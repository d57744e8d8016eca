"""Reads and verifies the checkpoint from which a run resumes, in Bytewax's store and the journals.

A run resumes from the newest snapshots before its first incomplete epoch: its checkpoint. Use this only
in a process in which no flow has the store open (`store_files.py` gives the reason).
"""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flows.recovery.store_files import (
    PARTITIONS,
    damage_error,
    open_partition,
    partition_files,
    read_progress,
    resume_epoch,
)
from state import journal_files
from state.errors import DamageError, RecoveryError, UserError
from state.snapshots import (
    CODEC_BY_STEP,
    ClustersState,
    DevicesState,
    ItemsState,
    LearnState,
    PropensityState,
    SourceState,
    UsersState,
    journals_in,
)

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from state.journal_files import JournalPosition

TRAINED_STATES = (ClustersState, PropensityState, ItemsState)


@dataclass(frozen=True)
class Checkpoint:
    """The state from which a run resumes: `epoch` is its first epoch, `states` by step and key."""

    epoch: int
    states: dict[tuple[str, str], Any]

    @property
    def journal_positions(self) -> list[JournalPosition]:
        """The journals that belong to it, and how far they count."""
        return [position for state in self.states.values() for position in journals_in(state)]


def read_checkpoint(store: Path, *, shards: int) -> Checkpoint:
    """Read the checkpoint of a store that is not in use. Raises DamageError if it is incomplete.

    Raises UserError if it was made with another number of shards.
    """
    progress: list[tuple[str, int, int, int]] = []
    for number, partition in enumerate(partition_files(store)):
        with open_partition(partition) as connection:
            [check_result] = connection.execute("PRAGMA integrity_check(1)").fetchone()
            if check_result != "ok":
                raise damage_error(partition, check_result)
            if connection.execute("SELECT part_index, part_count FROM parts").fetchall() != [
                (number, PARTITIONS)
            ]:
                raise damage_error(partition, "it is another file of a store")
            progress += read_progress(connection)
    epoch = _epoch_in(store, progress)
    states: dict[tuple[str, str], Any] = {}
    for partition in partition_files(store):
        for step, key, blob in _newest_snapshots(partition, epoch):
            states[step, key] = decode_state(partition, step, key, blob)
    _check_all_shards_present(store, states, shards)
    return Checkpoint(epoch, states)


def latest_epoch(store: Path) -> int:
    """The first epoch of a store's checkpoint."""
    progress = []
    for partition in partition_files(store):
        with open_partition(partition) as connection:
            progress += read_progress(connection)
    return _epoch_in(store, progress)


def _epoch_in(store: Path, progress: list[tuple[str, int, int, int]]) -> int:
    try:
        return resume_epoch(progress)
    except (TypeError, ValueError) as error:  # SQLite keeps any value in any column
        raise damage_error(store, f"its epoch cannot be read: {error}") from error


def verify_journals(rows: Path, checkpoint: Checkpoint) -> None:
    """Read every journal of a checkpoint. Raises DamageError with the file and the byte."""
    for position in checkpoint.journal_positions:
        for _ in journal_files.read(rows, position):
            pass


def _newest_snapshots(partition: Path, epoch: int) -> list[tuple[str, str, bytes | None]]:
    with open_partition(partition) as connection:
        rows = connection.execute(
            "SELECT step_id, state_key, ser_change, MAX(snap_epoch) FROM snaps "
            "WHERE snap_epoch < ? GROUP BY step_id, state_key",
            (epoch,),
        )
        return [(step, key, blob) for step, key, blob, _ in rows]


class _StateUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name} is not part of a snapshot")


def decode_state(partition: Path, step: str, key: str, blob: bytes | None) -> Any:
    """The state in a snapshot of a step's key. Raises DamageError with the name of the file."""
    codec = CODEC_BY_STEP.get(step.partition(".")[2])
    try:
        value = None if blob is None else _StateUnpickler(io.BytesIO(blob)).load()
        return value if codec is None or value is None else codec.decode(value)
    except DamageError as error:
        raise damage_error(partition, f"snapshot of {step} {key}: {error}") from error
    except UserError:
        raise
    except Exception as error:  # a damaged pickle may raise anything
        raise damage_error(partition, f"snapshot of {step} {key}: {error}") from error


def _check_all_shards_present(store: Path, states: dict[tuple[str, str], Any], shards: int) -> None:
    """Check that every shard processed every batch of the sources: all states are of one moment."""
    sources = {key: s for (_, key), s in states.items() if isinstance(s, SourceState)}
    batches = {key: source.batches for key, source in sources.items() if source.batches}
    for kind in (DevicesState, UsersState):
        shard_states = {key: state for (_, key), state in states.items() if isinstance(state, kind)}
        found = len(shard_states)
        are_numbered = shard_states.keys() == {str(shard) for shard in range(found)}
        # More shards, of which those of the configuration are a divisor: a start merges them.
        if batches and (not are_numbered or found < shards or found % shards):
            if are_numbered and found != shards:
                raise RecoveryError(
                    f"{store} was made with sessions.shards={found} and the "
                    f"configuration says "
                    f"{shards}: set it back, or start from an empty recovery folder"
                )
            raise damage_error(
                store, f"{kind.__name__} of {_count_missing(shard_states)} shards is missing"
            )
        for key, state in shard_states.items():
            # The first release did not store the number of batches.
            if state.batches != batches and (state.batches or not state.watermarks):
                raise damage_error(
                    store, f"{kind.__name__} {key} is not of the same moment as the source"
                )
    read = {key: source.totals.read for key, source in sources.items() if source.batches}
    for state in states.values():
        if isinstance(state, TRAINED_STATES) and state.batches != batches:
            raise damage_error(
                store, f"{type(state).__name__} is not of the same moment as the source"
            )
        if isinstance(state, LearnState):
            learned_read = {key: totals.read for key, totals in state.ledger.sources.items()}
            if learned_read != read:
                raise damage_error(store, "LearnedState is not of the same moment as the source")


def _count_missing(shard_states: Collection[str]) -> int:
    """How many shards are missing below the highest number."""
    return 1 + max(map(int, shard_states)) - len(shard_states)
