"""The promises of `operators.recommend.candidates.base`, kept by every learner of the registry."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from operators.recommend.candidates.base import CandidateLearner
from operators.recommend.candidates.content import Content
from operators.recommend.candidates.registry import LEARNERS
from operators.recommend.session_contexts import SessionContexts
from operators.tables.replication import take_rows, write_rows
from state.arrays import NO_ROW
from state.interactions import Interactions, ItemCard, ListRequests, ScoredLists

Make = Callable[[], CandidateLearner]
Stream = Sequence[Sequence[tuple[float, ...]]]
Columns = Interactions | ListRequests | ScoredLists
Arrays = Mapping[str, NDArray[np.generic]]

NOW_MS = 1_700_000_000_000
SHOPPERS, ITEMS, REACH, K = 6, 9, 5, 4
FEW = settings(max_examples=25, deadline=None)
DAY_MS = 24 * 3600 * 1000

every_learner = pytest.mark.parametrize("make", LEARNERS.values(), ids=LEARNERS.keys())

events = st.tuples(
    st.integers(0, SHOPPERS - 1),
    st.integers(0, ITEMS - 1),
    st.integers(0, 2),
    st.sampled_from([0.5, 1.0, 3.0]),
    st.sampled_from([0, 1, 60_000, DAY_MS, 400 * DAY_MS]),
)
streams = st.lists(st.lists(events, max_size=12), min_size=1, max_size=5)


def batches(stream: Stream) -> list[Interactions]:
    """Batches of interactions in which time goes on and the contexts are true ones."""
    contexts, at = SessionContexts(REACH), NOW_MS
    learned = []
    for rows in stream:
        columns = np.array(rows, np.float64).reshape(-1, 5).T
        at_ms = at + columns[4].cumsum().astype(np.int64)
        at = int(at_ms[-1]) if len(at_ms) else at
        shopper, item = columns[0].astype(np.int32), columns[1].astype(np.int32)
        context = contexts.append(shopper, item, at_ms, at_ms - 1_800_000)
        kind, weight = columns[2].astype(np.int8), columns[3].astype(np.float32)
        learned.append(Interactions(shopper, item, kind, weight, at_ms, context))
    return learned


def learn(learner: CandidateLearner, batch: Interactions) -> None:
    learner.learn_many(batch)
    if isinstance(learner, Content):
        rows = np.unique(batch.item)
        learner.update_items(rows, [card(row) for row in rows.tolist()])


def card(item: int) -> ItemCard:
    """Some have a category, some a name, some neither."""
    category = ("home", "mugs" if item % 2 else "cups") if item % 3 else ()
    name = f"mug number {item}" if item % 4 else None
    return ItemCard(NOW_MS, name, category, "acme" if item % 3 != 1 else None, 1.0 + item)


def taught(make: Make, stream: Stream) -> CandidateLearner:
    learner = make()
    for batch in batches(stream):
        learn(learner, batch)
    return learner


def requests(beyond: int = 0) -> ListRequests:
    """Every shopper, known or not, each with another context and all items named; rows `beyond` what
    can be known."""
    shopper = np.arange(NO_ROW, SHOPPERS, dtype=np.int32) + np.int32(beyond)
    context = (np.add.outer(shopper, np.arange(REACH)) % ITEMS).astype(np.int32) + beyond
    for row in range(len(shopper)):
        context[row, row:] = NO_ROW
    named = np.tile(np.arange(ITEMS, dtype=np.int32) + np.int32(beyond), (len(shopper), 1))
    return ListRequests(shopper, context.astype(np.int32), np.full(len(shopper), NOW_MS), named)


def same(one: Columns, other: Columns) -> bool:
    return all(
        np.array_equal(getattr(one, column.name), getattr(other, column.name))
        for column in fields(one)
    )


def same_arrays(one: Arrays, other: Arrays) -> bool:
    assert one.keys() == other.keys()
    return all(
        one[name].dtype == other[name].dtype and one[name].tobytes() == other[name].tobytes()
        for name in one
    )


@every_learner
def test_it_has_the_shape_of_a_learner_and_the_name_it_is_registered_under(make: Make) -> None:
    assert isinstance(make(), CandidateLearner)
    assert LEARNERS[make().name] is make


@every_learner
def test_before_the_first_batch_there_are_no_candidates(make: Make) -> None:
    lists = make().candidates(requests(), K)
    assert lists.item.shape == lists.score.shape == lists.reason_item.shape == (SHOPPERS + 1, K)
    assert (lists.item == NO_ROW).all()


@every_learner
def test_an_empty_batch_and_no_requests_are_nothing_special(make: Make) -> None:
    learner = taught(make, [[], [(0, 1, 0, 1.0, 0)], []])
    nobody = ListRequests(
        np.empty(0, np.int32), np.empty((0, REACH), np.int32), np.empty(0, np.int64)
    )
    assert len(learner.candidates(nobody, K).item) == 0


@every_learner
@FEW
@given(streams)
def test_a_list_is_well_formed(make: Make, stream: Stream) -> None:
    learned = {item for rows in stream for _, item, *_ in rows}
    asked = requests()
    lists = taught(make, stream).candidates(asked, K)
    assert [lists.item.dtype, lists.score.dtype, lists.reason_item.dtype] == ["i4", "f4", "i4"]
    for items, scores, because, context in zip(
        lists.item.tolist(),
        lists.score.tolist(),
        lists.reason_item.tolist(),
        asked.context,
        strict=True,
    ):
        there = items.index(NO_ROW) if NO_ROW in items else K
        assert items[there:] == because[there:] == [NO_ROW] * (K - there)
        assert len(set(items[:there])) == there
        assert set(items[:there]) <= learned
        assert np.isfinite(scores).all()
        assert scores[:there] == sorted(scores[:there], reverse=True)
        assert set(because) <= {*context.tolist(), NO_ROW}


@every_learner
@FEW
@given(streams)
def test_a_read_changes_nothing_now_or_later(make: Make, stream: Stream) -> None:
    silent, asked = make(), make()
    for batch in batches(stream):
        learn(silent, batch)
        learn(asked, batch)
        before = copy.deepcopy(dict(asked.arrays()))
        first = asked.candidates(requests(), K)
        assert same(first, asked.candidates(requests(), K))
        asked.candidates(requests(beyond=1000), K)
        assert same_arrays(before, asked.arrays())
    assert same_arrays(silent.arrays(), asked.arrays())


@every_learner
@FEW
@given(streams)
def test_the_same_batches_give_the_same_arrays_and_are_left_as_they_were(
    make: Make, stream: Stream
) -> None:
    given_batches = batches(stream)
    kept = copy.deepcopy(given_batches)
    learner = make()
    for batch in given_batches:
        learn(learner, batch)
    assert same_arrays(learner.arrays(), taught(make, stream).arrays())
    assert all(same(batch, before) for batch, before in zip(given_batches, kept, strict=True))


@every_learner
@FEW
@given(streams)
def test_rows_beyond_what_was_learned_are_answered(make: Make, stream: Stream) -> None:
    learner = taught(make, stream)
    unknown = requests(beyond=1000)
    nothing_to_go_by = ListRequests(
        np.full_like(unknown.shopper, NO_ROW), np.full_like(unknown.context, NO_ROW), unknown.now_ms
    )
    lists, default = learner.candidates(unknown, K), learner.candidates(nothing_to_go_by, K)
    assert np.array_equal(lists.item, default.item)


@every_learner
@FEW
@given(streams, streams)
def test_a_restored_learner_answers_and_learns_on_alike(
    make: Make, before: Stream, after: Stream
) -> None:
    learner = taught(make, before)
    snapshot = learner.arrays()
    kept = copy.deepcopy(dict(snapshot))
    restored = make()
    restored.restore(snapshot)
    assert same(learner.candidates(requests(), K), restored.candidates(requests(), K))
    for batch in batches(after):
        learn(learner, batch)
        learn(restored, batch)
    assert same_arrays(learner.arrays(), restored.arrays())
    assert same_arrays(snapshot, kept), "a snapshot must not change after it is handed over"


@every_learner
@FEW
@given(streams, st.data())
def test_changed_rows_over_an_older_copy_are_the_arrays_of_now(
    make: Make, stream: Stream, data: st.DataObject
) -> None:
    learner = make()
    copied: dict[str, NDArray[Any]] = {}
    for batch in batches(stream):
        learn(learner, batch)
        if data.draw(st.booleans()):
            write_changes(learner, copied)
    write_changes(learner, copied)
    assert same_arrays(copied, learner.arrays())


def write_changes(learner: CandidateLearner, over: dict[str, NDArray[Any]]) -> None:
    over.update(learner.scalars())
    for table in learner.tables():
        for name, rows in table.columns.items():
            older = over.get(name, rows[:0])[: len(rows)]
            over[name] = np.zeros_like(rows)
            over[name][: len(older)] = older
        length = len(next(iter(table.columns.values())))
        changed = slice(None) if table.dirty_rows is None else table.dirty_rows.take_dirty(length)
        for name, rows in table.columns.items():
            over[name][changed] = rows[changed]


@every_learner
@FEW
@given(streams, st.sets(st.integers(0, ITEMS - 1)), st.data())
def test_a_replica_that_gets_the_changed_rows_answers_like_the_learner(
    make: Make, stream: Stream, removed: set[int], data: st.DataObject
) -> None:
    learner, replica = make(), make()
    if not learner.replicated_tables():
        return
    for batch in batches(stream):
        learn(learner, batch)
        if data.draw(st.booleans()):
            learner.remove_items(np.array(sorted(removed), np.int32))
        if data.draw(st.booleans()):
            replicate(learner, replica)
    replicate(learner, replica)
    assert same(learner.candidates(requests(), K), replica.candidates(requests(), K))
    for table, copied in zip(learner.replicated_tables(), replica.replicated_tables(), strict=True):
        copied.ensure_rows(len(table.replicated_columns()[0]))
        for ours, theirs in zip(
            table.replicated_columns(), copied.replicated_columns(), strict=True
        ):
            assert np.array_equal(ours, theirs, equal_nan=ours.dtype.kind == "f")
            assert not np.shares_memory(ours, theirs)


def replicate(learner: CandidateLearner, replica: CandidateLearner) -> None:
    tables = zip(learner.replicated_tables(), replica.replicated_tables(), strict=True)
    for table, copied in tables:
        write_rows(copied, take_rows(table))


@every_learner
@FEW
@given(streams, st.sets(st.integers(0, ITEMS)), st.sets(st.integers(0, SHOPPERS)))
def test_what_was_forgotten_is_as_if_it_had_never_been_learned(
    make: Make, stream: Stream, items: set[int], shoppers: set[int]
) -> None:
    learner = taught(make, stream)
    learner.remove_items(np.array(sorted(items), np.int32))
    learner.remove_shoppers(np.array(sorted(shoppers), np.int32))
    asked = requests()
    lists = learner.candidates(asked, K)
    assert not items & set(lists.item.ravel().tolist())
    assert not items & set(lists.reason_item.ravel().tolist())
    # A removed shopper gets what an unknown one with the same context gets.
    unknown = replace(asked, shopper=asked.shopper.copy())
    unknown.shopper[np.isin(asked.shopper, sorted(shoppers))] = NO_ROW
    assert same(lists, learner.candidates(unknown, K))
    learner.remove_items(np.array(sorted(set(range(ITEMS)) - items), np.int32))
    assert (learner.candidates(asked, K).item == NO_ROW).all()


@every_learner
def test_memory_does_not_grow_with_ever_new_shoppers_and_items(make: Make) -> None:
    """Rows that were forgotten are given again."""
    learner = make()
    held = set()
    for day in range(12):
        rows = [(n % SHOPPERS, n % ITEMS, 2, 1.0, 1 + day) for n in range(SHOPPERS * ITEMS)]
        for batch in batches([rows]):
            learn(learner, batch)
        held.add(sum(array.nbytes for array in learner.arrays().values()))
        learner.remove_items(np.arange(ITEMS, dtype=np.int32))
        learner.remove_shoppers(np.arange(SHOPPERS, dtype=np.int32))
    assert len(held) == 1


@every_learner
def test_memory_does_not_grow_with_events(make: Make) -> None:
    rng = np.random.default_rng(1)
    everyone = [(n % SHOPPERS, n % ITEMS, 0, 1.0, 0) for n in range(SHOPPERS * ITEMS)]
    learner = taught(make, [everyone])
    held = [sum(array.nbytes for array in learner.arrays().values())]
    for _ in range(20):
        pairs = zip(rng.integers(0, SHOPPERS, 200), rng.integers(0, ITEMS, 200), strict=True)
        rows = [(shopper, item, 0, 1.0, 1) for shopper, item in pairs]
        for batch in batches([rows]):
            learn(learner, batch)
        held.append(sum(array.nbytes for array in learner.arrays().values()))
    assert held[-1] == held[0]


@every_learner
def test_fewer_items_than_asked_for_leave_the_end_of_a_list_empty(make: Make) -> None:
    lists: ScoredLists = taught(make, [[(0, 0, 0, 1.0, 0), (0, 1, 0, 1.0, 1)]]).candidates(
        requests(), 50
    )
    assert lists.item.shape[1] == 50
    assert (lists.item[:, 2:] == NO_ROW).all()
