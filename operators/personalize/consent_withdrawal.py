"""Shoppers who go on being counted, and withdraw consent for a purpose: what was made for it goes.

For personalization that is lists, what was learned from the shopper, the cluster and predictions. Views
of items are kept for alerts, which are ads. What was added to sums over all shoppers stays in them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.publish.profiles import remove_fields
from operators.publish.shopper_lists import delete_lists
from operators.segments.propensity import built_in_segments
from operators.segments.propensity.profile_fields import SESSION, WEEKLY_MODELS
from state.arrays import NO_ROW
from state.changes import Change
from state.entries import Transition
from state.shopper import PERSONALIZATION, PURPOSES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from operators.personalize.batch import Batch
    from operators.personalize.shopper_state import ShopperState
    from state.messages import Write

PERSONALIZED_FIELDS = ("cluster", "cluster_distance", SESSION, *WEEKLY_MODELS)
"""Profile fields that are made for personalization."""


def apply_withdrawals(
    batch: Batch, state: ShopperState, now_ms: int, writes: list[Write]
) -> list[Change]:
    """Remove what was made for purposes that are withdrawn; the changes that follow."""
    changes: list[Change] = []
    viewers: list[int] = []
    for withdrawal in batch.consent_withdrawals:
        row = state.recommender.shoppers.get(withdrawal.shopper)
        if row == NO_ROW:
            continue
        viewers.append(row)
        if withdrawal.purposes & PERSONALIZATION:
            changes += _remove_personalization(
                state, withdrawal.shopper, row, withdrawal.at_ms, writes
            )
        known = state.assignment.memberships.is_known(row)
        changes += [
            Change("refuse", withdrawal.shopper, purpose, withdrawal.at_ms, known)
            for purpose, bit in PURPOSES.items()
            if withdrawal.purposes & bit
        ]
    state.recent_views.release("shopper", np.array(viewers, np.int32), now_ms)
    return changes


def _remove_personalization(
    state: ShopperState, name: str, row: int, at_ms: int, writes: list[Write]
) -> Iterator[Change]:
    memberships, rows = state.assignment.memberships, np.array([row], np.int32)
    state.recommender.components.unlearn_shoppers(rows)
    writes += delete_lists([name])
    writes.append(remove_fields(name, PERSONALIZED_FIELDS))
    no_cluster = np.full(1, NO_ROW, np.int16)
    yield from memberships.assign("cluster", [name], rows, no_cluster, np.array([at_ms]))
    exits = [Transition(name, sid, False, at_ms) for sid in built_in_segments.IDS.values()]
    yield from memberships.apply_transitions(exits, state.recommender.shoppers)
