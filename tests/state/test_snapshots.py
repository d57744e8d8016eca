"""Snapshots: what is stored comes back, old bytes stay readable, other bytes say what to do.

`tests/golden/<state>-v<version>.bin` are snapshots of every version that was ever released. A new
version of a state needs an upgrade in `state/snapshots.py` and new bytes beside the old, written by
`python -m tests.state.test_snapshots`, which never writes over any.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.personalize.step import PersonalizeStep
from operators.shards.device_shard import DeviceShard
from operators.shards.user_shard import UserShard
from state import snapshots
from state.config import Settings
from state.errors import SnapshotError
from state.interactions import ItemCard
from state.journal_files import JournalPosition
from state.messages import ShardTotals, SourceTotals
from state.shopper import (
    AMOUNT_UNKNOWN,
    ConsentStatement,
    Order,
    RefusalTimes,
    RuleState,
    Session,
    Shopper,
)
from state.snapshots import (
    DEVICES_CODEC,
    USERS_CODEC,
    CountersState,
    DevicesState,
    LearnState,
    RuleVersion,
    ShardRecord,
    ShardRulesState,
    SnapshotCodec,
    SourceState,
    StoredArray,
    TableRecord,
    UsersState,
    pack_arrays,
    unpack_arrays,
)
from tests.streams import RULES

GOLDEN = Path(__file__).parents[1] / "golden"
CODECS: dict[str, SnapshotCodec[Any]] = {
    "source": snapshots.SOURCE_CODEC,
    "devices": snapshots.DEVICES_CODEC,
    "users": snapshots.USERS_CODEC,
    "rows": snapshots.SHARD_RECORD_CODEC,
    "learned": snapshots.LEARN_CODEC,
    "table": snapshots.TABLE_CODEC,
}
"""The name of the golden files -> the codec."""


def test_every_codec_has_golden_files() -> None:
    every = [codec for codec in vars(snapshots).values() if isinstance(codec, SnapshotCodec)]
    assert len(every) == len(CODECS)
    assert all(codec in CODECS.values() for codec in every)


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
RULED = msgspec.structs.replace(
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
RULES_KEPT = ShardRulesState({"keen": 5}, {2**62 + 1: (1_600_000_000_000, 3)})
OLD_ORDERS = {b"12345678": Order(1_600_000_000_000, AMOUNT_UNKNOWN)}
RULED_V5 = msgspec.structs.replace(
    RULED,
    orders=OLD_ORDERS,
    recent_event_details=b"",
    unconverted_micros=None,
    unconverted_orders=0,
)
RULED_V4 = msgspec.structs.replace(RULED_V5, absence_start_ms=0, returned_ms=0)
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
SAMPLES: dict[str, Any] = {
    "source": SourceState(12, 3, 1_600_000_600_000, True, READ, "a-topic"),
    "devices": DevicesState(
        {"ann": RULED},
        {"ann": ("u", 18_518)},
        WATERMARKS,
        TOTALS,
        HANDLE,
        {"shop": 3},
        b"lineage.",
        {"eve": True},
        RULES_KEPT,
        {"u": 18_518},
        1_600_000_600_001,
        TOMBSTONES,
        True,
    ),
    "users": UsersState(
        {"u": RULED},
        WATERMARKS,
        TOTALS,
        HANDLE,
        {"shop": 3},
        b"lineage.",
        {"eve": True},
        RULES_KEPT,
        TOMBSTONES,
        True,
    ),
    "rows": ShardRecord(
        {"ann": RULED},
        ["bob"],
        {"ann": ("u", 18_518)},
        ["eve"],
        {"u": 18_518},
        ["zoe"],
        TOMBSTONES,
    ),
    "learned": LearnState(
        vocabularies={"items": ["mug", "cup"]},
        recommender=pack_arrays({"table": np.arange(6, dtype=np.float32).reshape(2, 3)}),
        clusters=pack_arrays({"none": np.empty((0, 3)), "flag": np.array([True])}),
        audience={},
        cards={"mug": ItemCard(5, "Mug", ("home",), None, 9.5, "EUR", True)},
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
    "table": TableRecord(
        "recommender",
        5,
        np.array([1, 4], np.int32).tobytes(),
        pack_arrays({"table": np.arange(6, dtype=np.float32).reshape(2, 3)}),
        ["mug", "cup"],
        {"mug": ItemCard(5, "Mug", ("home",), None, 9.5, "EUR", True)},
    ),
}


DEVICES_V5 = msgspec.structs.replace(
    SAMPLES["devices"], known={}, undecided_from_ms=None, erased={}, is_unclean=False
)
ROWS_V3 = msgspec.structs.replace(SAMPLES["rows"], known={}, unknown=[], erased={})
LEDGER_V6 = CountersState({"shop": READ}, {"users:0": TOTALS_V5}, 4, 2)
LEDGER_V2 = CountersState({"shop": READ}, {"users:0": TOTALS_V2}, 4, 2)
USERS_V5 = msgspec.structs.replace(
    SAMPLES["users"], rows={"u": RULED_V5}, totals=TOTALS_V5, erased={}, is_unclean=False
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
    "devices-v4": msgspec.structs.replace(DEVICES_V5, rows={"ann": RULED_V4}, totals=TOTALS_V5),
    "devices-v5": msgspec.structs.replace(DEVICES_V5, rows={"ann": RULED_V5}, totals=TOTALS_V5),
    "users-v1": UsersState({"u": SHOPPER_V3}, WATERMARKS, TOTALS_V2),
    "users-v2": UsersState({"u": SHOPPER_V3}, WATERMARKS, TOTALS_V2, HANDLE, {"shop": 3}),
    "users-v3": msgspec.structs.replace(USERS_V5, rows={"u": SHOPPER_V3}, rules=ShardRulesState()),
    "users-v4": msgspec.structs.replace(USERS_V5, rows={"u": RULED_V4}),
    "users-v5": USERS_V5,
    "rows-v1": msgspec.structs.replace(ROWS_V3, rows={"ann": SHOPPER_V3}),
    "rows-v2": msgspec.structs.replace(ROWS_V3, rows={"ann": RULED_V4}),
    "rows-v3": msgspec.structs.replace(ROWS_V3, rows={"ann": RULED_V5}),
    "learned-v1": msgspec.structs.replace(
        LEARNED_V2, figures_ms=0, told=(0, 0), journal=None, batches={}
    ),
    "learned-v2": LEARNED_V2,
    "learned-v3": LEARNED_V3,
    "learned-v4": LEARNED_V4,
    "learned-v5": LEARNED_V5,
    "learned-v6": LEARNED_V6,
}
"""What bytes of a former version hold, where the sample of today has more."""


def write_golden() -> None:
    """Write the bytes of versions that have none yet."""
    for name, codec in CODECS.items():
        path = GOLDEN / f"{name}-v{codec.version}.bin"
        if not path.exists():
            path.write_bytes(codec.encode(SAMPLES[name]))


def test_every_codec_has_a_sample_with_no_field_left_at_its_default() -> None:
    assert CODECS.keys() == SAMPLES.keys()
    empty = {"audience"}
    for sample in SAMPLES.values():
        for field in msgspec.structs.fields(type(sample)):
            assert getattr(sample, field.name) or field.name in empty


@pytest.mark.parametrize("name", CODECS)
def test_what_is_stored_comes_back(name: str) -> None:
    codec, sample = CODECS[name], SAMPLES[name]
    assert codec.decode(codec.encode(sample)) == sample


whole = st.integers(-(2**62), 2**62)
answers = st.none() | st.booleans()
OF_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: whole,
    str: st.text(max_size=5),
    bytes: st.binary(max_size=16),
    dict[str, float]: st.dictionaries(st.text(max_size=5), st.floats(allow_nan=False), max_size=2),
    str | None: st.none() | st.text(max_size=5),
    ConsentStatement: st.tuples(whole, answers, answers, answers),
    RefusalTimes: st.tuples(whole, whole, whole),
    tuple[str, ...]: st.lists(st.text(max_size=5), max_size=2).map(tuple),
}


def any_of(kind: type[Any]) -> st.SearchStrategy[Any]:
    return st.builds(kind, **{f.name: OF_TYPE[f.type] for f in msgspec.structs.fields(kind)})


OF_TYPE |= {
    dict[str, int]: st.dictionaries(st.text(max_size=5), whole, max_size=2),
    dict[int, int]: st.dictionaries(whole, whole, max_size=2),
    dict[int, bytes]: st.dictionaries(whole, st.binary(max_size=16), max_size=2),
    dict[str, tuple[int, str]]: st.dictionaries(
        st.text(max_size=5), st.tuples(whole, st.text(max_size=5)), max_size=2
    ),
}
OF_TYPE[dict[str, int] | None] = st.none() | OF_TYPE[dict[str, int]]
OF_TYPE[RuleState | None] = st.none() | any_of(RuleState)
OF_TYPE[dict[bytes, Order]] = st.dictionaries(st.binary(max_size=8), any_of(Order), max_size=2)
OF_TYPE[list[Session]] = st.lists(any_of(Session), max_size=2)


@given(st.dictionaries(st.text(max_size=5), any_of(Shopper), max_size=2), any_of(ShardTotals))
def test_any_shopper_comes_back(rows: dict[str, Shopper], totals: ShardTotals) -> None:
    state = UsersState(rows, WATERMARKS, totals)
    assert USERS_CODEC.decode(USERS_CODEC.encode(state)) == state
    devices = DevicesState(rows, {"a": ("u", 1)}, WATERMARKS, totals)
    assert DEVICES_CODEC.decode(DEVICES_CODEC.encode(devices)) == devices


@pytest.mark.parametrize("dtype", ["<i2", "<i4", "<i8", "<f4", "<f8", "|b1", "|i1", "|u1"])
@pytest.mark.parametrize("shape", [(0,), (3,), (0, 4), (2, 3), (2, 3, 4)])
def test_arrays_come_back_and_may_be_written_to(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    turned = array.T
    stored = msgspec.msgpack.decode(
        msgspec.msgpack.encode(pack_arrays({"a": array, "b": turned})), type=dict[str, StoredArray]
    )
    back = unpack_arrays(stored)
    for before, after in ((array, back["a"]), (turned, back["b"])):
        assert (after.dtype, after.shape) == (before.dtype, before.shape)
        assert after.tobytes() == np.ascontiguousarray(before).tobytes()
        assert after.flags.writeable


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.bin")), ids=lambda path: path.stem)
def test_bytes_of_every_version_stay_readable(path: Path) -> None:
    name, _, version = path.stem.partition("-v")
    codec = CODECS[name]
    assert codec.decode(path.read_bytes()) == FORMER.get(path.stem, SAMPLES[name])
    if int(version) == codec.version:
        assert codec.encode(SAMPLES[name]) == path.read_bytes()


def test_every_version_has_its_bytes() -> None:
    assert {path.name for path in GOLDEN.glob("*.bin")} == {
        f"{name}-v{version}.bin"
        for name, codec in CODECS.items()
        for version in range(1, codec.version + 1)
    }


@given(st.sampled_from(sorted(CODECS)), st.data())
def test_a_damaged_snapshot_is_named(name: str, data: st.DataObject) -> None:
    blob = bytearray(CODECS[name].encode(SAMPLES[name]))
    if data.draw(st.booleans()):
        blob = blob[: data.draw(st.integers(0, len(blob) - 1))]
    else:
        blob[data.draw(st.integers(0, len(blob) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(SnapshotError, match=r"empty snapshot|checksum is wrong|roll forward"):
        CODECS[name].decode(bytes(blob))


@given(st.binary())
def test_no_other_bytes_are_a_snapshot(blob: bytes) -> None:
    for codec in CODECS.values():
        with pytest.raises(SnapshotError):
            codec.decode(blob)


class Old(msgspec.Struct):
    """Version 1: a name."""

    name: str


class New(msgspec.Struct):
    """Version 2: first and last name."""

    first: str
    last: str


class TestVersions:
    def upgraded(self, fields: dict[str, str]) -> dict[str, str]:
        first, _, last = fields["name"].partition(" ")
        return {"first": first, "last": last}

    def test_an_older_version_is_upgraded(self) -> None:
        blob = SnapshotCodec(Old, version=1).encode(Old("Ann Lee"))
        codec = SnapshotCodec(New, version=2, upgrades={1: self.upgraded})
        assert codec.decode(blob) == New("Ann", "Lee")

    def test_a_newer_version_says_to_roll_forward(self) -> None:
        blob = SnapshotCodec(New, version=2).encode(New("Ann", "Lee"))
        with pytest.raises(
            SnapshotError, match=r"version 2, this release reads up to 1: roll forw"
        ):
            SnapshotCodec(Old, version=1).decode(blob)

    def test_a_version_without_an_upgrade_says_which_release_to_use(self) -> None:
        blob = SnapshotCodec(Old, version=1).encode(Old("Ann Lee"))
        with pytest.raises(SnapshotError, match="use the release that wrote it"):
            SnapshotCodec(New, version=2).decode(blob)

    def test_bytes_of_another_kind_of_state_are_refused(self) -> None:
        with pytest.raises(SnapshotError):
            SnapshotCodec(New, version=1).decode(SnapshotCodec(Old, version=1).encode(Old("x")))


def test_a_new_flow_and_one_restored_from_it_store_the_same() -> None:
    device, user = DeviceShard(RULES), UserShard(RULES)
    assert DeviceShard(RULES, device.snapshot()).snapshot() == device.snapshot()
    assert UserShard(RULES, user.snapshot()).snapshot() == user.snapshot()
    settings = Settings()
    learning = PersonalizeStep(settings)
    assert PersonalizeStep(settings, learning.snapshot()).snapshot() == learning.snapshot()


if __name__ == "__main__":
    write_golden()
