"""The plain forms of the kernels that generate candidates: array operations on the learners' tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.tables.array_ops import first_occurrence
from operators.tables.score_sums import best_items, top_k
from state.arrays import NO_ROW
from tests.reference.score_sums import sum_by_item

if TYPE_CHECKING:
    from operators.recommend.candidates.covisitation import Covisitation
    from operators.recommend.candidates.revisits import Revisits
    from operators.recommend.candidates.session_knn import SessionKnn
    from state.arrays import Rows
    from state.interactions import ListRequests, ScoredLists

NO_SHARED_ITEM = NO_ROW - 1
"""Stands for "no shared item": a value that is in no list of clicks, not even as padding."""


def covisitation(learner: Covisitation, requests: ListRequests, k: int) -> ScoredLists:
    """The shares of the partners of the newest items of the session, summed by partner."""
    context = first_occurrence(requests.context[:, : learner.context_items])
    n, length = context.shape
    item, weight = learner.table.lookup(context)
    share = np.float32(learner.position_decay) ** np.arange(length, dtype=np.float32)
    share = share / share.sum() / np.maximum(weight.sum(axis=2), np.finfo(np.float32).tiny)
    score = (weight * share[:, :, None]).astype(np.float32)
    reason_item = np.repeat(context, learner.table.width, axis=1)
    wide = (n, length * learner.table.width)
    return best_items(item.reshape(wide), score.reshape(wide), reason_item, k, repeats=length)


def revisits(learner: Revisits, requests: ListRequests, k: int) -> ScoredLists:
    """The items of the session that are known, each its own reason."""
    context = requests.context if learner.adds_up else first_occurrence(requests.context)
    n, length = context.shape
    is_known = (context >= 0) & (context < learner.items)
    if learner.items:
        is_known &= learner.known[np.where(is_known, context, 0)]
    item = np.where(is_known, context, np.int32(NO_ROW))
    score = learner.position_weights(length)
    return best_items(item, np.broadcast_to(score, (n, length)), item, k, repeats=length)


def session_knn(learner: SessionKnn, requests: ListRequests, k: int) -> ScoredLists:
    """The items of the neighbours, by how near each is to an item of the session there."""
    context = first_occurrence(requests.context[:, : learner.context_items])
    n = len(context)
    neighbours = _neighbours(learner, requests.shopper, context)
    shared = np.where(neighbours.item >= 0, neighbours.reason_item, NO_SHARED_ITEM)
    item = learner.clicks.lookup(neighbours.item.ravel())
    item = item.reshape(n, learner.neighbours, learner.clicks.length)
    # Clicks are newest first: what came after the shared item stands before it. A neighbour whose
    # row now is another shopper's shares nothing.
    length = item.shape[2]
    is_shared = item == shared[:, :, None]
    earliest = length - 1 - is_shared[:, :, ::-1].argmax(axis=2)
    is_near = np.take_along_axis(is_shared, earliest[:, :, None], axis=2)[:, :, 0]
    clicks = (item >= 0) @ np.ones(length)
    neighbour_score = np.where(is_near, np.sqrt(neighbours.score) / np.sqrt(1 + clicks), 0).astype(
        np.float32
    )
    score = neighbour_score[:, :, None] * learner.distance_weights.take(earliest, axis=0)
    candidates = np.where(neighbour_score[:, :, None] > 0, item, NO_ROW).reshape(
        n, item.shape[1] * length
    )
    summed = sum_by_item(candidates, score.reshape(n, item.shape[1] * length))
    # The nearest neighbour that has an item gives the reason.
    reason_item = shared.ravel()[summed.source[summed.starts] // length]
    return top_k(summed, summed.score, reason_item, n, k)


def _neighbours(learner: SessionKnn, shopper: Rows, context: Rows) -> ScoredLists:
    """The nearest shoppers, as `item`, and the newest shared item of each, as `reason_item`."""
    n, length = context.shape
    known = (context >= 0) & (context < learner.items)
    rows = np.where(known, context, 0)
    visitor = (
        learner.visitor.take(rows, axis=0)
        if learner.items
        else np.full((*rows.shape, learner.visitors_per_item), NO_ROW, np.int32)
    )
    visitor[~known] = NO_ROW
    visitor[visitor == shopper[:, None, None]] = NO_ROW
    # The newest of a ring is just before the next slot to be written. What is behind it was written
    # a round ago: there an index below 0 counts from the end.
    visits = learner.visits[rows] if learner.items else np.zeros(rows.shape, np.int64)
    newest = (visits - 1) % learner.visitors_per_item
    age = newest[:, :, None] - np.arange(learner.visitors_per_item)
    position_weight = np.float32(learner.position_decay) ** np.arange(length, dtype=np.float32)
    score = learner.age_weights[age] * position_weight[:, None]
    wide = (n, length * learner.visitors_per_item)
    reason_item = np.repeat(context, learner.visitors_per_item, axis=1)
    return best_items(
        visitor.reshape(wide),
        score.reshape(wide),
        reason_item,
        learner.neighbours,
        repeats=length,
    )
