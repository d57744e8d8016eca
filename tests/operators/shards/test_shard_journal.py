"""The journal of a shard: a snapshot writes only changed rows, and a resumed shard has the same state.

`Flow` runs without Bytewax; here its shards keep their rows in journals.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from operators.shards.device_shard import DeviceShard
from operators.shards.user_shard import UserShard
from state.journal import Journals
from state.journal_files import list_journals
from state.snapshots import DEVICES_CODEC, USERS_CODEC
from tests.streams import GAP_MS, RULES, SHARDS, Flow, event, facts, fold, streams, view

if TYPE_CHECKING:
    from state.events import Event

Blobs = list[tuple[bytes | None, bytes | None]]


class StoredFlow(Flow):
    """A flow whose rows are in journals; `stored` is a snapshot of every shard."""

    def __init__(self, folder: Path, blobs: Blobs) -> None:
        super().__init__()
        self.folder = folder
        journals = Journals(folder, ratio=1.0)
        self.devices = [DeviceShard(RULES, blob, journals) for blob, _ in blobs]
        self.users = [UserShard(RULES, blob, journals) for _, blob in blobs]

    @classmethod
    def new(cls, folder: Path) -> StoredFlow:
        return cls(folder, [(None, None)] * SHARDS)

    def stored(self) -> Blobs:
        pairs = zip(self.devices, self.users, strict=True)
        return [(device.snapshot(), user.snapshot()) for device, user in pairs]

    def going_on_from(self, blobs: Blobs) -> StoredFlow:
        other = StoredFlow(self.folder, blobs)
        other.clocks, other.visited, other.rejected = self.clocks, self.visited, self.rejected
        return other


@given(streams(settled=False), st.data())
def test_a_resume_anywhere_changes_nothing(stream: list[Event], data: st.DataObject) -> None:
    """Batches, snapshots and resumes in any order; some of what is written belongs to no snapshot."""
    with tempfile.TemporaryDirectory() as name:
        flow = StoredFlow.new(Path(name))
        rest = list(stream)
        while rest:
            some = data.draw(st.integers(1, 10))
            flow.feed(rest[:some])
            del rest[:some]
            then = data.draw(st.sampled_from(["go on", "snapshot", "resume", "lose"]))
            if then == "snapshot":
                flow.stored()
            elif then != "go on":
                blobs = flow.stored()
                if then == "lose":
                    lost = flow.going_on_from(blobs)
                    lost.clocks, lost.visited = {}, []
                    lost.feed(stream[:20])
                    lost.stored()
                flow = flow.going_on_from(blobs)
        flow.feed([], last=True)
        assert facts(flow.outcome()) == facts(fold(stream))


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path, _, _ in list_journals(folder))


def test_a_snapshot_costs_what_changed(tmp_path: Path) -> None:
    flow = StoredFlow.new(tmp_path)
    flow.feed([view(n, 0, f"ann {n}") for n in range(4000)])
    flow.stored()
    base = size(tmp_path)
    flow.feed([view("more", 1, "ann 5")])
    flow.stored()
    assert 0 < size(tmp_path) - base < base / 1000
    flow.feed([])
    before = size(tmp_path)
    flow.stored()
    assert size(tmp_path) == before


def test_a_journal_that_has_grown_is_rewritten(tmp_path: Path) -> None:
    flow = StoredFlow.new(tmp_path)
    for turn in range(12):
        flow.feed([view(f"{turn} {n}", turn, f"ann {n}") for n in range(1000)])
        flow.stored()
    generations = [generation for _, _, generation in list_journals(tmp_path)]
    assert max(generations) > 1
    blobs = flow.stored()
    used = {DEVICES_CODEC.decode(device or b"").journal for device, _ in blobs}
    used |= {USERS_CODEC.decode(user or b"").journal for _, user in blobs}
    whole = Flow()
    whole.feed([view(n, 0, f"ann {n}") for n in range(1000)])
    whole_size = sum(len(device.snapshot()) for device in whole.devices)
    assert sum(handle.length for handle in used if handle) < 4 * whole_size
    assert facts(flow.going_on_from(blobs).outcome()) == facts(flow.outcome())


def test_closed_sessions_and_transferred_or_erased_shoppers_are_changes(tmp_path: Path) -> None:
    flow = StoredFlow.new(tmp_path)
    flow.feed(
        [view(1, 0, "ann"), view(2, 0, "bob"), view(3, 0, "eve"), view(4, 0, "eve", user_id="eva")]
    )
    flow.stored()
    flow.feed([event("erase", 5, 1, "bob"), event("identify", 6, 2, "ann", "anna")])
    flow.stored()
    flow.feed([event("erase", 7, 3, "eve", "eva"), view(8, 4 * GAP_MS, "zoe")])
    flow.feed([view(9, 4 * GAP_MS + 1, "zoe")])
    again = flow.going_on_from(flow.stored())
    assert facts(again.outcome()) == facts(flow.outcome())
    assert not [s for d in again.devices for n, s in d.shoppers.rows.items() if n != "zoe"]


def test_a_snapshot_that_holds_all_rows_itself_begins_a_journal(tmp_path: Path) -> None:
    whole = Flow()
    whole.feed([view(n, n, f"ann {n}") for n in range(50)])
    pairs = list(zip(whole.devices, whole.users, strict=True))
    flow = StoredFlow(tmp_path, [(device.snapshot(), user.snapshot()) for device, user in pairs])
    # No message has come yet that names the shards.
    assert flow.stored() == [(device.snapshot(), user.snapshot()) for device, user in pairs]
    flow.clocks = whole.clocks
    flow.feed([])
    blobs = flow.stored()
    assert all(DEVICES_CODEC.decode(device or b"").rows == {} for device, _ in blobs)
    assert facts(flow.going_on_from(blobs).outcome()) == facts(whole.outcome())
