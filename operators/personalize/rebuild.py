"""Everything again: what Redis should hold, made from what a flow has stored.

For a Redis that came back empty, or is a new one. All of it is of the one moment at which the flow goes
on; whatever the flow writes after that is the same as it would have been. Change streams are history,
and not told again. Shards are loaded one after the other, and writes come in portions.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from operators.personalize.consent_withdrawal import may_be_used, with_chances_again
from operators.personalize.state import Learned
from operators.publish import aggregates, shopper_lists
from operators.publish import memberships as membership_writes
from operators.recommend.online_evaluation import LIST_TTL_S
from operators.segments import retirement
from operators.shards.shard_state import StoredRows
from operators.shards.sharding import Watermark
from operators.shoppers import profile
from operators.shoppers.features import LAST_MS, feature_matrix, feature_row, feature_rows
from state import keys
from state.interactions import NOBODY
from state.resp import bulk, command
from state.segments import cluster_id
from state.snapshots import LEARNED, DevicesState
from state.tombstones import Tombstones

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from operators.shards.processor import Rules
    from state.config import Settings
    from state.journal import Journals
    from state.messages import Active, Write
    from state.shopper import Shopper
    from state.snapshots import LearnedState, UsersState

PORTION = 1000
"""Shoppers, links or items in a portion."""


def retold(
    settings: Settings,
    rules: Rules,
    learned: LearnedState,
    shards: Iterable[DevicesState | UsersState],
    journals: Journals,
) -> Iterator[list[Write]]:
    """All writes, in portions. What is told of many comes before the lists of each shopper."""
    parts = Learned(settings, LEARNED.encode(learned), journals)
    shards = list(shards)
    withheld: set[str] = set()
    reached_ms = max((Watermark(one.watermarks).reached_ms for one in shards), default=0)
    yield from rest(parts, reached_ms, PORTION)
    erased: dict[bytes, int] = {}
    # Users first: whose devices they are is told of those only who may be told of.
    for state in sorted(shards, key=lambda state: isinstance(state, DevicesState)):
        kind = "devices" if isinstance(state, DevicesState) else "users"
        loaded = StoredRows(kind, journals).load(state)
        erased |= loaded.erased
        withheld.update(name for name, shopper in loaded.rows.items() if not shopper.events)
        shoppers = iter(loaded.rows.items())
        while some := list(islice(shoppers, PORTION)):
            yield _shoppers(some, parts, rules, reached_ms)
        # An id that is a user's, or seems to be, leads to nobody else.
        linked = (one for one in loaded.links if one not in loaded.known and one not in loaded.rows)
        while found := list(islice(linked, PORTION)):
            yield [
                ("SET", keys.alias_key(one), loaded.links[one][0], "EX", rules.alias_ttl_s)
                for one in found
                if loaded.links[one][0] not in withheld
            ]
    yield Tombstones(rules.privacy_key, rules.tombstone_ms, erased).writes(reached_ms)


def _shoppers(
    some: list[tuple[str, Shopper]], learned: Learned, rules: Rules, now_ms: int
) -> list[Write]:
    """Profiles with the life they have left, running sessions, lists."""
    active: list[Active] = []
    writes: list[Write] = []
    for name, shopper in some:
        ttl_s = rules.known_ttl_s if shopper.known else rules.anonymous_ttl_s
        ttl_s -= max(0, now_ms - shopper.last_ms) // 1000
        if ttl_s <= 0 or not shopper.events:
            continue
        category, share = rules.tastes.strongest(shopper)
        key = keys.profile_key(name)
        arguments, count = profile.profile_arguments(key, shopper, category, share)
        features = feature_row(shopper, share, shopper.open[-1] if shopper.open else None)
        active.append((name, shopper.known, shopper.refused, features, arguments, count))
        writes.append(("EXPIRE", key, ttl_s))
        if shopper.open:
            session = keys.session_key(name)
            writes.append(profile.session_write(name, session, shopper.open[-1]))
            writes.append(("PEXPIRE", session, rules.session_ttl_ms))
    if not active:
        return []
    return _profiles(active, learned) + writes + _lists(active, learned)


def _profiles(active: Sequence[Active], learned: Learned) -> list[Write]:
    """The profiles of shoppers, with the cluster each was last put into."""
    names, _, refused, features, profiles, counts = zip(*active, strict=True)
    raw = feature_rows(features)
    nearest, distance = learned.clusters.assign(feature_matrix(raw))
    find = learned.recommender.shoppers.find
    rows = np.array([find(name) for name in names], np.int32)
    used = may_be_used(refused)
    heads, numbers = with_chances_again(learned.propensity, profiles, counts, rows, raw, used)
    writes: list[Write] = []
    places = learned.standing.cluster_places(nearest).tolist()
    for row, head, count, c, at, d in zip(
        rows.tolist(), heads, numbers, nearest.tolist(), places, distance.tolist(), strict=True
    ):
        if row != NOBODY:
            (tail, more) = learned.standing.tails(np.array([row]))[0]
            head, count = head + tail, count + more
        own = learned.audience.segment_of("cluster", row)
        if own == NOBODY:
            writes.append(command(head, count))
        elif own == at:
            writes.append(command(f"{head}{learned.tails[c]}{bulk(f'{d:.3f}')}", count + 4))
        else:  # the centres have moved on since
            cluster = bulk("cluster") + bulk(learned.audience.roster.ids[own])
            writes.append(command(f"{head}{cluster}", count + 2))
    return writes


def _lists(active: Sequence[Active], learned: Learned) -> list[Write]:
    """Lists of those among shoppers who were active so lately that theirs had not expired."""
    since_ms = learned.now_ms - LIST_TTL_S * 1000
    last_ms = feature_rows(one[3] for one in active)[:, LAST_MS]
    recent = [one for one, at_ms in zip(active, last_ms, strict=True) if at_ms >= since_ms]
    writes: list[Write] = []
    shopper_lists.write(learned, recent, writes)
    return writes


def rest(learned: Learned, watermark_ms: int, most: int) -> Iterator[list[Write]]:
    """All but what is a shopper's own, at most so many keys at once."""
    recommender, cards, audience = learned.recommender, learned.cards, learned.audience
    yield [learned.ledger.write(watermark_ms, len(recommender.items.rows))]
    recommender.of_items.change_all()
    recommender.of_all.change_all()
    cards.changed.update(cards.rows)
    learned.told_definitions = False
    # A Redis that came back as it was before may name members who have left since.
    yield [("DEL", keys.members_key(sid)) for _, sid in audience.roster.living()]
    yield [*retirement.erased(learned)]
    shoppers = iter(recommender.shoppers.rows.items())
    while named := list(islice(shoppers, most)):
        yield [
            write
            for name, row in named
            if (memberships := audience.of(row))
            for write in membership_writes.whole(name, memberships)
        ]
    yield aggregates.figures(learned, watermark_ms, last=True)
    yield [
        ("HSETNX", keys.definition_key(cluster_id(c)), "updated_ms", learned.now_ms)
        for c in learned.defined
    ]
    changed = iter(sorted(cards.changed))
    while some := set(islice(changed, most)):
        cards.changed = some
        yield cards.writes()
    for take, key_of in (
        (recommender.of_items.similar, keys.similar_key),
        (recommender.of_items.bought_together, keys.bought_key),
    ):
        while (found := take(learned.now_ms, most))[0]:
            yield aggregates.of_items(found, key_of, learned.now_ms)
