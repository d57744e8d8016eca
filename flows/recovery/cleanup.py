"""Deletes snapshots and journals that no run needs any more from a recovery folder.

Deletion is part of erasure: old snapshots contain shoppers who were erased since.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.recovery.checkpoint_reader import decode_state
from flows.recovery.store_files import open_partition, partition_files
from state.journal_files import list_journals
from state.snapshots import journals_in

if TYPE_CHECKING:
    from pathlib import Path

    from state.journal_files import JournalPosition

_SUPERSEDED = """
    DELETE FROM snaps WHERE EXISTS (
        SELECT 1 FROM snaps AS later WHERE later.step_id = snaps.step_id
        AND later.state_key = snaps.state_key AND later.snap_epoch > snaps.snap_epoch
    )
"""


def keep_only_epoch(store: Path, epoch: int) -> None:
    """Delete all snapshots but those of one epoch's checkpoint. No flow may have the store open.

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


def referenced_journals(store: Path) -> set[JournalPosition]:
    """All journals to which a snapshot in the store refers. Works while a flow writes to the store."""
    positions: set[JournalPosition] = set()
    for partition in partition_files(store):
        with open_partition(partition) as connection:
            rows = connection.execute("SELECT step_id, state_key, ser_change FROM snaps").fetchall()
        for step, key, blob in rows:
            positions.update(journals_in(decode_state(partition, step, key, blob)))
    return positions


def delete_unreferenced(rows: Path, used: set[JournalPosition], *, include_newer: bool) -> None:
    """Delete unreferenced journals; generations newer than those in use only if `include_newer`."""
    names = {position.file_name for position in used}
    oldest_used = {
        position.name: position.generation for position in sorted(used, key=lambda p: -p.generation)
    }
    for path, name, generation in list_journals(rows):
        if path.name not in names and (include_newer or generation < oldest_used.get(name, 0)):
            path.unlink(missing_ok=True)
