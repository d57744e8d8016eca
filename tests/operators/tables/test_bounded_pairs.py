"""Pairs of shoppers and items: the content of a dictionary, in a table of bounded size."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.tables.bounded_pairs import BoundedPairs
from state.arrays import NO_ROW

HOUR_MS = 3_600_000

pair = st.tuples(st.integers(0, 5), st.integers(0, 3))
steps = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "drop", "shopper", "item", "move"]),
        st.lists(pair, min_size=1, max_size=5),
    ),
    max_size=12,
)


def rows(values: list[int]) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    return np.array(values, np.int32)


@settings(max_examples=100, deadline=None)
@given(steps)
def test_it_holds_what_a_dictionary_would(
    steps: list[tuple[str, list[tuple[int, int]]]],
) -> None:
    table, naive, at_ms = (
        BoundedPairs(1000, half_life_ms=HOUR_MS),
        dict[tuple[int, int], list[int]](),
        0,
    )
    for what, some in steps:
        at_ms += HOUR_MS
        shopper, item = rows([one for one, _ in some]), rows([one for _, one in some])
        if what == "add":
            table.add(shopper, item, np.ones(len(some), np.float32), np.full(len(some), at_ms))
            for one in some:
                naive.setdefault(one, []).append(at_ms)
        elif what == "drop":
            table.remove(shopper, item)
            naive = {one: times for one, times in naive.items() if one not in some}
        elif what == "shopper":
            table.remove_shoppers(rows([*shopper.tolist(), NO_ROW]))
            naive = {one: times for one, times in naive.items() if one[0] not in shopper}
        elif what == "item":
            table.remove_items(item)
            naive = {one: times for one, times in naive.items() if one[1] not in item}
        elif some[0][0] != 5:
            table.merge(some[0][0], 5)
            for one in [one for one in naive if one[0] == some[0][0]]:
                naive.setdefault((5, one[1]), []).extend(naive.pop(one))
        restored = BoundedPairs(1000, half_life_ms=HOUR_MS)
        restored.restore(table.arrays())
        for like in (table, restored):
            everyone = np.arange(6, dtype=np.int32)
            found = like.lookup(everyone, np.full(6, at_ms))
            got = dict(
                zip(
                    zip(found.query.tolist(), found.item.tolist(), strict=True),
                    found.weight,
                    strict=True,
                )
            )
            assert got.keys() == naive.keys()
            assert len(like) == len(naive)
            for one, times in naive.items():
                want = sum(0.5 ** ((at_ms - then) / HOUR_MS) for then in times)
                assert abs(got[one] - want) < 1e-4 * want


def test_a_full_table_replaces_its_oldest_pairs_and_stays_bounded() -> None:
    table = BoundedPairs(256, ways=4)
    for n in range(1000):
        table.add(rows([n % 300]), rows([n]), np.ones(1, np.float32), np.array([n]))
    assert len(table) <= 256
    assert table.get(rows([999 % 300]), rows([999]))[0].tolist() == [1]
    assert table.get(rows([0]), rows([0]))[0].tolist() == [0]
