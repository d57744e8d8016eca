"""Why an item is in a list: codes of reasons that are no item, and their words.

The words are public: the lists in Redis hold them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from state.arrays import NO_ROW
from state.interactions import ScoredLists

if TYPE_CHECKING:
    from collections.abc import Sequence


LEARNER_REASONS = {"popularity": "popular"}
"""The reason for a learner that names no item, if it is not the learner's own name."""


OWN_BRAND, EXPLORED = "own_brand", "explored"
RULE_REASONS = (OWN_BRAND, EXPLORED)
"""The reasons for items that a rule put where they are."""


def reason_code(index: int) -> int:
    """The `reason_item` that is no item: the learner of this index, or a rule of an index after those
    of the learners."""
    return NO_ROW - 1 - index


def rule_reason(learners: Sequence[str], rule: str) -> int:
    """The reason code of one of `RULE_REASONS`; their codes follow those of the learners."""
    return reason_code(len(learners) + RULE_REASONS.index(rule))


def with_default_reason(lists: ScoredLists, index: int) -> ScoredLists:
    """The lists of the learner of this index: it is the reason where it names no item."""
    reason_item = np.where(lists.reason_item >= 0, lists.reason_item, reason_code(index))
    return ScoredLists(lists.item, lists.score, reason_item)
