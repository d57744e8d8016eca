"""The registry of segments: indexes, closed and released segments; and the sizes of segments."""

from operators.segments.segment_registry import SegmentRegistry, SegmentSizes
from state.arrays import NO_ROW


def test_a_segment_keeps_its_index() -> None:
    registry = SegmentRegistry(["cluster-0", "vip"])
    assert [registry.index_of(sid) for sid in ("vip", "new", "vip", "cluster-0")] == [1, 2, 1, 0]
    assert registry.find("unknown") == NO_ROW
    assert registry.ids == ["cluster-0", "vip", "new"]


def test_a_closed_segment_is_not_active_but_keeps_its_index() -> None:
    registry = SegmentRegistry(["a", "b"])
    registry.close("a")
    assert list(registry.active()) == [(1, "b")]
    assert registry.find("a") == 0


def test_the_index_of_a_released_segment_is_used_again() -> None:
    registry = SegmentRegistry(["a", "b", "c"])
    registry.release("b")
    registry.release("a")
    assert registry.ids == ["", "", "c"]
    assert [registry.index_of(sid) for sid in ("d", "e", "f")] == [0, 1, 3]


def test_a_restored_registry_knows_its_free_indexes() -> None:
    registry = SegmentRegistry(["", "b", ""])
    assert [registry.index_of(sid) for sid in ("c", "d")] == [0, 2]


def test_sizes_count_shoppers_and_users_among_them() -> None:
    sizes = SegmentSizes()
    sizes.change(1, 1, known=True)
    sizes.change(1, 1, known=False)
    sizes.change(0, 1, known=True)
    sizes.change(0, -1, known=True)
    assert (sizes.total, sizes.identified) == ([0, 2], [0, 1])
