"""Which file of a recovery store Bytewax keeps the snapshots of a step's key in.

Bytewax spreads them by a hash of its own. So it is asked: a flow with the same names, but nothing else,
stores a snapshot of each.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, TestingSource, run_main

from flows.recovery.store_files import PARTITIONS, open_partition, partition_files

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


class _Stored(StatefulBatchLogic[str, str, bytes]):
    def on_batch(self, values: list[str]) -> tuple[list[str], bool]:
        return [], self.RETAIN

    def snapshot(self) -> bytes:
        return b"stored"


def snapshot_places(
    flow_id: str, keys_by_step: Mapping[str, Collection[str]]
) -> dict[tuple[str, str], int]:
    """The number of the file for each stored step id (with the flow's) and key."""
    flow = Dataflow(flow_id)
    for step, keys in keys_by_step.items():
        items = [(key, key) for key in keys]
        keyed = op.input(f"{step}_keys", flow, TestingSource(items, batch_size=len(items)))
        stored = op.stateful_batch(step, keyed, lambda _: _Stored())
        op.output(f"{step}_out", stored, TestingSink([]))
    places: dict[tuple[str, str], int] = {}
    with tempfile.TemporaryDirectory(prefix="penstock-") as name:
        folder = Path(name)
        init_db_dir(folder, PARTITIONS)
        run_main(flow, recovery_config=RecoveryConfig(name))
        for number, partition in enumerate(partition_files(folder)):
            with open_partition(partition) as connection:
                found = connection.execute("SELECT DISTINCT step_id, state_key FROM snaps")
                places |= dict.fromkeys(found, number)
    return {
        (f"{flow_id}.{step}", key): places[f"{flow_id}.{step}", key]
        for step, keys in keys_by_step.items()
        for key in keys
    }
