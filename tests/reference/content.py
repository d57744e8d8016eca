"""The plain form of the kernel of content: array operations on groups and attributes of items."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.kernels.ranking.content import BRAND, CATEGORY
from operators.recommend.candidates.name_hashes import BITS, SIMILARITY_BY_BITS
from operators.tables.array_ops import first_occurrence
from operators.tables.score_sums import best_items
from state.arrays import NO_ROW

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from operators.recommend.candidates.content import Content
    from operators.recommend.candidates.item_attributes import ItemAttributes
    from state.arrays import Rows, Weights
    from state.interactions import ListRequests, ScoredLists


def content(learner: Content, requests: ListRequests, k: int) -> ScoredLists:
    """The items of the groups of viewed items by weight and similarity. The learner has cards."""
    context = first_occurrence(requests.context[:, : learner.context_items])
    length = context.shape[1]
    known = (context >= 0) & (context < learner.items)
    context = np.where(known, context, NO_ROW)
    reference = np.concatenate([context, context[:, :1]], axis=1)
    safe = np.where(reference >= 0, reference, 0)
    column = np.append(np.full(length, CATEGORY), BRAND)
    group = np.where(reference >= 0, learner.attributes.group[safe, column], NO_ROW)
    item, weight = learner.table.lookup(group)
    exponent, is_valid = similarity(learner.attributes, np.maximum(item, 0), safe)
    # A group may still hold an item that was replaced or is in another group now.
    is_valid &= item >= 0
    position_weight = np.float32(learner.position_decay) ** np.append(np.arange(length), 0).astype(
        np.float32
    )
    tiny = np.finfo(np.float32).tiny
    heaviest_weight = np.maximum(weight.max(axis=(1, 2), keepdims=True), tiny)
    share = np.log(np.maximum(weight / heaviest_weight, tiny))
    score = np.exp(exponent + share * np.float32(learner.popularity_exponent))
    score *= position_weight[:, None]
    wide = (len(reference), (length + 1) * learner.table.width)
    return best_items(
        np.where(is_valid, item, NO_ROW).reshape(wide),
        score.reshape(wide),
        np.repeat(reference, learner.table.width, axis=1),
        k,
        repeats=length + 1,
    )


def similarity(
    attributes: ItemAttributes, item: Rows, reference: Rows
) -> tuple[Weights, NDArray[np.bool_]]:
    """The similarity of items [n, r, w] to one item each [n, r], as an exponent, and whether they are
    of the same category, in the last r of the same brand."""
    category, brand, price, text = attributes.similarity_weights
    all_groups, all_prices, all_hashes = attributes.replicated_columns()
    groups, reference_groups = all_groups.take(item, axis=0), all_groups[reference][:, :, None]
    same_category = groups[..., CATEGORY] == reference_groups[..., CATEGORY]
    same_category &= reference_groups[..., CATEGORY] >= 0
    same_brand = groups[..., BRAND] == reference_groups[..., BRAND]
    same_brand &= reference_groups[..., BRAND] >= 0
    by_group = np.array([0, category, brand * np.float32(0.5), category + brand], np.float32)
    exponent = by_group.take(same_category + np.uint8(2) * same_brand)
    price_similarity = np.abs(all_prices.take(item) - all_prices[reference][:, :, None])
    price_similarity = price * np.exp(price_similarity * np.float32(-2))
    price_similarity[np.isnan(price_similarity)] = 0
    exponent += price_similarity * same_category
    left, right = all_hashes.take(item), all_hashes[reference][:, :, None]
    differing_bits = np.bitwise_count(left ^ right)
    exponent += (
        text * SIMILARITY_BY_BITS[np.where((left == 0) | (right == 0), BITS, differing_bits)]
    )
    same_category[:, -1] = same_brand[:, -1]
    return exponent, same_category
