"""Splits what one step stored for all of them: the state of `learn` of a release that trained there.

That state stays with personalization, which no longer reads what others inherit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.recommend.items.recent_shoppers import KEPT_MS
from operators.tables.table_store import LoadedTables
from state.arrays import NO_ROW
from state.snapshots import (
    CLUSTERS_CODEC,
    ITEMS_CODEC,
    PROPENSITY_CODEC,
    TABLE_CODEC,
    ClustersState,
    ItemsState,
    PropensityState,
    pack_arrays,
    unpack_arrays,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from operators.tables.table import Arrays
    from state.snapshots import LearnState

_ITEM_PARTS = (
    *("covisitation", "again", "factors", "content", "popularity", "bought", "seen"),
    *("written_similar", "written_bought"),
)
"""What is learned of items, among the names of arrays of the part `recommender`."""
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


def items_heir(state: LearnState, loaded: LoadedTables) -> bytes:
    """The first snapshot of `train_items`. Of shoppers it has those of the last day, in rows of their
    own."""
    arrays = loaded.arrays["recommender"]
    kept = {name: array for name, array in arrays.items() if name.split("/")[0] in _ITEM_PARTS}
    shoppers: list[str] = []
    if "contexts/last_ms" in arrays:
        last_ms, ids = arrays["contexts/last_ms"], loaded.ids.get("shoppers", [])
        recent = np.flatnonzero(last_ms[: len(ids)] >= state.now_ms - KEPT_MS)
        rows = np.array([row for row in recent.tolist() if ids[row]], np.int32)
        shoppers = [ids[row] for row in rows.tolist()]
        kept["contexts/recent"], kept["contexts/last_ms"] = (
            arrays["contexts/recent"][rows],
            last_ms[rows],
        )
        if "bought/buyer" in arrays:
            buyer, known = arrays["bought/buyer"], rows < len(arrays["bought/buyer"])
            kept["bought/buyer"] = np.full(len(rows), NO_ROW, np.int32)
            kept["bought/buyer"][known] = buyer[rows[known]]
    return ITEMS_CODEC.encode(
        ItemsState(
            pack_arrays(kept),
            {"shoppers": shoppers, "items": loaded.ids.get("items", [])},
            loaded.cards,
            state.changed_cards,
            state.told,
            state.now_ms,
            None,
            state.batches,
        )
    )


def propensity_heir(state: LearnState, loaded: LoadedTables) -> bytes:
    """The first snapshot of `train_propensity`, with all shoppers in their rows."""
    known = loaded.arrays["audience"].get("known", np.empty(0, np.bool_))
    return PROPENSITY_CODEC.encode(
        PropensityState(
            pack_arrays(loaded.arrays["propensity"]),
            pack_arrays({"known": known}),
            loaded.ids.get("shoppers", []),
            state.now_ms,
            state.clock_ms,
            state.figures_ms,
            None,
            state.batches,
        )
    )
