"""Rebuilds the content of Redis from stored state: for a Redis that came back empty, or a new one.

Everything is as of the moment at which the flow resumes; what the flow writes after that is the
same as it would have been. Change streams are history and are not rebuilt. Shards are loaded one
after the other, and commands come in chunks. This module only iterates: the writers are those that
the flow uses.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from operators.personalize.state import PersonalizationState
from operators.personalize.training.clusters import ClusterTrainer
from operators.personalize.training.items import ItemTraining
from operators.personalize.training.propensity import PropensityTrainer
from operators.publish import item_lists as item_list_writes
from operators.publish import memberships as membership_writes
from operators.publish import shopper_lists
from operators.publish.profiles import Profile, profile_write
from operators.recommend.online_evaluation import LIST_TTL_S
from operators.segments import retired_keys
from operators.segments.propensity.profile_fields import FIELDS, NO_STEP
from operators.shards.aliases import alias_write
from operators.shards.shard_journal import ShardJournal
from operators.shards.shopper_writes import session_writes
from operators.shards.watermark import Watermark
from operators.shoppers import profile_hash
from operators.shoppers.consent import personalized_indexes
from operators.shoppers.features import LAST_MS_COLUMN, feature_matrix, feature_row, feature_rows
from state import keys
from state.arrays import NO_ROW
from state.entries import ActiveShopper
from state.resp import pack_int
from state.snapshots import CLUSTERS_CODEC, ITEMS_CODEC, LEARN_CODEC, PROPENSITY_CODEC, DevicesState
from state.tombstones import Tombstones

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from operators.segments.clusters.model import ClusterModel
    from operators.shards.config import ProcessorConfig
    from state.config import Settings
    from state.journal import Journals
    from state.messages import Write
    from state.shopper import Shopper
    from state.snapshots import ClustersState, ItemsState, LearnState, PropensityState, UsersState

CHUNK_ROWS = 1000
"""Shoppers, links or items in a chunk."""


def rebuild(
    settings: Settings,
    config: ProcessorConfig,
    learn_state: LearnState,
    clusters_state: ClustersState | None,
    items_state: ItemsState | None,
    propensity_state: PropensityState | None,
    shards: Iterable[DevicesState | UsersState],
    journals: Journals,
) -> Iterator[list[Write]]:
    """All commands, in chunks. What concerns many shoppers comes before what is one shopper's own."""
    state = PersonalizationState(settings, LEARN_CODEC.encode(learn_state), journals)
    snapshot = None if clusters_state is None else CLUSTERS_CODEC.encode(clusters_state)
    trainer = ClusterTrainer(settings, snapshot, journals)
    state.clusters.numbers, state.clusters.next_id = (
        trainer.clusters.numbers,
        trainer.clusters.next_id,
    )
    snapshot = None if items_state is None else ITEMS_CODEC.encode(items_state)
    items = ItemTraining(settings, snapshot, journals)
    state.recommender.write_replica(items.trainer.models.take_changes())
    snapshot = None if propensity_state is None else PROPENSITY_CODEC.encode(propensity_state)
    propensity = PropensityTrainer(settings, snapshot, journals)
    shards = list(shards)
    withheld_users: set[str] = set()
    reached_ms = max(
        (Watermark(shard_state.watermarks).reached_ms for shard_state in shards), default=0
    )
    yield from shared_writes(state, reached_ms, CHUNK_ROWS)
    yield trainer.report_writes(last=True)
    yield propensity.report_writes()
    yield from item_writes(items, CHUNK_ROWS)
    erased: dict[bytes, int] = {}
    # Users first: aliases are written only of devices whose users do not refuse analytics.
    for shard_state in sorted(shards, key=lambda state: isinstance(state, DevicesState)):
        kind = "devices" if isinstance(shard_state, DevicesState) else "users"
        loaded = ShardJournal(kind, journals).load(shard_state)
        erased |= loaded.erased
        withheld_users.update(name for name, shopper in loaded.rows.items() if not shopper.events)
        shoppers = iter(loaded.rows.items())
        while chunk := list(islice(shoppers, CHUNK_ROWS)):
            yield _shopper_writes(chunk, state, trainer.clusters, propensity, config, reached_ms)
        # An id that is a user's own, or may be one, has no alias.
        linked_devices = (
            device
            for device in loaded.links
            if device not in loaded.known and device not in loaded.rows
        )
        while devices := list(islice(linked_devices, CHUNK_ROWS)):
            yield [
                alias_write(device, loaded.links[device][0], config.alias_ttl_s)
                for device in devices
                if loaded.links[device][0] not in withheld_users
            ]
    yield Tombstones(config.privacy_key, config.tombstone_ms, erased).all_writes(reached_ms)


