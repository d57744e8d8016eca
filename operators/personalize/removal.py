"""Shoppers and items that are no more: merged, erased, put away, or too many.

Each gives the changes of memberships that follow, and appends what else Redis is told.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from operators.catalogue.last_seen import least_recent
from operators.publish import profile_fields
from operators.segments.propensity.profile_fields import WEEKLY_MODELS
from state import keys
from state.arrays import NO_ROW
from state.changes import Change
from state.profile_fields import EXCLUSIVE_KIND_FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from operators.personalize.state import PersonalizationState
    from state.messages import ActiveShopper, ShardOutput, Write


_MODEL_FIELDS = (*EXCLUSIVE_KIND_FIELDS, *WEEKLY_MODELS)
"""What a profile does not say of one who is in no segment and of whom nothing is foretold."""


def apply_transitions_before_merge(
    learned: PersonalizationState, visited: list[ShardOutput]
) -> list[Change]:
    """Let those who turn out to be users in this batch enter and leave what they did before that: in a
    batch of their own they had done it, and batches do not show."""
    erased = {name for one in visited for name, _ in one.erased}
    moves = {m.anonymous_id for one in visited for m in one.merged if m.shopper not in erased}
    former = (one for v in visited for one in v.transitions_before_merge if one.shopper in moves)
    return learned.memberships.apply_transitions(former, learned.recommender.shoppers)


def remove_merged_and_erased(
    learned: PersonalizationState, visited: list[ShardOutput], writes: list[Write]
) -> list[Change]:
    """Shoppers that are no more: merged into a user, or erased."""
    changes: list[Change] = []
    shoppers, now_ms = learned.recommender.shoppers, learned.newest_event_ms
    gone = [
        (m.anonymous_id, m.shopper, Change("merge", m.anonymous_id, m.shopper, m.at_ms))
        for v in visited
        for m in v.merged
    ]
    gone += [(who, "", Change("erase", who, "", at)) for v in visited for who, at in v.erased]
    erased: set[int] = set()
    refusing = {one.shopper: one.refused for v in visited for one in v.active if one.refused}
    for name, user, change in gone:
        learned.recommender.components.merge_or_erase(name, user)
        row = shoppers.get(name)
        known, refused = learned.memberships.is_known(row), learned.memberships.refused_by(row)
        refused |= refusing.get(user, 0)
        learned.propensity.merge_or_erase(row, name, erased=not user)
        changes += learned.assignment.remove(row, name, change.at_ms)
        learned.shop.remove_active(learned.memberships.last_ms_of(row))
        learned.assignment.merge_or_erase(row, shoppers.get(user))
        writes.append(("DEL", keys.segments_key(name), keys.top_key(name, keys.SLOT)))
        changes.append(change._replace(known=known, refused=refused))
        if row != NO_ROW and user:
            learned.recent_views.reassign(row, shoppers.get(user))
        elif row != NO_ROW:
            erased.add(row)
    if erased:
        # The row is another's from now on: not even the name is kept.
        rows = np.array(sorted(erased), np.int32)
        learned.assignment.remove_shoppers(rows)
        learned.propensity.remove_shoppers(rows)
        learned.recent_views.release("shopper", rows, now_ms)
        learned.recommender.components.remove_shoppers(rows)
        learned.journal_names_erased = True
    return changes


def remove_evicted(
    learned: PersonalizationState, evicted: Iterable[tuple[str, int]], writes: list[Write]
) -> list[Change]:
    """Forget shoppers, by id and event time; those never seen are nothing special.

    They leave their segments; their other keys expire.
    """
    changes: list[Change] = []
    rows: list[int] = []
    for name, at_ms in evicted:
        row = learned.recommender.shoppers.get(name)
        changes += learned.assignment.remove(row, name, at_ms)
        writes.append(("DEL", keys.segments_key(name)))
        writes.append(profile_fields.remove_fields(name, _MODEL_FIELDS))
        if row != NO_ROW:
            rows.append(row)
    gone = np.unique(np.array(rows, np.int32))
    learned.assignment.remove_shoppers(gone)
    learned.propensity.remove_shoppers(gone)
    learned.recent_views.release("shopper", gone, learned.newest_event_ms)
    learned.recommender.components.remove_shoppers(gone)
    return changes


def enforce_limits(learned: PersonalizationState, writes: list[Write]) -> list[Change]:
    """Where there are more shoppers or items than may be, those longest unseen give way."""
    bounds, recommender = learned.settings.state, learned.recommender
    changes: list[Change] = []
    if len(recommender.shoppers.row_by_id) > bounds.shoppers_max:
        live, audience = recommender.shoppers.live_rows(), learned.memberships
        rows = least_recent(live, audience.last_ms[: audience.rows], bounds.shoppers_max)
        names = [recommender.shoppers.ids[row] for row in rows.tolist()]
        changes = remove_evicted(
            learned, [(name, learned.newest_event_ms) for name in names], writes
        )
    if len(recommender.items.row_by_id) > bounds.items_max:
        items = least_recent(
            recommender.items.live_rows(), recommender.components.last_seen.at_ms, bounds.items_max
        )
        learned.item_cards.remove([recommender.items.ids[row] for row in items.tolist()])
        learned.recent_views.release("item", items, learned.newest_event_ms)
        recommender.components.remove_items(items)
    return changes


def evicted_shoppers(
    outputs: list[ShardOutput], active: list[ActiveShopper]
) -> list[tuple[str, int]]:
    """Who is no longer in memory, but for those who are back already."""
    all_evicted = list(chain.from_iterable(output.evicted for output in outputs))
    active_again = {row.shopper for row in active} if all_evicted else set()
    return [entry for entry in all_evicted if entry[0] not in active_again]
