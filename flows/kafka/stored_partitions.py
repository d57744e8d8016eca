"""Lists the partitions in a recovery store: a stored partition that Kafka lacks makes Bytewax panic."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def stored_partitions(store: Path, step_id: str) -> set[str]:
    """The names of the source partitions in the SQLite files of a Bytewax recovery store.

    `step_id` is that of the input step, with the flow's id before it, as `personalize.events`.
    """
    names: set[str] = set()
    for partition_file in sorted(store.glob("part-*.sqlite3")):
        with closing(sqlite3.connect(f"file:{partition_file}?mode=ro", uri=True)) as database:
            rows = database.execute(
                "SELECT DISTINCT state_key FROM snaps WHERE step_id = ?", (step_id,)
            )
            names.update(name for (name,) in rows)
    return names
