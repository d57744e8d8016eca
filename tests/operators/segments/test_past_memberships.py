"""Memberships that ended within the last day: recorded, superseded, merged, counted, deleted."""

import numpy as np

from operators.segments.past_memberships import PAST_MAX, PastMemberships

ANN, BOB = 0, 1
VIP, AWAY = 0, 1


def past() -> PastMemberships:
    """Ann was in VIP from 1 to 4 and from 6 to 8, and in AWAY from 2 to 9; Bob in VIP from 3 to 5."""
    memberships = PastMemberships()
    memberships.ensure_rows(2)
    for row, segment, since_ms, left_ms in (
        (ANN, VIP, 1, 4),
        (ANN, VIP, 6, 8),
        (ANN, AWAY, 2, 9),
        (BOB, VIP, 3, 5),
    ):
        memberships.record_exit(row, segment, since_ms, left_ms)
    return memberships


def test_each_past_membership_is_listed() -> None:
    assert sorted(past().of_row(ANN)) == [(VIP, 1, 4), (VIP, 6, 8), (AWAY, 2, 9)]


def test_entries_and_exits_count_every_membership() -> None:
    assert past().entered_since(1, 2).tolist() == [2, 1]
    assert past().left_since(4, 2).tolist() == [2, 1]


def test_a_shopper_departed_once_from_a_segment_and_not_if_it_is_in_it_again() -> None:
    last_ms = np.array([9, 9])
    memberships = past()
    assert memberships.departed(last_ms, 0, 2).tolist() == [2, 1]
    memberships.supersede(BOB, VIP)
    assert memberships.departed(last_ms, 0, 2).tolist() == [1, 1]


def test_a_merged_shopper_brings_its_past_memberships() -> None:
    memberships = past()
    memberships.move(BOB, ANN, {AWAY})
    assert memberships.of_row(BOB) == []
    assert sorted(memberships.of_row(ANN))[:3] == [(VIP, 1, 4), (VIP, 3, 5), (VIP, 6, 8)]
    assert memberships.departed(np.array([9, 0]), 0, 2).tolist() == [1, 1]


def test_an_evicted_shopper_still_counts_and_an_erased_one_never_was() -> None:
    evicted, erased = past(), past()
    evicted.remove_shopper(ANN)
    erased.remove_shopper(ANN, erased=True)
    assert evicted.entered_since(0, 2).tolist() == [3, 1]
    assert erased.entered_since(0, 2).tolist() == [1, 0]
    assert evicted.departed(np.array([9, 9]), 0, 2).tolist() == [1, 0]


def test_a_segment_is_released_when_all_its_memberships_ended_before_a_time() -> None:
    memberships = past()
    assert not memberships.release_segment(VIP, 8)
    assert memberships.release_segment(VIP, 9)
    assert [memberships.of_row(row) for row in (ANN, BOB)] == [[(AWAY, 2, 9)], []]


def test_a_shopper_with_very_many_keeps_the_newest_of_a_segment() -> None:
    memberships = PastMemberships()
    memberships.ensure_rows(1)
    for at_ms in range(2 * PAST_MAX):
        memberships.record_exit(ANN, VIP, at_ms, at_ms + 1)
    assert sorted(memberships.of_row(ANN)) == [
        (VIP, at_ms, at_ms + 1) for at_ms in range(PAST_MAX, 2 * PAST_MAX)
    ]


def test_a_restored_pool_counts_the_same() -> None:
    stored, restored = past(), PastMemberships()
    stored.remove_shopper(BOB, erased=True)
    restored.restore(stored.arrays(), 2)
    assert sorted(restored.of_row(ANN)) == sorted(stored.of_row(ANN))
    assert restored.departed(np.array([9, 9]), 0, 2).tolist() == [1, 1]
