"""Whether lists are equal up to the rounding of their scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from state.arrays import NO_ROW

if TYPE_CHECKING:
    from state.interactions import ScoredLists


def assert_same_lists(lists: ScoredLists, whole: ScoredLists, tolerance: float = 1e-5) -> None:
    """`lists` are the first k items of `whole`, which hold all there are.

    Scores may differ by `tolerance`, relative to the score, and by 1e-9. Items whose scores differ by
    less may change places.
    """
    k = lists.item.shape[1]
    expected = np.pad(whole.score, ((0, 0), (0, max(0, k - whole.score.shape[1]))))[:, :k]
    np.testing.assert_allclose(lists.score, expected, rtol=tolerance, atol=1e-9)
    for row in range(len(lists.item)):
        columns = zip(whole.item[row], whole.score[row], whole.reason_item[row], strict=True)
        of_item = {int(item): (score, reason) for item, score, reason in columns if item != NO_ROW}
        count = int((lists.item[row] != NO_ROW).sum())
        assert count == min(k, len(of_item))
        assert (lists.item[row, count:] == NO_ROW).all()
        assert len({*lists.item[row, :count].tolist()}) == count
        for position in range(count):
            score, reason = of_item[int(lists.item[row, position])]
            np.testing.assert_allclose(lists.score[row, position], score, rtol=tolerance, atol=1e-9)
            assert lists.reason_item[row, position] == reason
