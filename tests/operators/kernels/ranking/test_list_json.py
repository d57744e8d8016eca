"""The kernel that writes lists as JSON gives what encoding entry by entry gives, byte for byte."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.recommend.rendering import ListRenderer
from state.interactions import RowIndex, ScoredLists
from tests.reference import list_json as reference

LEARNERS = ("popularity", "content")
WORDS = ("", "popular", "content", "own_brand", "explored")
names = st.lists(st.text(max_size=8), min_size=1, max_size=6, unique=True)
scores = st.one_of(
    st.floats(0, 1, width=32),
    st.floats(-20_000, 20_000, width=32),
    st.integers(0, 9).map(float),
    st.sampled_from([float("nan"), float("inf"), float("-inf"), 3e38]),
)


@settings(max_examples=150, deadline=None)
@given(st.data(), names, st.integers(0, 4), st.integers(1, 4))
def test_lists_are_written_as_entry_by_entry(
    data: st.DataObject, ids: list[str], n: int, k: int
) -> None:
    items = RowIndex()
    for name in ids:
        items.get_or_add(name)

    def table(values: st.SearchStrategy[object], dtype: type) -> np.ndarray:
        cells = data.draw(st.lists(values, min_size=n * k, max_size=n * k))
        return np.array(cells, dtype).reshape(n, k)

    lists = ScoredLists(
        table(st.integers(-1, len(ids) - 1), np.int32),
        table(scores, np.float32),
        table(st.integers(-len(WORDS), len(ids) - 1), np.int32),
    )
    bought = table(st.booleans(), np.bool_)
    ranked = ListRenderer(LEARNERS, items).render(lists, "blend")
    ranked.bought = bought
    expected = reference.entries_json(
        lists.item, lists.score, lists.reason_item, bought, ids, WORDS
    )
    assert ranked.json(7, "1") == [
        b'{"at":7,"model":"1","source":"blend","items":[%s]}' % entries if entries else b""
        for entries in expected
    ]
