"""Reads and verifies the checkpoint from which a run resumes, in Bytewax's store and the journals.

The store is a few SQLite files. A run resumes from the newest snapshots before its first incomplete
epoch: its checkpoint. Use this only in a process in which no flow has the files open: Bytewax has
its own copy of SQLite, and SQLite's locks do not work between two copies in one process.
"""

from __future__ import annotations

import io
import pickle
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from state import journal
from state.errors import DamageError, RecoveryError, UserError
from state.snapshots import (
    CODEC_BY_STEP,
    DevicesState,
    LearnState,
    SourceState,
    UsersState,
    journals_in,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from state.journal import JournalPosition

PARTITIONS = 4
"""Files of a store: fixed when it is created, and the maximum of workers that can share the load."""

_PROGRESS = """
    SELECT 'execution', ex_num, worker_count, resume_epoch FROM exs UNION ALL
    SELECT 'frontier', ex_num, worker_index, worker_frontier FROM fronts
"""
_SUPERSEDED = """
    DELETE FROM snaps WHERE EXISTS (
        SELECT 1 FROM snaps AS later WHERE later.step_id = snaps.step_id
        AND later.state_key = snaps.state_key AND later.snap_epoch > snaps.snap_epoch
    )
"""


@dataclass(frozen=True)
class Checkpoint:
    """The state from which a run resumes: `epoch` is its first epoch, `states` by step and key."""

    epoch: int
    states: dict[tuple[str, str], Any]

    @property
    def journal_positions(self) -> list[JournalPosition]:
        """The journals that belong to it, and how far they count."""
        return [position for state in self.states.values() for position in journals_in(state)]


def partition_files(store: Path) -> list[Path]:
    """The files of a store."""
    return [store / f"part-{number}.sqlite3" for number in range(PARTITIONS)]


@contextmanager
def open_partition(partition: Path) -> Iterator[sqlite3.Connection]:
    """Open a file of a store. Raises DamageError with its name if SQLite cannot read it."""
    if not partition.exists():
        raise damage_error(partition, "the file is missing")
    try:
        with closing(sqlite3.connect(partition, isolation_level=None, timeout=30)) as connection:
            yield connection
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            raise RecoveryError(
                f"{partition}: {error}: free disk space or repair the disk, then start again"
            ) from error
        raise damage_error(partition, str(error)) from error
    except sqlite3.DatabaseError as error:
        raise damage_error(partition, str(error)) from error


def damage_error(partition: Path, problem: str) -> DamageError:
    """The error for a damaged file of a store."""
    return DamageError(f"{partition}: {problem}")


def resume_epoch(progress: list[tuple[str, int, int, int]]) -> int:
    """The first incomplete epoch, as Bytewax computes it: the least of the last execution."""
    executions = {
        number: (count, epoch) for kind, number, count, epoch in progress if kind[0] == "e"
    }
    if not executions:
        return 0
    last = max(executions)
    workers, start_epoch = executions[last]
    frontiers = {
        index: epoch for kind, ex, index, epoch in progress if kind[0] == "f" and ex == last
    }
    return min(
        max(start_epoch, frontiers.get(index, start_epoch))
        for index in range(min(workers, 1 << 16))
    )


def read_progress(connection: sqlite3.Connection) -> list[tuple[str, int, int, int]]:
    """The executions in one file, and the epoch that each of their workers reached."""
    return connection.execute(_PROGRESS).fetchall()


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
            states[step, key] = _decode_state(partition, step, key, blob)
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


def keep_only_epoch(store: Path, epoch: int) -> None:
    """Delete all snapshots but those of one epoch's checkpoint. Only while no flow has the store
    open.

    Snapshots of an incomplete epoch must go: when a later run passes that epoch, Bytewax would take
    them for its state. Older snapshots are no longer needed and may contain shoppers who were
    erased since. The same is true of freed pages and the write-ahead log, so the files are
    rewritten.
    """
    for partition in partition_files(store):
        with open_partition(partition) as connection:
            connection.execute("DELETE FROM snaps WHERE snap_epoch >= ?", (epoch,))
            connection.execute(_SUPERSEDED)
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def verify_journals(rows: Path, checkpoint: Checkpoint) -> None:
    """Read every journal of a checkpoint. Raises DamageError with the file and the byte."""
    for position in checkpoint.journal_positions:
        for _ in journal.read(rows, position):
            pass


def referenced_journals(store: Path) -> set[JournalPosition]:
    """All journals to which a snapshot in the store refers. Works while a flow writes to the store."""
    positions: set[JournalPosition] = set()
    for partition in partition_files(store):
        with open_partition(partition) as connection:
            rows = connection.execute("SELECT step_id, state_key, ser_change FROM snaps").fetchall()
        for step, key, blob in rows:
            positions.update(journals_in(_decode_state(partition, step, key, blob)))
    return positions


def delete_unreferenced(rows: Path, used: set[JournalPosition], *, include_newer: bool) -> None:
    """Delete unreferenced journals; generations newer than those in use only if `include_newer`."""
    names = {position.file_name for position in used}
    oldest_used = {
        position.name: position.generation for position in sorted(used, key=lambda h: -h.generation)
    }
    for path, name, generation in journal.list_journals(rows):
        if path.name not in names and (include_newer or generation < oldest_used.get(name, 0)):
            path.unlink(missing_ok=True)


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


def _decode_state(partition: Path, step: str, key: str, blob: bytes | None) -> Any:
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
        if batches and shard_states.keys() != {str(shard) for shard in range(shards)}:
            if shard_states.keys() == {str(shard) for shard in range(len(shard_states))}:
                raise RecoveryError(
                    f"{store} was made with sessions.shards={len(shard_states)} and the "
                    f"configuration says "
                    f"{shards}: set it back, or start from an empty recovery folder"
                )
            raise damage_error(
                store, f"{kind.__name__} of {shards - len(shard_states)} shards is missing"
            )
        for key, state in shard_states.items():
            # The first release did not store the number of batches.
            if state.batches != batches and (state.batches or not state.watermarks):
                raise damage_error(
                    store, f"{kind.__name__} {key} is not of the same moment as the source"
                )
    read = {key: source.totals.read for key, source in sources.items() if source.batches}
    for state in states.values():
        if isinstance(state, LearnState):
            learned_read = {key: totals.read for key, totals in state.ledger.sources.items()}
            if learned_read != read:
                raise damage_error(store, "LearnedState is not of the same moment as the source")
