"""Memberships: entries and exits of all kinds, their writes, sizes, and a restart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from operators.publish import memberships
from operators.segments.kinds import EXCLUSIVE_KINDS
from operators.segments.membership_index import MembershipIndex
from operators.segments.membership_pool import MembershipPool
from state import keys
from state.arrays import NO_ROW
from state.changes import Change
from state.entries import Transition
from state.interactions import RowIndex
from state.money import MICROS_PER_UNIT
from state.times import DAY_MS, HOUR_MS
from tests.streams import arguments

if TYPE_CHECKING:
    from state.messages import Arguments, Write

NAMES = ["ann", "bob", "cat"]
CLUSTERS = [f"cluster-{n}" for n in range(3)]
STAGES = ["lifecycle-new", "lifecycle-active"]
RULES = ["vip", "cart-left", "deal-hunter"]
EXPIRE = ("EXPIRE", keys.segments_key("ann"), str(90 * 86_400))


def put(
    assigned: MembershipIndex, segments: dict[str, int], at_ms: int = 0, kind: str = "cluster"
) -> list[Change]:
    names = list(segments)
    rows = np.array([NAMES.index(name) for name in names], np.int32)
    seen_ms = np.full(len(names), at_ms, np.int64)
    assigned.mark_active(rows, [name == "bob" for name in names], seen_ms)
    places = np.array(list(segments.values()), np.int16)
    return assigned.assign(kind, names, rows, places, seen_ms)


def apply(assigned: MembershipIndex, *transitions: tuple[str, str, bool, int]) -> list[Change]:
    return assigned.apply_transitions([Transition(*one) for one in transitions], RowIndex(NAMES))


def test_memberships_that_older_releases_stored_by_cluster_number_are_restored() -> None:
    former = MembershipIndex(CLUSTERS)
    put(former, {"ann": 2, "bob": 0})
    arrays = {name: one for name, one in former.arrays().items() if name != "roster"}
    now = MembershipIndex([*STAGES, *RULES])
    now.restore(arrays)
    ids = now.registry.ids
    assert [ids[now.segment_of("cluster", row)] for row in (0, 1)] == ["cluster-2", "cluster-0"]
    assert {*STAGES, *RULES} < {*ids}


def written(changes: list[Change]) -> list[Arguments]:
    return [arguments(write) for write in memberships.membership_writes(changes)]


def fields(write: Write) -> dict[str, Any]:
    """The fields that an HSET sets."""
    return {str(name): value for name, value in zip(write[2::2], write[3::2], strict=True)}


class TestExclusiveKinds:
    def test_a_shopper_enters_a_segment(self) -> None:
        changes = put(MembershipIndex(CLUSTERS), {"ann": 1}, at_ms=5)
        assert changes == [Change("enter", "ann", "cluster-1", 5)]
        assert written(changes) == [
            ("HSET", keys.segments_key("ann"), "cluster-1", "5"),
            EXPIRE,
            ("ZADD", keys.members_key("cluster-1"), "5", "ann"),
        ]

    def test_a_shopper_leaves_one_segment_for_another(self) -> None:
        assigned = MembershipIndex(CLUSTERS)
        put(assigned, {"ann": 1, "bob": 0}, at_ms=5)
        changes = put(assigned, {"ann": 0, "bob": 0}, at_ms=9)
        assert changes == [
            Change("leave", "ann", "cluster-1", 9),
            Change("enter", "ann", "cluster-0", 9),
        ]
        assert written(changes) == [
            ("HDEL", keys.segments_key("ann"), "cluster-1"),
            ("HSET", keys.segments_key("ann"), "cluster-0", "9"),
            EXPIRE,
            ("ZREM", keys.members_key("cluster-1"), "ann"),
            ("ZADD", keys.members_key("cluster-0"), "9", "ann"),
        ]

    def test_of_many_changes_in_a_batch_the_last_of_each_membership_is_written(self) -> None:
        entered = [
            Change("enter", name, "vip", at) for at, name in enumerate(("ann", "bob", "eve"))
        ]
        left = [Change("leave", "bob", "vip", 7), Change("enter", "ann", "new", 8)]
        assert written([*entered, *left, Change("enter", "bob", "vip", 9)])[::2] == [
            ("HSET", keys.segments_key("ann"), "vip", "0", "new", "8"),
            ("HSET", keys.segments_key("bob"), "vip", "9"),
            ("HSET", keys.segments_key("eve"), "vip", "2"),
            ("ZADD", keys.members_key("vip"), "0", "ann", "9", "bob", "2", "eve"),
        ]

    def test_kinds_are_independent(self) -> None:
        assigned = MembershipIndex([*CLUSTERS, *STAGES])
        put(assigned, {"ann": 1}, at_ms=5)
        put(assigned, {"ann": 3}, at_ms=6, kind="lifecycle")
        assert assigned.memberships_of(0) == [("cluster-1", 5), ("lifecycle-new", 6)]
        assert put(assigned, {"ann": NO_ROW}, at_ms=7, kind="lifecycle") == [
            Change("leave", "ann", "lifecycle-new", 7)
        ]
        assert assigned.memberships_of(0) == [("cluster-1", 5)]

    def test_a_shopper_may_be_in_no_segment(self) -> None:
        assigned = MembershipIndex(CLUSTERS)
        assert put(assigned, {"ann": NO_ROW}) == []
        assert assigned.segments_of("cluster", np.array([0, 99], np.int32)) == [None, None]


class TestOtherKinds:
    def test_a_shopper_may_be_in_several_segments(self) -> None:
        assigned = MembershipIndex(CLUSTERS)
        changes = apply(assigned, ("ann", "vip", True, 5), ("ann", "cart-left", True, 6))
        assert changes == [
            Change("enter", "ann", "vip", 5),
            Change("enter", "ann", "cart-left", 6),
        ]
        assert apply(assigned, ("ann", "vip", False, 7)) == [Change("leave", "ann", "vip", 7)]
        assert assigned.memberships_of(0) == [("cart-left", 6)]

    def test_a_repeated_transition_is_no_change(self) -> None:
        assigned = MembershipIndex()
        entered, left = ("ann", "vip", True, 5), ("ann", "vip", False, 6)
        assert len(apply(assigned, entered, entered, left, left)) == 2


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.booleans()), max_size=40))
def test_memberships_equal_a_plain_set(asked: list[tuple[int, int, bool]]) -> None:
    flags, plain = MembershipPool(), set[tuple[int, int]]()
    flags.ensure_rows(4)
    for row, segment, enters in asked:
        is_new = enters is not ((row, segment) in plain)
        changed = flags.add(row, segment, 7) if enters else flags.remove(row, segment) == 7
        assert changed is is_new
        plain = plain | {(row, segment)} if enters else plain - {(row, segment)}
        assert {(r, s) for r in range(4) for s, _ in flags.of_row(r)} == plain
    stored = MembershipPool()
    stored.restore(flags.arrays(), 4)
    assert {(r, s) for r in range(4) for s, _ in stored.of_row(r)} == plain


def test_the_expiry_of_a_membership_key_is_renewed_once_a_day() -> None:
    assigned = MembershipIndex(CLUSTERS)
    put(assigned, {"ann": 1})
    ann, known = np.array([0], np.int32), [False]
    for at_ms, first in ((DAY_MS - 1, []), (DAY_MS, [0]), (DAY_MS + 1, [])):
        assert assigned.mark_active(ann, known, np.array([at_ms], np.int64)).tolist() == first
    assert [arguments(write) for write in memberships.refresh_expiry(["ann"])] == [EXPIRE]


def test_a_removed_shopper_leaves_all_segments() -> None:
    assigned = MembershipIndex(CLUSTERS)
    put(assigned, {"ann": 1})
    apply(assigned, ("ann", "vip", True, 5))
    assert assigned.remove_from_all(0, "ann", 9) == [
        Change("leave", "ann", "cluster-1", 9),
        Change("leave", "ann", "vip", 9),
    ]
    assert assigned.remove_from_all(0, "ann", 9) == assigned.remove_from_all(99, "dan", 9) == []
    assert assigned.sizes.total == [0, 0, 0, 0]


steps = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from(NAMES), st.integers(NO_ROW, 2), min_size=1),
        st.integers(0, 3 * HOUR_MS),
        st.sampled_from(["cluster", "lifecycle", "rules", "drop", "order"]),
    ),
    max_size=20,
)


@given(steps, st.integers(0, 20))
def test_memberships_equal_the_published_changes_and_survive_a_restart(
    taken: list[tuple[dict[str, int], int, str]], restart_at: int
) -> None:
    """With all kinds at once."""
    assigned, at_ms = MembershipIndex([*CLUSTERS, *STAGES]), 0
    members: dict[tuple[str, str], int] = {}
    for n, (chosen, later_ms, what) in enumerate(taken):
        at_ms += later_ms
        if n == restart_at:
            stored, assigned = assigned.arrays(), MembershipIndex([*CLUSTERS, *STAGES])
            assigned.restore(stored)
        changes: list[Change] = []
        for name, choice in chosen.items():
            if what == "drop":
                changes += assigned.remove_from_all(NAMES.index(name), name, at_ms)
            elif what == "order":
                assigned.count_order(NAMES.index(name), MICROS_PER_UNIT, at_ms)
            elif what == "rules":
                changes += apply(assigned, (name, RULES[choice], n % 3 > 0, at_ms))
        if what in EXCLUSIVE_KINDS:
            places = {"cluster": (0, 1, 2, NO_ROW), "lifecycle": (3, 4, NO_ROW, NO_ROW)}[what]
            placed = {name: places[choice] for name, choice in chosen.items()}
            changes = put(assigned, placed, at_ms, what)
        for change in changes:
            if change.kind == "leave":
                del members[change.shopper, change.segment]
            else:
                assert (change.shopper, change.segment) not in members
                members[change.shopper, change.segment] = change.at_ms
    held = {
        (name, sid): since
        for row, name in enumerate(NAMES)
        for sid, since in assigned.memberships_of(row)
    }
    assert held == {pair: since or held[pair] for pair, since in members.items()}
    of_segment = [sid for _, sid in members]
    users = [sid for name, sid in members if name == "bob"]
    assigned.sizes.ensure_segments(len(assigned.registry))
    assert assigned.sizes.total == [of_segment.count(sid) for sid in assigned.registry.ids]
    if "bob" in {name for chosen, _, what in taken if what in EXCLUSIVE_KINDS for name in chosen}:
        assert assigned.sizes.identified == [users.count(sid) for sid in assigned.registry.ids]
