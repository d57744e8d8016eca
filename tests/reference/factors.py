"""The plain form of the kernel that reranks by factors: matrix products over chunks of requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.tables.array_ops import descending_key
from state.arrays import NO_ROW
from state.interactions import ScoredLists, empty_lists

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from operators.models.session_factors import SessionFactors
    from state.arrays import Rows, Weights
    from state.interactions import ListRequests

LAST = np.iinfo(np.int64).max


def rerank(model: SessionFactors, requests: ListRequests, k: int) -> ScoredLists:
    """The k likeliest candidates of each request, each with the session's item that adds most."""
    sessions, share, context = model.sessions(requests.context)
    candidates = deduplicate(model, requests.candidates, share.sum(axis=1) > 0)
    n, width = candidates.shape
    lists = empty_lists(n, k)
    if not width:
        return lists
    is_item = candidates >= 0
    items = np.maximum(candidates, 0)
    scores = np.where(is_item, model.scores(sessions, items), -np.inf)
    best = np.maximum(scores.max(axis=1, keepdims=True), np.finfo(np.float32).min)
    score = np.exp(scores - best)
    # Items ascend along a row, so that a tie goes to the lower one.
    order = np.where(is_item, descending_key(score) << 32 | np.arange(width), LAST)
    order.sort(axis=1)
    order = order[:, :k]
    position = (order & 0xFFFFFFFF) + np.arange(0, n * width, width)[:, None]
    position[order == LAST] = 0
    is_there = order != LAST
    shown = slice(0, order.shape[1])
    lists.item[:, shown] = np.where(is_there, items.take(position), NO_ROW)
    lists.score[:, shown] = np.where(is_there, score.take(position), 0)
    lists.reason_item[:, shown] = reasons(model, lists.item[:, shown], share, context)
    return lists


def deduplicate(model: SessionFactors, candidates: Rows, has_context: NDArray[np.bool_]) -> Rows:
    """Each known item once, ascending, after NO_ROW padding; none where has_context[n] is False."""
    candidates = np.sort(candidates, axis=1)
    is_first = model.is_known(candidates) & has_context[:, None]
    is_first[:, 1:] &= candidates[:, 1:] != candidates[:, :-1]
    candidates = np.where(is_first, candidates, NO_ROW)
    candidates.sort(axis=1)
    return candidates[:, (candidates < 0).all(axis=0).sum() :]


def reasons(model: SessionFactors, items: Rows, share: Weights, context: Rows) -> Rows:
    """The context item that adds most to each listed item's score, where it adds at all."""
    vectors = model.vectors
    context_vectors = vectors.take(context, axis=0) * share[:, :, None]
    contributions = np.matmul(
        context_vectors, vectors.take(items, axis=0, mode="clip").transpose(0, 2, 1)
    )
    largest = np.zeros(items.shape, np.float32)
    because = np.full(items.shape, NO_ROW, np.int32)
    for position in range(context.shape[1]):
        is_larger = (contributions[:, position] > largest) & (items >= 0)
        because = np.where(is_larger, context[:, position, None], because)
        largest = np.maximum(largest, contributions[:, position])
    return because
