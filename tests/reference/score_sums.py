"""Sums of scores by row and item: what the plain forms of kernels are built from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.tables.score_sums import ScoreSums, group_by_item

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from state.arrays import Rows, Weights


def sum_by_item(item: Rows, score: Weights) -> ScoreSums:
    """Scores [n, w] of items [n, w], NO_ROW-padded anywhere, summed by row and item."""
    groups = group_by_item(item)
    if not len(groups.starts):
        return groups
    return groups._replace(score=np.add.reduceat(score.take(groups.source), groups.starts))


def best_sources(sums: ScoreSums, score: Weights) -> NDArray[np.intp]:
    """For each sum the flat column with the largest score, the first of equals."""
    return sums.sum_first(score, len(sums.source))[1]
