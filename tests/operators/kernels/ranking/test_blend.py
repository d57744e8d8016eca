"""The kernels of the blend give what their plain forms give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.kernels.ranking import blend as kernels
from operators.kernels.ranking.blend_features import (
    CONTEXT_CLASSES,
    context_classes,
    position_features,
)
from operators.recommend.negative_feedback import no_feedback
from state.arrays import NO_ROW
from state.interactions import empty_lists
from tests.reference import blend as reference
from tests.reference.same_lists import assert_same_lists

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from operators.kernels.ranking.blend import Feedback
    from state.arrays import Rows, Weights

Value = TypeVar("Value", bound=np.generic)
ITEMS = 12
FEW = settings(max_examples=60, deadline=None)
seeds = st.integers(0, 2**32 - 1)


@dataclass
class Case:
    """Lists [n, learners, positions] and all that the kernels take beside them."""

    item: Rows
    score: Weights
    reason_item: Rows
    context: Rows
    weights: Weights
    feedback: Feedback
    feedback_weights: Weights
    clicked: Rows
    classes: NDArray[np.int8]


def pairs(rng: np.random.Generator, n: int) -> tuple[NDArray[np.int64], Rows, Weights]:
    """Some items of each of n requests, each item once, with weights."""
    items = [rng.choice(ITEMS, rng.integers(0, 4), replace=False) for _ in range(n)]
    starts = np.cumsum([0, *map(len, items)])
    item = np.concatenate([np.empty(0, np.int32), *items]).astype(np.int32)
    return starts.astype(np.int64), item, rng.uniform(0.1, 3, len(item)).astype(np.float32)


def case(seed: int) -> Case:
    rng = np.random.default_rng(seed)
    n, learners, positions = (
        int(rng.integers(0, 6)),
        int(rng.integers(1, 5)),
        int(rng.integers(1, 7)),
    )
    item = np.full((n, learners, positions), NO_ROW, np.int32)
    score = np.zeros(item.shape, np.float32)
    for row, learner in np.ndindex(n, learners):
        length = rng.integers(0, positions + 1)
        item[row, learner, :length] = rng.choice(ITEMS, length, replace=False)
        score[row, learner, :length] = np.sort(rng.choice([1e-6, 0.2, 1, 7.5], length))[::-1]
    context = rng.integers(NO_ROW, 4, (n, 5)).astype(np.int32)
    feedback = no_feedback(n)
    if rng.random() < 0.7:
        counts = rng.uniform(0, 5, (2, ITEMS - 3)).astype(np.float32)
        feedback = (*pairs(rng, n), *pairs(rng, n), *counts, np.float32(0.3), np.float32(3))
    classes = np.empty(n, np.int8)
    context_classes(context, classes)
    return Case(
        item=item,
        score=score,
        reason_item=rng.integers(NO_ROW, ITEMS, item.shape).astype(np.int32),
        context=context,
        weights=rng.normal(size=(CONTEXT_CLASSES, learners, 4)).astype(np.float32),
        feedback=feedback,
        feedback_weights=rng.normal(size=3).astype(np.float32),
        clicked=rng.integers(0, ITEMS, n).astype(np.int32),
        classes=classes,
    )


def by_learner(lists: NDArray[Value]) -> NDArray[Value]:
    return np.ascontiguousarray(lists.transpose(1, 0, 2))


@FEW
@given(seeds)
def test_contexts_have_the_same_class(seed: int) -> None:
    given_ = case(seed)
    assert given_.classes.tolist() == reference.context_class(given_.context).tolist()


@FEW
@given(seeds, st.integers(0, 9))
def test_the_blend_is_equal(seed: int, k: int) -> None:
    one = case(seed)
    lists = empty_lists(len(one.item), k)
    kernels.blend(
        by_learner(one.item),
        by_learner(one.score),
        by_learner(one.reason_item),
        one.context,
        one.weights,
        *position_features(one.item.shape[2]),
        one.feedback,
        one.feedback_weights,
        0,
        len(one.item),
        lists.item,
        lists.score,
        lists.reason_item,
    )
    whole = reference.blend(
        one.item,
        one.score,
        one.reason_item,
        one.context,
        one.weights,
        one.feedback,
        one.feedback_weights,
        ITEMS,
    )
    assert_same_lists(lists, whole)


@FEW
@given(seeds, st.integers(0, 9))
def test_the_learner_that_adds_most_is_the_same(seed: int, k: int) -> None:
    one, rng = case(seed), np.random.default_rng(seed)
    final = rng.integers(NO_ROW, ITEMS, (len(one.item), k)).astype(np.int32)
    rows = np.flatnonzero(rng.random(len(final)) < 0.6)
    learner = np.empty((len(rows), k), np.int8)
    kernels.contributions(
        by_learner(one.item),
        by_learner(one.score),
        rows,
        one.context,
        one.weights,
        *position_features(one.item.shape[2]),
        final,
        learner,
    )
    expected = reference.contributions(one.item, one.score, one.context, one.weights, final)
    assert learner.tolist() == expected[rows].tolist()


@FEW
@given(seeds)
def test_the_gradients_are_equal(seed: int) -> None:
    one = case(seed)
    gradient = np.empty((len(one.item), one.item.shape[1], 4), np.float32)
    feedback_gradient = np.zeros(3)
    kernels.gradients(
        one.item,
        one.score,
        one.classes,
        one.clicked,
        one.weights,
        *position_features(one.item.shape[2]),
        one.feedback,
        one.feedback_weights,
        gradient,
        feedback_gradient,
    )
    expected, expected_feedback = reference.gradients(
        one.item,
        one.score,
        one.classes,
        one.clicked,
        one.weights,
        one.feedback,
        one.feedback_weights,
    )
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(feedback_gradient, expected_feedback, rtol=1e-4, atol=1e-5)
