"""Shoppers and items that are no more: merged, erased, put away, or too many.

Each gives the changes of memberships that follow, and appends what else Redis is told.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from operators.catalogue.last_seen import longest_unseen
from operators.publish import profile_fields
from operators.segments.changes import Change
from operators.segments.propensity.profile_fields import MODELS_OF_LATER
from state import keys
from state.interactions import NOBODY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from operators.personalize.state import Learned
    from state.messages import Active, Visited, Write


_FIELDS = (*profile_fields.OF_KINDS, *MODELS_OF_LATER)
"""What a profile does not say of one who is in no segment and of whom nothing is foretold."""


def come_and_go(learned: Learned, visited: list[Visited]) -> list[Change]:
    """Let those who turn out to be users in this batch enter and leave what they did before that: in a
    batch of their own they had done it, and batches do not show."""
    erased = {name for one in visited for name, _ in one.erased}
    moves = {name for one in visited for name, user, _ in one.moved if user not in erased}
    former = (one for v in visited for one in v.former if one[0] in moves)
    return learned.audience.apply(former, learned.recommender.shoppers)


def leave(learned: Learned, visited: list[Visited], writes: list[Write]) -> list[Change]:
    """Shoppers that are no more: merged into a user, or erased."""
    changes: list[Change] = []
    shoppers, now_ms = learned.recommender.shoppers, learned.now_ms
    gone = [(a, user, Change("merge", a, user, at)) for v in visited for a, user, at in v.moved]
    gone += [(who, "", Change("erase", who, "", at)) for v in visited for who, at in v.erased]
    erased: set[int] = set()
    refusing = {one[0]: one[2] for v in visited for one in v.active if one[2]}
    for name, user, change in gone:
        learned.recommender.leave(name, user)
        row = shoppers.find(name)
        known, refused = learned.audience.is_known(row), learned.audience.refused_by(row)
        refused |= refusing.get(user, 0)
        learned.propensity.leave(row, name, erased=not user)
        changes += learned.standing.drop(row, name, change.at_ms)
        learned.standing.leave(row, shoppers.find(user))
        writes.append(("DEL", keys.segments_key(name), keys.top_key(name, keys.SLOT)))
        changes.append(change._replace(known=known, refused=refused))
        if row != NOBODY and user:
            learned.views.move(row, shoppers.find(user))
        elif row != NOBODY:
            erased.add(row)
    if erased:
        # The row is another's from now on: not even the name is kept.
        rows = np.array(sorted(erased), np.int32)
        learned.standing.forget(rows)
        learned.propensity.forget(rows)
        learned.views.leave("shopper", rows, now_ms)
        learned.recommender.forget_shoppers(rows)
        learned.is_unclean = True
    return changes


def forget(
    learned: Learned, evicted: Iterable[tuple[str, int]], writes: list[Write]
) -> list[Change]:
    """Forget shoppers, by id and event time; those never seen are nothing special.

    They leave their segments; their other keys expire.
    """
    changes: list[Change] = []
    rows: list[int] = []
    for name, at_ms in evicted:
        row = learned.recommender.shoppers.find(name)
        changes += learned.standing.drop(row, name, at_ms)
        writes.append(("DEL", keys.segments_key(name)))
        writes.append(profile_fields.forgotten(name, _FIELDS))
        if row != NOBODY:
            rows.append(row)
    gone = np.unique(np.array(rows, np.int32))
    learned.standing.forget(gone)
    learned.propensity.forget(gone)
    learned.views.leave("shopper", gone, learned.now_ms)
    learned.recommender.forget_shoppers(gone)
    return changes


def bound(learned: Learned, writes: list[Write]) -> list[Change]:
    """Where there are more shoppers or items than may be, those longest unseen give way."""
    bounds, recommender = learned.settings.state, learned.recommender
    changes: list[Change] = []
    if len(recommender.shoppers.rows) > bounds.shoppers_max:
        live, audience = recommender.shoppers.live(), learned.audience
        rows = longest_unseen(live, audience.last_ms[: audience.rows], bounds.shoppers_max)
        names = [recommender.shoppers.ids[row] for row in rows.tolist()]
        changes = forget(learned, [(name, learned.now_ms) for name in names], writes)
    if len(recommender.items.rows) > bounds.items_max:
        items = longest_unseen(recommender.items.live(), recommender.seen.at_ms, bounds.items_max)
        learned.cards.forget([recommender.items.ids[row] for row in items.tolist()])
        learned.views.leave("item", items, learned.now_ms)
        recommender.forget_items(items)
    return changes


def evicted(visited: list[Visited], active: list[Active]) -> list[tuple[str, int]]:
    """Who is no longer in memory, but for those who are back already."""
    found = list(chain.from_iterable(v.evicted for v in visited))
    back = {one[0] for one in active} if found else set()
    return [one for one in found if one[0] not in back]
