"""The idle index: longest idle first, without a scan of all names."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from operators.tables.idle_index import IdleIndex


@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 99)), max_size=40),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 120)), max_size=5),
    st.sets(st.sampled_from("abcdefgh"), max_size=3),
)
def test_it_gives_what_sorting_all_names_would(
    seen: list[tuple[str, int]], asked: list[tuple[int, int]], pinned: set[str]
) -> None:
    index, last_seen = IdleIndex(10), dict[str, int]()
    for name, at_ms in sorted(seen, key=lambda one: one[1]):
        index.add(name, at_ms)
        last_seen[name] = at_ms
    for count, before_ms in asked:
        evictable = sorted((at, name) for name, at in last_seen.items() if name not in pinned)
        # A bucket is old when all of it is: 10 ms here.
        old = [name for at, name in evictable if (at // 10 + 1) * 10 <= before_ms]
        expected = old + [name for _, name in evictable if name not in old][: count - len(old)]
        if count <= len(old):
            expected = old
        evicted = index.longest_idle(count, before_ms, last_seen.get, pinned.__contains__)
        assert evicted == expected
        for name in evicted:
            del last_seen[name]


def test_a_name_seen_again_is_found_at_its_newest_time() -> None:
    index = IdleIndex(10)
    index.add("ann", 5)
    index.add("bob", 15)
    index.add("ann", 25)
    last_seen = {"ann": 25, "bob": 15}
    assert index.longest_idle(2, 0, last_seen.get, lambda _: False) == ["bob", "ann"]
