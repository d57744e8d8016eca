"""Where a run would go on: what Bytewax's recovery store and the journals say, read and verified.

The store is a few SQLite files. A run goes on with the newest snapshots before its last complete
epoch: its cut. Read here only where no flow has the files open in this process: SQLite's locks do
not hold between two copies of the library in one.
"""

from __future__ import annotations

import io
import pickle
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from state import journal
from state.errors import DamageError, UserError
from state.snapshots import (
    BY_STEP,
    DevicesState,
    LearnedState,
    SourceState,
    UsersState,
    handles_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from state.journal import Handle

PARTS = 4
"""Files of a store: fixed when it is made, and the most workers that can share the load."""

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
class Cut:
    """The state that a run would go on with: `epoch` is its first, `states` by step and key."""

    epoch: int
    states: dict[tuple[str, str], Any]

    @property
    def handles(self) -> list[Handle]:
        """The journals that belong to it."""
        return [handle for state in self.states.values() for handle in handles_of(state)]


def part_paths(store: Path) -> list[Path]:
    """The files of a store."""
    return [store / f"part-{number}.sqlite3" for number in range(PARTS)]


@contextmanager
def opened(part: Path) -> Iterator[sqlite3.Connection]:
    """A file of a store; DamageError names it where SQLite cannot make sense of it."""
    if not part.exists():
        raise damage(part, "the file is missing")
    try:
        with closing(sqlite3.connect(part, isolation_level=None, timeout=30)) as connection:
            yield connection
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            raise UserError(
                f"{part}: {error}: make room or mend the disk, then start again"
            ) from error
        raise damage(part, str(error)) from error
    except sqlite3.DatabaseError as error:
        raise damage(part, str(error)) from error


def damage(part: Path, what: str) -> DamageError:
    """What is wrong with a file."""
    return DamageError(f"{part}: {what}")


def resume_epoch(progress: list[tuple[str, int, int, int]]) -> int:
    """The first epoch that is not complete, as Bytewax counts: the least of the last execution's."""
    executions = {
        number: (count, epoch) for kind, number, count, epoch in progress if kind[0] == "e"
    }
    if not executions:
        return 0
    last = max(executions)
    workers, began = executions[last]
    fronts = {index: epoch for kind, ex, index, epoch in progress if kind[0] == "f" and ex == last}
    return min(max(began, fronts.get(index, began)) for index in range(min(workers, 1 << 16)))


def progress_of(connection: sqlite3.Connection) -> list[tuple[str, int, int, int]]:
    """What one file knows of executions and how far their workers came."""
    return connection.execute(_PROGRESS).fetchall()


def read_cut(store: Path, *, shards: int) -> Cut:
    """The cut of a store that nobody has open. Raises DamageError where it is not whole.

    Raises UserError where it was made with another number of shards.
    """
    progress: list[tuple[str, int, int, int]] = []
    for number, part in enumerate(part_paths(store)):
        with opened(part) as connection:
            [found] = connection.execute("PRAGMA integrity_check(1)").fetchone()
            if found != "ok":
                raise damage(part, found)
            if connection.execute("SELECT part_index, part_count FROM parts").fetchall() != [
                (number, PARTS)
            ]:
                raise damage(part, "not the file of this place")
            progress += progress_of(connection)
    epoch = _epoch_in(store, progress)
    states: dict[tuple[str, str], Any] = {}
    for part in part_paths(store):
        for step, key, blob in _newest(part, epoch):
            states[step, key] = _state(part, step, key, blob)
    _check_is_whole(store, states, shards)
    return Cut(epoch, states)


def epoch_of(store: Path) -> int:
    """The first epoch of a store's cut."""
    progress = []
    for part in part_paths(store):
        with opened(part) as connection:
            progress += progress_of(connection)
    return _epoch_in(store, progress)


def _epoch_in(store: Path, progress: list[tuple[str, int, int, int]]) -> int:
    try:
        return resume_epoch(progress)
    except (TypeError, ValueError) as error:  # SQLite keeps any value in any column
        raise damage(store, f"how far it came cannot be read: {error}") from error


def keep_only(store: Path, epoch: int) -> None:
    """Keep the snapshots of the cut of an epoch and no byte of any other, where no flow has the store.

    What a run wrote in an epoch it did not complete, Bytewax would take for state of a later run that
    comes past that epoch. Older snapshots serve nobody any more, and may name who was erased since; so
    may freed pages and the write-ahead log: the files are written anew without them.
    """
    for part in part_paths(store):
        with opened(part) as connection:
            connection.execute("DELETE FROM snaps WHERE snap_epoch >= ?", (epoch,))
            connection.execute(_SUPERSEDED)
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def check_journals(rows: Path, cut: Cut) -> None:
    """Read every journal of a cut; DamageError names the file and the byte."""
    for handle in cut.handles:
        for _ in journal.read(rows, handle):
            pass


def referenced(store: Path) -> set[Handle]:
    """Every journal that any snapshot in the store refers to, also while a flow writes to it."""
    found: set[Handle] = set()
    for part in part_paths(store):
        with opened(part) as connection:
            rows = connection.execute("SELECT step_id, state_key, ser_change FROM snaps").fetchall()
        for step, key, blob in rows:
            found.update(handles_of(_state(part, step, key, blob)))
    return found


def sweep(rows: Path, used: set[Handle], *, newer: bool) -> None:
    """Delete the journals that nothing refers to; with `newer` those too that were only just begun."""
    names = {handle.file for handle in used}
    first = {handle.name: handle.generation for handle in sorted(used, key=lambda h: -h.generation)}
    for path, name, generation in journal.files(rows):
        if path.name not in names and (newer or generation < first.get(name, 0)):
            path.unlink(missing_ok=True)


def _newest(part: Path, epoch: int) -> list[tuple[str, str, bytes | None]]:
    with opened(part) as connection:
        rows = connection.execute(
            "SELECT step_id, state_key, ser_change, MAX(snap_epoch) FROM snaps "
            "WHERE snap_epoch < ? GROUP BY step_id, state_key",
            (epoch,),
        )
        return [(step, key, blob) for step, key, blob, _ in rows]


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name} is no snapshot")


