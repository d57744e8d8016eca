"""Snapshots: decoding gives the encoded state, old versions stay readable, other bytes are refused.

The golden files and their states: `snapshot_samples`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.shards.device_shard import DeviceShard
from operators.shards.user_shard import UserShard
from state import snapshots
from state.config import Settings
from state.errors import SnapshotError
from state.messages import ShardTotals
from state.shopper import ConsentStatement, Order, RefusalTimes, RuleState, Session, Shopper
from state.snapshots import (
    DEVICES_CODEC,
    USERS_CODEC,
    DevicesState,
    SnapshotCodec,
    StoredArray,
    UsersState,
    pack_arrays,
    unpack_arrays,
)
from tests.personalization import Personalization
from tests.state.snapshot_samples import CODECS, FORMER, GOLDEN, SAMPLES, WATERMARKS
from tests.streams import RULES

if TYPE_CHECKING:
    from pathlib import Path


def test_every_codec_has_golden_files() -> None:
    every = [codec for codec in vars(snapshots).values() if isinstance(codec, SnapshotCodec)]
    assert len(every) == len(CODECS)
    assert all(codec in CODECS.values() for codec in every)


def test_every_codec_has_a_sample_with_no_field_left_at_its_default() -> None:
    assert CODECS.keys() == SAMPLES.keys()
    empty = {"audience"}
    for sample in SAMPLES.values():
        for field in msgspec.structs.fields(type(sample)):
            assert getattr(sample, field.name) or field.name in empty


@pytest.mark.parametrize("name", CODECS)
def test_a_decoded_snapshot_equals_the_encoded_state(name: str) -> None:
    codec, sample = CODECS[name], SAMPLES[name]
    assert codec.decode(codec.encode(sample)) == sample


integers = st.integers(-(2**62), 2**62)
answers = st.none() | st.booleans()
OF_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: integers,
    str: st.text(max_size=5),
    bytes: st.binary(max_size=16),
    dict[str, float]: st.dictionaries(st.text(max_size=5), st.floats(allow_nan=False), max_size=2),
    str | None: st.none() | st.text(max_size=5),
    ConsentStatement: st.tuples(integers, answers, answers, answers),
    RefusalTimes: st.tuples(integers, integers, integers),
    tuple[str, ...]: st.lists(st.text(max_size=5), max_size=2).map(tuple),
}


def any_of(kind: type[Any]) -> st.SearchStrategy[Any]:
    return st.builds(kind, **{f.name: OF_TYPE[f.type] for f in msgspec.structs.fields(kind)})


OF_TYPE |= {
    dict[str, int]: st.dictionaries(st.text(max_size=5), integers, max_size=2),
    dict[int, int]: st.dictionaries(integers, integers, max_size=2),
    dict[int, bytes]: st.dictionaries(integers, st.binary(max_size=16), max_size=2),
    dict[str, tuple[int, str]]: st.dictionaries(
        st.text(max_size=5), st.tuples(integers, st.text(max_size=5)), max_size=2
    ),
}
OF_TYPE[dict[str, int] | None] = st.none() | OF_TYPE[dict[str, int]]
OF_TYPE[RuleState | None] = st.none() | any_of(RuleState)
OF_TYPE[dict[bytes, Order]] = st.dictionaries(st.binary(max_size=8), any_of(Order), max_size=2)
OF_TYPE[list[Session]] = st.lists(any_of(Session), max_size=2)


@given(st.dictionaries(st.text(max_size=5), any_of(Shopper), max_size=2), any_of(ShardTotals))
def test_any_decoded_shopper_equals_the_encoded_one(
    rows: dict[str, Shopper], totals: ShardTotals
) -> None:
    state = UsersState(rows, WATERMARKS, totals)
    assert USERS_CODEC.decode(USERS_CODEC.encode(state)) == state
    devices = DevicesState(rows, {"a": ("u", 1)}, WATERMARKS, totals)
    assert DEVICES_CODEC.decode(DEVICES_CODEC.encode(devices)) == devices


@pytest.mark.parametrize("dtype", ["<i2", "<i4", "<i8", "<f4", "<f8", "|b1", "|i1", "|u1"])
@pytest.mark.parametrize("shape", [(0,), (3,), (0, 4), (2, 3), (2, 3, 4)])
def test_unpacked_arrays_equal_the_packed_ones_and_are_writable(
    dtype: str, shape: tuple[int, ...]
) -> None:
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


def test_every_version_has_a_golden_file() -> None:
    assert {path.name for path in GOLDEN.glob("*.bin")} == {
        f"{name}-v{version}.bin"
        for name, codec in CODECS.items()
        for version in range(1, codec.version + 1)
    }


@given(st.sampled_from(sorted(CODECS)), st.data())
def test_a_damaged_snapshot_is_refused_with_the_reason(name: str, data: st.DataObject) -> None:
    blob = bytearray(CODECS[name].encode(SAMPLES[name]))
    if data.draw(st.booleans()):
        blob = blob[: data.draw(st.integers(0, len(blob) - 1))]
    else:
        blob[data.draw(st.integers(0, len(blob) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(SnapshotError, match=r"empty snapshot|checksum is wrong|roll forward"):
        CODECS[name].decode(bytes(blob))


@given(st.binary())
def test_any_other_bytes_are_refused(blob: bytes) -> None:
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


def test_a_new_flow_and_one_restored_from_its_snapshot_have_equal_snapshots() -> None:
    device, user = DeviceShard(RULES), UserShard(RULES)
    assert DeviceShard(RULES, device.snapshot()).snapshot() == device.snapshot()
    assert UserShard(RULES, user.snapshot()).snapshot() == user.snapshot()
    settings = Settings()
    learning = Personalization(settings)
    assert Personalization(settings, learning.snapshot()).snapshot() == learning.snapshot()
