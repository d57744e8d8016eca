"""The segment scan: counts in slices equal a count of all shoppers at once."""

from __future__ import annotations

from collections import Counter
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.segments import segment_scan
from operators.segments.membership_index import MembershipIndex
from operators.segments.segment_scan import SegmentScan
from state import keys
from state.arrays import NO_ROW
from state.entries import Transition
from state.interactions import RowIndex
from state.times import DAY_MS

if TYPE_CHECKING:
    from state.messages import Write

NOW_MS = 30 * DAY_MS
CLUSTERS, STAGES, RULES = ["cluster-0", "cluster-1"], ["lifecycle-new"], ["a", "b", "c"]

shoppers = st.lists(
    st.tuples(
        st.integers(NO_ROW, 1),
        st.booleans(),
        st.sets(st.sampled_from(RULES)),
        st.sampled_from([NOW_MS, NOW_MS - DAY_MS + 1, NOW_MS - DAY_MS]),
        st.booleans(),
    ),
    max_size=40,
)


def shop(people: list[tuple[int, bool, set[str], int, bool]]) -> MembershipIndex:
    index = MembershipIndex([*CLUSTERS, *STAGES])
    names = [f"s{n}" for n in range(len(people))]
    rows = np.arange(len(people), dtype=np.int32)
    at_ms = np.array([one[3] for one in people], np.int64)
    index.mark_active(rows, [False] * len(people), at_ms)
    index.assign("cluster", names, rows, np.array([one[0] for one in people], np.int16), at_ms)
    stage = np.array([2 if one[1] else NO_ROW for one in people], np.int16)
    index.assign("lifecycle", names, rows, stage, at_ms)
    vocabulary = RowIndex(names)
    for name, one in zip(names, people, strict=True):
        index.apply_transitions(
            [Transition(name, sid, True, one[3]) for sid in sorted(one[2])], vocabulary
        )
    for row, one in enumerate(people):
        if one[4]:
            index.count_order(row, 1, one[3])
    return index


def naive(index: MembershipIndex) -> tuple[dict[str, int], dict[str, dict[str, int]]]:
    """Active shoppers of each segment; shoppers in both of two."""
    active = Counter[str]()
    both: dict[str, dict[str, int]] = {sid: {} for sid in index.registry.ids}
    for row in range(index.rows):
        mine = [sid for sid, _ in index.memberships_of(row)]
        active.update(mine if index.last_ms[row] > NOW_MS - DAY_MS else [])
        for one, other in permutations(mine, 2):
            both[one][other] = both[one].get(other, 0) + 1
    return {sid: active[sid] for sid in index.registry.ids}, both


def replayed(writes: list[Write], told: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    for verb, key, *fields in writes:
        held = told.setdefault(str(key), {})
        if verb == "HSET":
            held |= dict(zip(map(str, fields[::2]), map(int, fields[1::2]), strict=True))
        else:
            for name in fields:
                held.pop(str(name), None)
    return told


@given(shoppers, st.integers(1, 60))
def test_a_scan_in_slices_equals_a_scan_at_once(
    people: list[tuple[int, bool, set[str], int, bool]], slice_rows: int
) -> None:
    index, taken = shop(people), SegmentScan()
    figures, both = naive(index)
    nobody = shop([])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segment_scan, "SCAN_ROWS", slice_rows)
        taken.scan(nobody, NOW_MS, last=False)
        for _ in range(max(len(people), index.overlapping.length) // slice_rows + 1):
            found = taken.scan(index, NOW_MS, last=False)
    assert dict(zip(index.registry.ids, found.active.tolist(), strict=True)) == figures
    told: dict[str, dict[str, int]] = {}
    for _ in index.registry.ids:
        replayed(taken.overlap_writes(index, last=False), told)
    assert told == {keys.overlap_key(sid): others for sid, others in both.items()}


def test_an_overlap_that_ended_is_deleted() -> None:
    everyone = [(0, True, {"a", "b"}, NOW_MS, True)]
    index, taken = shop(everyone), SegmentScan()
    taken.scan(index, NOW_MS, last=False)
    told = replayed(taken.overlap_writes(index, last=True), {})
    assert told[keys.overlap_key("a")] == {"cluster-0": 1, "lifecycle-new": 1, "b": 1}
    index.apply_transitions([Transition("s0", "b", False, NOW_MS)], RowIndex(["s0"]))
    taken.scan(index, NOW_MS, last=False)
    replayed(taken.overlap_writes(index, last=True), told)
    assert told[keys.overlap_key("a")] == {"cluster-0": 1, "lifecycle-new": 1}
    assert told[keys.overlap_key("b")] == {}
