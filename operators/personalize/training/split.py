"""Splits what one step stored for all of them: the state of `learn` of a release that trained there.

That state stays with personalization, which no longer reads what others inherit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.tables.table_store import LoadedTables
from state.snapshots import CLUSTERS_CODEC, TABLE_CODEC, ClustersState, pack_arrays, unpack_arrays

if TYPE_CHECKING:
    from collections.abc import Iterable

    from operators.tables.table import Arrays
    from state.snapshots import LearnState

_PARTS = ("recommender", "clusters", "audience", "propensity", "views")


def load_learned(state: LearnState, records: Iterable[bytes]) -> LoadedTables:
    """All arrays, ids and cards of a snapshot and its journal, whose records are given."""
    arrays = {part: unpack_arrays(getattr(state, part)) for part in _PARTS}
    loaded = LoadedTables(arrays, state.vocabularies, state.cards)
    for record in records:
        loaded.apply_record(TABLE_CODEC.decode(record))
    loaded.trim()
    return loaded


def clusters_heir(state: LearnState, arrays: Arrays) -> bytes:
    """The first snapshot of `train_clusters`; ended clusters stay where their members are."""
    kept = {**arrays, "ended": np.empty((0, 2), np.int64)}
    return CLUSTERS_CODEC.encode(
        ClustersState(
            pack_arrays(kept),
            state.defined,
            {shard: totals.accepted for shard, totals in state.ledger.shards.items()},
            state.now_ms,
            state.clock_ms,
            state.figures_ms,
            None,
            state.batches,
        )
    )
