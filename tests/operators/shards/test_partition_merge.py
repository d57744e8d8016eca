"""Shards merged into fewer keep what all of them kept, and a name is found in the shard of its hash."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

import pytest

from operators.shards.device_shard import DeviceShard
from operators.shards.partition_merge import merge_shards, regroup_totals, store_rows
from operators.shards.shard_journal import ShardJournal
from operators.shards.sharding import shard_of
from state.errors import RecoveryError
from state.journal import Journals
from state.messages import ShardTotals
from state.shopper import Shopper
from state.snapshots import DEVICES_CODEC, DevicesState, ShardRecord, ShardRulesState
from tests.streams import RULES

if TYPE_CHECKING:
    from pathlib import Path

NAMES = [f"shopper {number}" for number in range(200)]
OLD, NEW = 64, 8


def old_shards() -> list[tuple[DevicesState, ShardRecord]]:
    """Shards that keep the shoppers of their hash."""
    shards = []
    for shard in range(OLD):
        names = [name for name in NAMES if shard_of(name, OLD) == shard]
        rows = {name: Shopper(False, 1, 5, events=len(name)) for name in names}
        record = ShardRecord(
            rows=rows,
            links={f"device of {name}": ("ann", 3) for name in names},
            known=dict.fromkeys(names[:1], 7),
            erased={b"both": shard, bytes([shard]): 9},
        )
        state = DevicesState(
            watermarks={"topic-0": (100 + shard % 3, False)},
            totals=ShardTotals(accepted=shard, shoppers=len(names)),
            batches={"topic-0": 4},
            lineage=b"the run.",
            gone={f"gone {shard}": True},
            rules=ShardRulesState({"vip": 5}, {9: (shard, 100 - shard)}),
            undecided_from_ms=shard,
            is_unclean=shard == 13,
        )
        shards.append((state, record))
    return shards


def test_every_new_shard_keeps_what_is_of_its_names(tmp_path: Path) -> None:
    shards, journals = old_shards(), Journals(tmp_path, ratio=1.0)
    found: set[str] = set()
    for shard in range(NEW):
        own = shards[shard::NEW]
        merged, rows = merge_shards([state for state, _ in own], [record for _, record in own])
        assert all(shard_of(name, NEW) == shard for name in rows.rows)
        found |= rows.rows.keys()
        assert rows.links.keys() == {f"device of {name}" for name in rows.rows}
        assert merged.totals.shoppers == len(rows.rows)
        assert merged.totals.accepted == sum(range(shard, OLD, NEW))
        assert merged.watermarks == {"topic-0": (102, False)}
        assert (merged.batches, merged.lineage) == ({"topic-0": 4}, b"the run.")
        assert merged.gone == {f"gone {old}": True for old in range(shard, OLD, NEW)}
        last = OLD - NEW + shard
        assert merged.rules == ShardRulesState({"vip": 5}, {9: (last, 100 - last)})
        assert merged.undecided_from_ms == last
        assert merged.is_unclean == (shard == 13 % NEW)
        assert rows.erased[b"both"] == last
        merged.journal = store_rows(journals, f"devices-{shard}", rows)
        assert ShardJournal("devices", journals).load(merged) == rows
        shop = DeviceShard(RULES, DEVICES_CODEC.encode(merged), journals)
        assert shop.shoppers.rows == rows.rows
    assert found == {*NAMES}


def test_totals_of_shards_are_summed_by_kind() -> None:
    totals = {
        f"{kind}:{number}": ShardTotals(accepted=number, late=1)
        for kind in ("devices", "users")
        for number in range(OLD)
    }
    regrouped = regroup_totals(totals, NEW)
    assert regrouped == {
        f"{kind}:{shard}": ShardTotals(accepted=sum(range(shard, OLD, NEW)), late=OLD // NEW)
        for kind in ("devices", "users")
        for shard in range(NEW)
    }


def test_evicted_shoppers_of_several_runs_are_an_error_that_says_what_to_do() -> None:
    shards = [deepcopy(state) for state, _ in old_shards()[:2]]
    records = [record for _, record in old_shards()[:2]]
    shards[1].lineage = b"another."
    merge_shards(shards, records)
    shards[0].totals.evicted = 1
    with pytest.raises(RecoveryError, match=r"set sessions\.shards to their number"):
        merge_shards(shards, records)