def _shopper_writes(
    chunk: list[tuple[str, Shopper]],
    state: PersonalizationState,
    clusters: ClusterModel,
    propensity: PropensityTrainer,
    config: ProcessorConfig,
    now_ms: int,
) -> list[Write]:
    """Profiles with the time that they have left, running sessions, lists."""
    active: list[ActiveShopper] = []
    writes: list[Write] = []
    for name, shopper in chunk:
        ttl_s = config.known_ttl_s if shopper.known else config.anonymous_ttl_s
        ttl_s -= max(0, now_ms - shopper.last_ms) // 1000
        if ttl_s <= 0 or not shopper.events:
            continue
        category, share = config.affinities.top(shopper)
        key = keys.profile_key(name)
        arguments, count = profile_hash.profile_command(key, shopper, category, share)
        features = feature_row(
            shopper, share, shopper.open_sessions[-1] if shopper.open_sessions else None
        )
        active.append(
            ActiveShopper(name, shopper.known, shopper.refused, features, arguments, count)
        )
        writes.append(("EXPIRE", key, ttl_s))
        if shopper.open_sessions:
            session = keys.session_key(name)
            writes += session_writes(
                name, session, shopper.open_sessions[-1], pack_int(config.session_ttl_ms)
            )
    if not active:
        return []
    return (
        _profile_writes(active, state, clusters, propensity) + writes + _list_writes(active, state)
    )


def _profile_writes(
    active: Sequence[ActiveShopper],
    learned: PersonalizationState,
    clusters: ClusterModel,
    propensity: PropensityTrainer,
) -> list[Write]:
    """The profiles of shoppers, with the cluster that each was assigned to last."""
    raw = feature_rows(row.features for row in active)
    nearest, distance = clusters.assign(feature_matrix(raw))
    find = learned.recommender.shoppers.get
    rows = np.array([find(row.shopper) for row in active], np.int32)
    used = personalized_indexes([row.refused for row in active])
    steps = np.full((len(active), len(FIELDS)), NO_STEP, np.int16)
    names = [active[index].shopper for index in used.tolist()]
    steps[used] = propensity.published_steps(names, raw[used])
    writes: list[Write] = []
    nearest_indexes = learned.assignment.cluster_indexes(nearest).tolist()
    for row, shopper, row_steps, nearest_index, d in zip(
        rows.tolist(), active, steps.tolist(), nearest_indexes, distance.tolist(), strict=True
    ):
        rfm, stage = (0, "")
        if row != NO_ROW:
            ((rfm, stage),) = learned.assignment.rfm_and_stages(np.array([row]))
        index = learned.memberships.segment_of("cluster", row)
        cluster = "" if index == NO_ROW else learned.memberships.registry.ids[index]
        profile = Profile(shopper.profile, shopper.argument_count, row_steps, cluster)
        # Where the centres have moved on since, the distance to this one is not known.
        distance_known = d if index == nearest_index else None
        writes.append(
            profile_write(profile._replace(distance=distance_known, rfm=rfm, stage=stage))
        )
    return writes


def _list_writes(active: Sequence[ActiveShopper], learned: PersonalizationState) -> list[Write]:
    """The lists of those shoppers whose last list has not expired."""
    since_ms = learned.clock.newest_event_ms - LIST_TTL_S * 1000
    last_ms = feature_rows(one.features for one in active)[:, LAST_MS_COLUMN]
    recent = [one for one, at_ms in zip(active, last_ms, strict=True) if at_ms >= since_ms]
    writes: list[Write] = []
    shopper_lists.write_lists(learned.recommender, recent, learned.clock.newest_event_ms, writes)
    return writes


def shared_writes(
    learned: PersonalizationState, watermark_ms: int, limit: int
) -> Iterator[list[Write]]:
    """Everything of personalization but what is one shopper's, at most so many keys at once."""
    recommender, audience = learned.recommender, learned.memberships
    now_ms = learned.clock.newest_event_ms
    yield [learned.counters.meta_write(watermark_ms, len(recommender.items.row_by_id))]
    recommender.components.popular_lists.mark_all()
    learned.definitions.are_published = False
    # A Redis that was set back may have members who have left since.
    yield [membership_writes.delete_members(sid) for _, sid in audience.registry.active()]
    yield [*retired_keys.deletion_writes(learned.segments, learned.rule_versions.versions)]
    shoppers = iter(recommender.shoppers.row_by_id.items())
    while chunk := list(islice(shoppers, limit)):
        yield [
            write
            for name, row in chunk
            if (memberships := audience.memberships_of(row))
            for write in membership_writes.full_membership_writes(name, memberships)
        ]
    yield learned.aggregates.writes(
        now_ms,
        learned.clock.reporting_time_ms,
        max(learned.shop.last_received_ms, learned.clock.event_time_ms),
        watermark_ms,
        last=True,
    )
    yield learned.definitions.cluster_times(now_ms)


def item_writes(items: ItemTraining, limit: int) -> Iterator[list[Write]]:
    """All cards and lists of items, at most so many at once."""
    cards, item_lists, now_ms = items.cards, items.trainer.item_lists, items.newest_ms
    item_lists.mark_all()
    unpublished = iter(sorted(cards.by_id))
    while unpublished_chunk := set(islice(unpublished, limit)):
        cards.unpublished = unpublished_chunk
        yield cards.take_writes()
    while (changed := item_lists.take_changed_similar(now_ms, limit))[0]:
        yield item_list_writes.similar_writes(changed, now_ms)
    while (changed := item_lists.take_changed_bought(now_ms, limit))[0]:
        yield item_list_writes.bought_writes(changed, now_ms)
