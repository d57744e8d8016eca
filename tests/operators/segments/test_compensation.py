"""After a crash: which published membership changes are undone, and which memberships written again."""

import numpy as np

from operators.segments.compensation import compensate
from operators.segments.membership_index import MembershipIndex
from state.arrays import NO_ROW
from state.changes import Change
from state.entries import Transition
from state.interactions import RowIndex

NAMES = RowIndex(["ann", "bob"])


def test_published_changes_are_compared_with_the_restored_memberships() -> None:
    memberships = MembershipIndex()
    memberships.apply_transitions([Transition("ann", "vip", True, 5)], NAMES)
    published = [
        Change("enter", "ann", "vip", 8),
        Change("enter", "ann", "new", 8),
        Change("leave", "ann", "lost", 8),
        Change("leave", "ann", "vip", 9),
        Change("enter", "eve", "vip", 9),
    ]
    undone, rewritten = compensate(memberships, published, lambda name: NAMES.get(name))
    assert undone == [
        Change("leave", "ann", "new", 8),
        Change("enter", "ann", "vip", 5),
        Change("leave", "eve", "vip", 9),
    ]
    assert rewritten == [Change("enter", "ann", "vip", 5), Change("leave", "ann", "lost", 8)]
    assert memberships.memberships_of(0) == [("vip", 5)]
    assert memberships.memberships_of(NO_ROW) == []
    assert memberships.are_in_any(np.array([0], np.int32)).tolist() == [True]
