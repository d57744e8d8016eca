"""The replica that lists are made from equals what the trainer learned, whatever happened in between."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.recommend.standalone import StandaloneRecommender
from state.interactions import CART, PURCHASE, VIEW, EventColumns, ItemCard
from tests import removals

if TYPE_CHECKING:
    from operators.recommend.items.models import ItemModels

NOW_MS = 1_700_000_000_000
DAY_MS = 86_400_000

items = st.sampled_from([f"item{n}" for n in range(8)])
cards = st.builds(
    ItemCard,
    at_ms=st.just(NOW_MS),
    name=st.sampled_from([None, "red mug", "blue mug", "pan"]),
    category=st.sampled_from([(), ("kitchen",), ("kitchen", "mugs")]),
    brand=st.sampled_from([None, "acme"]),
    price=st.sampled_from([None, 5.0, 20.0]),
    available=st.sampled_from([None, True, False]),
)
clicks = st.tuples(
    st.sampled_from(["ann", "bob", "eve"]), items, st.sampled_from([VIEW, CART, PURCHASE])
)
batches = st.tuples(
    st.lists(clicks, max_size=6),
    st.dictionaries(items, cards, max_size=3),
    st.sets(items, max_size=2),
    st.sampled_from([1000, DAY_MS, 400 * DAY_MS]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(batches, max_size=5))
def test_the_replica_equals_the_models_after_every_batch(
    steps: list[tuple[list[tuple[str, str, int]], dict[str, ItemCard], set[str], int]],
) -> None:
    recommender, at_ms = StandaloneRecommender(), NOW_MS
    trained, replica = recommender.trainer.models, recommender.components.replica
    for rows, changed, evicted, pause_ms in steps:
        at_ms += pause_ms
        recommender.learn(columns(rows, changed, at_ms))
        assert_equal(trained, replica)
        gone = [row for name in sorted(evicted) if (row := trained.items.get(name)) >= 0]
        if gone:
            removals.remove_items(recommender, np.array(sorted(gone), np.int32))
            assert_equal(trained, replica)


def columns(
    rows: list[tuple[str, str, int]], changed: dict[str, ItemCard], at_ms: int
) -> EventColumns:
    n = len(rows)
    return EventColumns(
        [shopper for shopper, _, _ in rows],
        [item for _, item, _ in rows],
        [kind for _, _, kind in rows],
        [1.0] * n,
        [at_ms + index for index in range(n)],
        [at_ms - 1] * n,
        [None] * n,
        [None] * n,
        changed,
        sorted(changed),
    )


def assert_equal(trained: ItemModels, replica: ItemModels) -> None:
    assert replica.items.ids == trained.items.ids
    assert replica.items.row_by_id == trained.items.row_by_id
    assert replica.features.categories.ids == trained.features.categories.ids
    assert replica.features.brands.ids == trained.features.brands.ids
    assert replica.features.sold_out_items == trained.features.sold_out_items
    tables = zip(trained.tables(), replica.tables(), strict=True)
    for ours, theirs in tables:
        theirs.ensure_rows(len(ours.replicated_columns()[0]))
        pairs = zip(ours.replicated_columns(), theirs.replicated_columns(), strict=True)
        for column, copied in pairs:
            assert np.array_equal(column, copied, equal_nan=column.dtype.kind == "f")
            assert not np.shares_memory(column, copied)
        for scalar, copied in zip(
            ours.replicated_scalars(), theirs.replicated_scalars(), strict=True
        ):
            assert np.array_equal(scalar, copied)


def test_the_changes_of_a_batch_are_the_rows_that_it_changed() -> None:
    recommender = StandaloneRecommender()
    many = [("ann", f"item{n}", VIEW) for n in range(8)]
    recommender.learn(columns(many, {}, NOW_MS))
    trained = recommender.trainer.models
    assert all(len(rows.rows) == 0 for rows in trained.take_changes().tables)
    changes = recommender.trainer.train(columns([("bob", "item3", VIEW)], {}, NOW_MS + 10)).changes
    changed = {
        type(table).__name__: rows.rows.tolist()
        for table, rows in zip(trained.tables(), changes.tables, strict=True)
    }
    assert changed["Popularity"] == changed["NegativeSampler"] == [3]
    assert changed["SessionFactors"] == changed["TopPartners"] == []
