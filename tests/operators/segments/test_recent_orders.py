"""The orders of the last day: which segments each counts for, and the totals by segment."""

from operators.segments.recent_orders import AFTER, BEFORE, RecentOrders
from state.arrays import NO_ROW

ANN, BOB = 0, 1
VIP, BUYERS = 0, 1


def orders() -> RecentOrders:
    """Ann, in VIP, ordered for 10 at 5 and so entered BUYERS; then for 20 at 7. Bob for 5 at 6."""
    recent = RecentOrders()
    recent.add(ANN, 5, 10, {VIP: BEFORE | AFTER, BUYERS: AFTER})
    recent.add(ANN, 7, 20, {VIP: BEFORE | AFTER, BUYERS: BEFORE | AFTER})
    recent.add(BOB, 6, 5, {})
    return recent


def totals(recent: RecentOrders, after_ms: int = 0) -> list[list[int]]:
    """Orders, value and buyers before; orders and value after: of VIP, BUYERS and the shop."""
    return [column.tolist() for column in recent.totals(after_ms, 2)]


def test_an_order_counts_for_the_shop_and_for_its_segments_before_and_after() -> None:
    assert totals(orders()) == [[2, 1, 3], [30, 20, 35], [1, 1, 2], [2, 2, 3], [30, 30, 35]]
    assert totals(orders(), 5) == [[1, 1, 2], [20, 20, 25], [1, 1, 2], [1, 1, 2], [20, 20, 25]]


def test_a_correction_changes_the_segments_that_it_names_and_no_others() -> None:
    recent = orders()
    ((order, _, _),) = recent.orders_of(ANN, 6)
    recent.set_flags(order, {VIP: 0, BUYERS: AFTER})
    assert recent.flags_of(order) == {BUYERS: AFTER}
    recent.set_flags(order, {VIP: BEFORE})
    assert recent.flags_of(order) == {BUYERS: AFTER, VIP: BEFORE}


def test_a_retracted_order_does_not_count_and_its_slots_are_used_again() -> None:
    recent = orders()
    used = recent.length
    recent.retract(recent.orders_of(ANN, 0)[0][0])
    assert totals(recent) == [[1, 1, 2], [20, 20, 25], [1, 1, 2], [1, 1, 2], [20, 20, 25]]
    recent.add(BOB, 8, 1, {VIP: BEFORE})
    assert recent.length == used


def test_orders_without_an_owner_count_but_have_no_buyer() -> None:
    recent = orders()
    recent.reassign(ANN, NO_ROW)
    assert totals(recent)[0] == [2, 1, 3]
    assert totals(recent)[2] == [0, 0, 1]


def test_erased_and_old_orders_are_deleted() -> None:
    erased, old = orders(), orders()
    erased.erase(ANN)
    old.drop_before(7)
    assert totals(erased)[1] == [0, 0, 5]
    assert totals(old)[1] == [20, 20, 20]
    assert not erased.counts_for(VIP)


def test_restored_orders_have_the_same_totals() -> None:
    restored = RecentOrders()
    restored.restore(orders().arrays())
    assert totals(restored) == totals(orders())
