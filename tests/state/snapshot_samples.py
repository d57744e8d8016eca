"""Golden files of snapshots: the state that each holds, for the codecs of today and of former versions.

`tests/golden/<state>-v<version>.bin` are snapshots of every version that was ever released. A new
version of a state needs an upgrade in `state/snapshots.py` and a new golden file, written by
`python -m tests.state.snapshot_samples`, which never overwrites one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from state import snapshots
from state.interactions import ItemCard
from state.journal_files import JournalPosition
from state.kpis import ORDER as ORDER_FACT
from state.kpis import Fact, FactItem, KpiRecord, KpiState
from state.messages import ShardTotals, SourceTotals
from state.shopper import AMOUNT_UNKNOWN, Order, RuleState, Session, Shopper
from state.snapshots import (
    ClustersState,
    CountersState,
    DevicesState,
    ItemsState,
    LearnState,
    PropensityState,
    RuleVersion,
    ShardRecord,
    ShardRulesState,
    SnapshotCodec,
    SourceState,
    TableRecord,
    UsersState,
    pack_arrays,
)

GOLDEN = Path(__file__).parents[1] / "golden"
CODECS: dict[str, SnapshotCodec[Any]] = {
    "source": snapshots.SOURCE_CODEC,
    "devices": snapshots.DEVICES_CODEC,
    "users": snapshots.USERS_CODEC,
    "rows": snapshots.SHARD_RECORD_CODEC,
    "learned": snapshots.LEARN_CODEC,
    "clusters": snapshots.CLUSTERS_CODEC,
    "propensity": snapshots.PROPENSITY_CODEC,
    "items": snapshots.ITEMS_CODEC,
    "kpis": snapshots.KPIS_CODEC,
    "kpi_rows": snapshots.KPI_RECORD_CODEC,
    "table": snapshots.TABLE_CODEC,
}
"""The name of the golden files -> the codec."""

KPI_RECORD = KpiRecord(
    {
        "ann": [
            Fact(
                bytes(range(8)),
                ORDER_FACT,
                1_600_000_000_000,
                (FactItem("mug", 2, 9_990_000),),
                *("l1", "home", "blend", "e", "b", "phone", "NL", "spring", "o1"),
                value_micros=9_990_000,
                units=1,
                packed=bytes(16),
            )
        ]
    },
    {"all": {444_444: list(range(13))}},
)


ORDER = Order(1_600_000_000_000, 12_340_000, 3, 11_000_000, bytes(range(16)), bytes(16), 2, "JPY")
SHOPPER = Shopper(
    known=True,
    first_ms=1_600_000_000_000,
    last_ms=1_600_000_900_000,
    events=9,
    views=3,
    revenue_micros=12_340_000,
    sessions=2,
    open_sessions=[Session(1_600_000_800_000, 1_600_000_900_000, 4, 2, 1, 0, 5_000_000, 2)],
    recent_event_hashes=bytes(range(16)),
    orders={b"12345678": ORDER, b"87654321": Order(1_600_000_000_000)},
    affinity={"wear/shoes": 1.5, "ünder": 0.25},
    affinity_scale=1322,
    currency="EUR",
    consent=(1_600_000_000_001, True, False, None),
    absence_start_ms=1_600_000_000_002,
    returned_ms=1_600_000_000_003,
    recent_event_details=bytes(range(1, 9)),
    unconverted_micros={"JPY": 5_000_000},
    unconverted_orders=1,
)
SHOPPER_WITH_RULES = msgspec.structs.replace(
    SHOPPER,
    open_sessions=[msgspec.structs.replace(SHOPPER.open_sessions[0], decisions=b"12345678\0")],
    rule_state=RuleState(
        {"keen": 1_600_000_900_000},
        {2**62 + 1: bytes(range(8))},
        {"device": (1_600_000_900_000, "phone")},
        {5: 1_600_001_000_000},
        1_600_001_000_000,
    ),
)
SHARD_RULES = ShardRulesState({"keen": 5}, {2**62 + 1: (1_600_000_000_000, 3)})
OLD_ORDERS = {b"12345678": Order(1_600_000_000_000, AMOUNT_UNKNOWN)}
SHOPPER_WITH_RULES_V5 = msgspec.structs.replace(
    SHOPPER_WITH_RULES,
    orders=OLD_ORDERS,
    recent_event_details=b"",
    unconverted_micros=None,
    unconverted_orders=0,
)
SHOPPER_WITH_RULES_V4 = msgspec.structs.replace(
    SHOPPER_WITH_RULES_V5, absence_start_ms=0, returned_ms=0
)
SHOPPER_V3 = msgspec.structs.replace(
    SHOPPER,
    orders=OLD_ORDERS,
    recent_event_details=b"",
    unconverted_micros=None,
    unconverted_orders=0,
    absence_start_ms=0,
    returned_ms=0,
)
TOTALS = ShardTotals(9, 1, 2, 1, 2, 1, 0, 1, 0, 5, 3, 7, 4, 8, 6)
TOTALS_V5 = msgspec.structs.replace(TOTALS, saturated=0, repeats=0, failed=0, suppressed=0)
TOTALS_V2 = msgspec.structs.replace(TOTALS_V5, evicted=0, returned=0)
READ = SourceTotals(12, {"not_json": 2}, {"item_view": 3})
HANDLE = JournalPosition("devices-17", 3, 5000, 4000, 123_456)
TOMBSTONES = {bytes(range(32)): 1_600_000_000_000}
WATERMARKS = {"shop": (1_600_000_600_000, False), "other": (5, True)}
CARD = ItemCard(5, "Mug", ("home",), None, 9.5, "EUR", True)
SAMPLES: dict[str, Any] = {
    "source": SourceState(12, 3, 1_600_000_600_000, True, READ, "a-topic"),
    "devices": DevicesState(
        {"ann": SHOPPER_WITH_RULES},
        {"ann": ("u", 18_518)},
        WATERMARKS,
        TOTALS,
        HANDLE,
        {"shop": 3},
        b"lineage.",
        {"eve": True},
        SHARD_RULES,
        {"u": 18_518},
        1_600_000_600_001,
        TOMBSTONES,
        True,
    ),
    "users": UsersState(
        {"u": SHOPPER_WITH_RULES},
        WATERMARKS,
        TOTALS,
        HANDLE,
        {"shop": 3},
        b"lineage.",
        {"eve": True},
        SHARD_RULES,
        TOMBSTONES,
        True,
    ),
    "rows": ShardRecord(
        {"ann": SHOPPER_WITH_RULES},
        ["bob"],
        {"ann": ("u", 18_518)},
        ["eve"],
        {"u": 18_518},
        ["zoe"],
        TOMBSTONES,
    ),
    "propensity": PropensityState(
        pack_arrays({"version": np.array([2]), "decided": np.array([5, 7])}),
        pack_arrays({"known": np.array([True, False])}),
        ["u", "ann"],
        1_600_000_900_000,
        1_600_000_800_000,
        1_600_000_700_000,
        HANDLE,
        {"shop": 3},
        is_unclean=True,
    ),
    "clusters": ClustersState(
        pack_arrays({"scaler.mean": np.array([1.5, 2.5]), "ended": np.empty((0, 2), np.int64)}),
        {4: ("Big spenders", 1)},
        {"users:0": 17},
        1_600_000_900_000,
        1_600_000_800_000,
        1_600_000_700_000,
        HANDLE,
        {"shop": 3},
    ),
    "learned": LearnState(
        vocabularies={"items": ["mug", "cup"]},
        recommender=pack_arrays({"table": np.arange(6, dtype=np.float32).reshape(2, 3)}),
        clusters=pack_arrays({"none": np.empty((0, 3)), "flag": np.array([True])}),
        audience={},
        cards={"mug": CARD},
        changed_cards=["mug"],
        change_ids={3: (5, 0)},
        ledger=CountersState({"shop": READ}, {"users:0": TOTALS}, 4, 2),
        defined={0: ("keen", 1)},
        now_ms=1_600_000_900_000,
        figures_ms=1_600_000_800_000,
        told=(7, 9),
        journal=HANDLE,
        batches={"shop": 3},
        propensity=pack_arrays({"session.labels": np.array([3, 1])}),
        clock_ms=1_600_000_700_000,
        rules={"vip": RuleVersion(5, 2, 1_600_000_600_000, "VIP", "The best.", "aov", "live")},
        views=pack_arrays({"next": np.array([3])}),
        is_unclean=True,
    ),
    "kpis": KpiState(
        {"0": 7},
        1_600_000_000_000,
        1_600_000_000_001,
        1_600_000_000_002,
        444_444,
        is_unclean=True,
        journal=JournalPosition("kpis", 2, 300, 100, 7),
        record=KPI_RECORD,
        unpublished=[("all", 444_444)],
    ),
    "kpi_rows": KPI_RECORD,
    "items": ItemsState(
        pack_arrays({"seen/at_ms": np.array([5, 7])}),
        {"items": ["mug", "cup"], "shoppers": ["ann"]},
        {"mug": CARD},
        ["mug"],
        (3, 4),
        1_600_000_900_000,
        HANDLE,
        {"shop": 3},
        is_unclean=True,
    ),
    "table": TableRecord(
        "recommender",
        5,
        np.array([1, 4], np.int32).tobytes(),
        pack_arrays({"table": np.arange(6, dtype=np.float32).reshape(2, 3)}),
        ["mug", "cup"],
        {"mug": CARD},
    ),
}


DEVICES_V5 = msgspec.structs.replace(
    SAMPLES["devices"], known={}, undecided_from_ms=None, erased={}, is_unclean=False
)
ROWS_V3 = msgspec.structs.replace(SAMPLES["rows"], known={}, unknown=[], erased={})
LEDGER_V6 = CountersState({"shop": READ}, {"users:0": TOTALS_V5}, 4, 2)
LEDGER_V2 = CountersState({"shop": READ}, {"users:0": TOTALS_V2}, 4, 2)
USERS_V5 = msgspec.structs.replace(
    SAMPLES["users"],
    rows={"u": SHOPPER_WITH_RULES_V5},
    totals=TOTALS_V5,
    erased={},
    is_unclean=False,
)
LEARNED_V6 = msgspec.structs.replace(SAMPLES["learned"], ledger=LEDGER_V6, is_unclean=False)
LEARNED_V5 = msgspec.structs.replace(LEARNED_V6, views={})
LEARNED_V4 = msgspec.structs.replace(LEARNED_V5, clock_ms=0, rules={})
LEARNED_V3 = msgspec.structs.replace(LEARNED_V4, propensity={})
LEARNED_V2 = msgspec.structs.replace(LEARNED_V3, ledger=LEDGER_V2)
FORMER: dict[str, Any] = {
    "source-v1": msgspec.structs.replace(SAMPLES["source"], topic_id=""),
    "devices-v1": DevicesState({"ann": SHOPPER_V3}, {"ann": ("u", 18_518)}, WATERMARKS, TOTALS_V2),
    "devices-v2": DevicesState(
        {"ann": SHOPPER_V3}, {"ann": ("u", 18_518)}, WATERMARKS, TOTALS_V2, HANDLE, {"shop": 3}
    ),
    "devices-v3": msgspec.structs.replace(
        DEVICES_V5, rows={"ann": SHOPPER_V3}, rules=ShardRulesState(), totals=TOTALS_V5
    ),
    "devices-v4": msgspec.structs.replace(
        DEVICES_V5, rows={"ann": SHOPPER_WITH_RULES_V4}, totals=TOTALS_V5
    ),
    "devices-v5": msgspec.structs.replace(
        DEVICES_V5, rows={"ann": SHOPPER_WITH_RULES_V5}, totals=TOTALS_V5
    ),
    "users-v1": UsersState({"u": SHOPPER_V3}, WATERMARKS, TOTALS_V2),
    "users-v2": UsersState({"u": SHOPPER_V3}, WATERMARKS, TOTALS_V2, HANDLE, {"shop": 3}),
    "users-v3": msgspec.structs.replace(USERS_V5, rows={"u": SHOPPER_V3}, rules=ShardRulesState()),
    "users-v4": msgspec.structs.replace(USERS_V5, rows={"u": SHOPPER_WITH_RULES_V4}),
    "users-v5": USERS_V5,
    "rows-v1": msgspec.structs.replace(ROWS_V3, rows={"ann": SHOPPER_V3}),
    "rows-v2": msgspec.structs.replace(ROWS_V3, rows={"ann": SHOPPER_WITH_RULES_V4}),
    "rows-v3": msgspec.structs.replace(ROWS_V3, rows={"ann": SHOPPER_WITH_RULES_V5}),
    "learned-v1": msgspec.structs.replace(
        LEARNED_V2, figures_ms=0, told=(0, 0), journal=None, batches={}
    ),
    "learned-v2": LEARNED_V2,
    "learned-v3": LEARNED_V3,
    "learned-v4": LEARNED_V4,
    "learned-v5": LEARNED_V5,
    "learned-v6": LEARNED_V6,
    "learned-v7": SAMPLES["learned"],
    "table-v1": SAMPLES["table"],
}
"""Golden file of a former version -> its state, where the sample of today has more fields."""


def write_golden() -> None:
    """Write the golden files of versions that have none yet; never overwrite one."""
    for name, codec in CODECS.items():
        path = GOLDEN / f"{name}-v{codec.version}.bin"
        if not path.exists():
            path.write_bytes(codec.encode(SAMPLES[name]))


if __name__ == "__main__":
    write_golden()
