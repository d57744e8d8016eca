"""Memberships of overlapping kinds: added, removed, listed, stored."""

import numpy as np

from operators.segments.membership_pool import MembershipPool

ANN, BOB = 0, 1
VIP, NEW, AWAY = 0, 1, 2


def pool() -> MembershipPool:
    """Ann is in VIP since 5 and in AWAY since 7, Bob in VIP since 9."""
    memberships = MembershipPool()
    memberships.ensure_rows(2)
    assert memberships.add(ANN, AWAY, 7)
    assert memberships.add(ANN, VIP, 5)
    assert memberships.add(BOB, VIP, 9)
    return memberships


def test_a_shopper_is_in_several_segments_each_since_a_time() -> None:
    assert pool().of_row(ANN) == [(VIP, 5), (AWAY, 7)]
    assert pool().rows_of(VIP).tolist() == [ANN, BOB]


def test_a_membership_that_is_there_is_not_added_again() -> None:
    memberships = pool()
    assert not memberships.add(ANN, VIP, 8)
    assert memberships.of_row(ANN) == [(VIP, 5), (AWAY, 7)]


def test_a_removed_membership_gives_its_time_of_entry_and_its_slot_is_used_again() -> None:
    memberships = pool()
    assert memberships.remove(ANN, VIP) == 5
    assert memberships.remove(ANN, VIP) is None
    assert memberships.add(BOB, NEW, 11)
    assert memberships.length == 3
    assert memberships.of_row(ANN) == [(AWAY, 7)]
    assert memberships.of_row(BOB) == [(VIP, 9), (NEW, 11)]


def test_a_restored_pool_lists_the_same_memberships_and_goes_on() -> None:
    stored, restored = pool(), MembershipPool()
    stored.remove(ANN, AWAY)
    restored.restore(stored.arrays(), 2)
    assert [restored.of_row(row) for row in (ANN, BOB)] == [[(VIP, 5)], [(VIP, 9)]]
    assert restored.are_in_any(np.array([ANN, BOB], np.int32)).tolist() == [True, True]
    assert restored.add(ANN, NEW, 12)
    assert restored.length == 3