def _state(part: Path, step: str, key: str, blob: bytes | None) -> Any:
    codec = BY_STEP.get(step.partition(".")[2])
    try:
        value = None if blob is None else _Plain(io.BytesIO(blob)).load()
        return value if codec is None or value is None else codec.decode(value)
    except DamageError as error:
        raise damage(part, f"snapshot of {step} {key}: {error}") from error
    except UserError:
        raise
    except Exception as error:  # a damaged pickle may raise anything
        raise damage(part, f"snapshot of {step} {key}: {error}") from error


def _check_is_whole(store: Path, states: dict[tuple[str, str], Any], shards: int) -> None:
    """Every shard has heard every batch that the sources have read: all comes from one moment."""
    sources = {key: s for (_, key), s in states.items() if isinstance(s, SourceState)}
    batches = {key: source.batches for key, source in sources.items() if source.batches}
    for kind in (DevicesState, UsersState):
        found = {key: state for (_, key), state in states.items() if isinstance(state, kind)}
        if batches and found.keys() != {str(shard) for shard in range(shards)}:
            if found.keys() == {str(shard) for shard in range(len(found))}:
                raise UserError(
                    f"{store} was made with sessions.shards={len(found)} and the configuration says "
                    f"{shards}: set it back, or start from an empty recovery folder"
                )
            raise damage(store, f"{kind.__name__} of {shards - len(found)} shards is missing")
        for key, state in found.items():
            # The first release did not store how many batches a shard had heard.
            if state.batches != batches and (state.batches or not state.watermarks):
                raise damage(
                    store, f"{kind.__name__} {key} is not of the same moment as the source"
                )
    read = {key: source.totals.read for key, source in sources.items() if source.batches}
    for state in states.values():
        if isinstance(state, LearnedState):
            heard = {key: totals.read for key, totals in state.ledger.sources.items()}
            if heard != read:
                raise damage(store, "LearnedState is not of the same moment as the source")
