"""The SQLite files of Bytewax's recovery store: how they are named, opened, and what they say of epochs.

Use this only in a process in which no flow has the files open: Bytewax has its own copy of SQLite, and
SQLite's locks do not work between two copies in one process. Names and tables are Bytewax's.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from state.errors import DamageError, RecoveryError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PARTITIONS = 4
"""Files of a store: fixed when it is created, and the maximum of workers that can share the load."""


_PROGRESS = """
    SELECT 'execution', ex_num, worker_count, resume_epoch FROM exs UNION ALL
    SELECT 'frontier', ex_num, worker_index, worker_frontier FROM fronts
"""


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
