"""Why an item is in a list: codes of reasons that are no item, and their words.

The words are public: they stand in the lists in Redis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from state.arrays import NO_ROW
from state.interactions import ScoredLists

if TYPE_CHECKING:
    from collections.abc import Sequence


LEARNER_REASONS = {"popularity": "popular"}
"""What a list says of a learner that named no single item, where that is not its own name."""


OWN_BRAND, EXPLORED = "own_brand", "explored"


RULE_REASONS = (OWN_BRAND, EXPLORED)
"""What a list says of an item that a rule put where it is, after the words of the learners."""


def reason_code(index: int) -> int:
    """The `because` that stands for the learner at this place, or for a rule at a place after those of
    the learners, instead of for an item."""
    return NO_ROW - 1 - index


def rule_reason(learners: Sequence[str], rule: str) -> int:
    """The reason code of one of `RULE_REASONS`; their codes follow those of the learners."""
    return reason_code(len(learners) + RULE_REASONS.index(rule))


def with_default_reason(lists: ScoredLists, index: int) -> ScoredLists:
    """Lists of the learner at this place: where it names no item as the reason, it is the reason."""
    because = np.where(lists.reason_item >= 0, lists.reason_item, reason_code(index))
    return ScoredLists(lists.item, lists.score, because)
