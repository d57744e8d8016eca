"""The step that sees every shopper: clusters, lists and what is derived from them, batch by batch.

It waits until all shards have handed in their part of a batch, so that batches are learned whole and
in one order, and then writes, in this order, who changed, what the shards wrote and what it made of
it. Within an epoch all parts arrive: nothing is pending in a snapshot.
"""

from __future__ import annotations

from collections import Counter
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from msgspec.structs import astuple

from operators.catalogue import item_alerts
from operators.personalize import removal
from operators.personalize.coalesce import coalesce_batches
from operators.personalize.consent_withdrawal import (
    apply_withdrawals,
    personalized_indexes,
    with_propensity_fields,
)
from operators.personalize.state import PersonalizationState
from operators.publish import (
    aggregates,
    memberships,
    profile_fields,
    shopper_lists,
    stockouts,
)
from operators.recommend.negative_feedback import FEEDBACK_KIND, FeedbackEvents
from operators.segments.compensation import compensate
from operators.segments.propensity.propensity import PropensityScores
from operators.shoppers.features import LAST_MS_COLUMN, feature_matrix, feature_rows
from state.arrays import NO_ROW
from state.interactions import CART, PURCHASE, VIEW, EventColumns
from state.messages import BatchOutput, WriteGroup
from state.resp import pack_command, pack_str
from state.shopper import PERSONALIZATION

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from operators.segments.changes import OrphanedChangesReader
    from state.changes import Change
    from state.config import Settings
    from state.journal import Journals
    from state.messages import (
        ActiveShopper,
        BatchId,
        Feedback,
        Interaction,
        ShardOutput,
        ShardPart,
        Write,
    )

_POSITION = attrgetter("position")
_EVENT_MS = attrgetter("at_ms")
_COLUMNS = attrgetter(
    "shopper", "item", "event_type", "at_ms", "session_start_ms", "category", "country"
)
EVENTS_PER_ITEM_LIST = 16
ITEM_LISTS_MIN = 32
"""A batch rewrites one changed list of an item for so many events, or `ITEM_LISTS_MIN`: they move
slowly,
and what a batch costs should follow what is in it."""

_INTERACTION_KIND_OF = {
    "item_view": VIEW,
    "wishlist_add": VIEW,
    "cart_add": CART,
    "purchase": PURCHASE,
}


class PersonalizeStep:
    """Everything learned over all shoppers. Changes its state in place.

    What grows is stored in `journals`; without any, a snapshot holds it all. `before` says, in a
    live run, what former runs left in Redis.
    """

    def __init__(
        self,
        settings: Settings,
        snapshot: bytes | None = None,
        journals: Journals | None = None,
        *,
        orphaned_changes: OrphanedChangesReader | None = None,
    ) -> None:
        self.state = PersonalizationState(settings, snapshot, journals)
        self._parts_expected = settings.sessions.shards**2
        self._incomplete: dict[BatchId, list[ShardPart]] = {}
        self._event_weights = msgspec.structs.asdict(settings.lists.weights)
        self._orphaned_changes: list[Change] = []
        self._already_published: frozenset[Change] = frozenset()
        if orphaned_changes is not None:
            change_log = self.state.change_log
            self._orphaned_changes, change_log.ids, self._already_published = (
                orphaned_changes.orphans_after(change_log.ids)
            )

    def process_batch(self, parts: Sequence[ShardPart]) -> list[BatchOutput]:
        """Take in shards' parts; of each batch that is whole now, all that it leads to.

        Live batches that are whole at once are learned as one: half of what a small batch costs
        does not depend on what is in it. Recorded ones are not, so that a replay comes out the same.
        """
        outputs, live_batches = [], []
        for part in parts:
            arrived = self._incomplete.setdefault(part.batch, [])
            arrived.append(part)
            if len(arrived) * part.device_shards < self._parts_expected:
                continue
            del self._incomplete[part.batch]
            for batch_id in (part.batch, *part.batch.joined):
                self.state.batches[batch_id.partition] = batch_id.number + 1
            arrived.sort(key=lambda part: part.shard)
            outputs_of_batch = [output for part in arrived for output in part.outputs]
            if part.batch.live:
                live_batches.append(outputs_of_batch)
            else:
                outputs.append(self._process_batches([outputs_of_batch]))
        if live_batches:
            outputs.append(self._process_batches(live_batches))
        return outputs

    def _process_batches(self, batches: Sequence[Sequence[ShardOutput]]) -> BatchOutput:
        """Learn whole batches in one go, in their order."""
        learned = self.state
        recommender, audience, ledger = learned.recommender, learned.memberships, learned.counters
        for one in chain.from_iterable(batches):
            ledger.update(one)
        batches = coalesce_batches(batches)
        visited = list(chain.from_iterable(batches))
        watermark_ms = max(one.watermark_ms for one in visited)
        last = learned.is_last_batch = any(one.last for one in visited)
        writes = list(chain.from_iterable(map(_shard_writes, batches)))
        # Of a shopper that several batches tell of, the newest.
        active = list({one.shopper: one for v in visited for one in v.active}.values())
        tried, apart = learned.errors.call_or_default, learned.errors.isolate
        changes, again = compensate(audience, self._orphaned_changes, recommender.shoppers.get)
        writes += memberships.membership_writes(again)
        corrected = learned.assignment.corrected_profiles([*changes, *again], recommender.shoppers)
        writes += profile_fields.update_writes(corrected)
        self._orphaned_changes = []
        received_ms = b"".join(one.received_ms for one in visited)
        with apart("propensity"):
            before_ms = max(one.watermark_ms for one in batches[0])
            learned.propensity.observe_batch(
                visited, recommender.shoppers.ids, learned.idle_limits_ms, before_ms
            )
        learned.advance_clock(watermark_ms)
        with apart("segments"):
            changes += removal.apply_transitions_before_merge(learned, visited)
        changes += tried("leave", [], removal.remove_merged_and_erased, learned, visited, writes)
        changes += tried("decline", [], apply_withdrawals, learned, visited, writes)
        clicks, for_ads = tried(
            "clicks", (_no_interactions(), None), self._interaction_columns, batches
        )
        profiles_end = len(writes)
        if active:
            profiles_end, changed = self._assign_or_publish_profiles(active, writes)
            changes += changed
        with apart("standing"):
            moved, aged = learned.assignment.advance_time(
                recommender.shoppers.ids, learned.event_time_ms, last=last
            )
            changes += moved
            writes += profile_fields.update_writes(aged)
        changes += tried("propensity", [], self._advance_propensity, writes, last)
        with apart("segments"):
            by_rule = chain.from_iterable(one.transitions for one in visited)
            changes += audience.apply_transitions(by_rule, recommender.shoppers)
        changes += tried("retiring", [], self._retire_segments, writes)
        writes += memberships.membership_writes(changes)
        segments_end = len(writes)
        with apart("signals"):
            recommender.observe_feedback(self._feedback_columns(batches))
        with apart("lists"):
            self._learn_interactions(clicks, for_ads)
        happened = tried(
            "triggers",
            [],
            item_alerts.triggered_changes,
            learned.item_cards.take_catalogue_events(),
            learned.settings.triggers,
            recommender.items,
            recommender.shoppers,
            learned.recent_views,
            audience.is_known,
        )
        changes += [one for one in happened if one not in self._already_published]
        with apart("orders"):
            self._count_orders(visited)
        if active:
            ledger.lists_written += tried(
                "lists", 0, shopper_lists.write_lists, learned, active, writes
            )
        writes += tried("sold_out", [], stockouts.stockout_writes, learned)
        if clicks.changed_items:
            writes += tried("lists", [], shopper_lists.fill_empty_lists, learned)
        lists_end = len(writes)
        writes += chain.from_iterable(one.expiry_writes for one in visited)
        gone = tried(
            "forget",
            [],
            removal.remove_evicted,
            learned,
            removal.evicted_shoppers(visited, active),
            writes,
        )
        gone += tried("bound", [], removal.enforce_limits, learned, writes)
        writes += memberships.membership_writes(gone)
        changes += gone
        ledger.segment_changes += sum(c.kind in ("enter", "leave") for c in changes)
        items_most = (
            None if last else max(ITEM_LISTS_MIN, len(clicks.items) // EVENTS_PER_ITEM_LIST)
        )
        writes += tried("items", [], aggregates.item_writes, learned, items_most)
        shop, most = learned.shop, learned.settings.serving.recent_events
        with apart("shop"):
            shop.count_batch(visited, np.frombuffer(received_ms, np.int64), clicks, ledger)
            writes += shop.recent_event_writes(visited, most, learned.reporting_time_ms)
        every_ms = learned.settings.lists.figures_every_ms
        is_due = learned.reporting_time_ms - learned.last_aggregates_ms >= every_ms
        if last or is_due or not learned.definitions_published:
            learned.last_aggregates_ms = learned.reporting_time_ms
            writes += tried(
                "figures", [], aggregates.aggregate_writes, learned, watermark_ms, last=last
            )
        writes.append(ledger.meta_write(watermark_ms, len(recommender.items.row_by_id)))
        told = learned.change_log.writes(changes)
        judged = recommender.components.online_evaluation.take_deltas()
        branches = [
            WriteGroup("profile", len(told) + profiles_end, received_ms),
            WriteGroup("segments", len(told) + segments_end, received_ms),
            WriteGroup("list", len(told) + lists_end, received_ms),
        ]
        drifts = learned.clusters.drift_detector.take_deltas()
        return BatchOutput(
            told + writes,
            branches,
            ledger.take_deltas(),
            watermark_ms,
            len(told),
            judged,
            drifts,
            recommender.components.exploration.take_deltas(),
            self._error_counts(visited),
            [name for one in visited for name, _ in one.erased],
        )

    def _error_counts(self, visited: list[ShardOutput]) -> dict[str, int]:
        """How often what raised, here and in shards."""
        counts = Counter(self.state.errors.take_counts())
        for one in visited:
            counts.update(one.error_counts)
        return dict(counts)

    def _learn_interactions(self, clicks: EventColumns, for_ads: list[bool] | None) -> None:
        """Learn what shoppers did with items; looks that may not serve ads are not kept for triggers."""
        learned = self.state
        seen = learned.recommender.learn(clicks)
        if seen is not None:
            learned.recommender.components.online_evaluation.evaluate_clicks(
                seen, self._segment_ids
            )
            looks = slice(None) if for_ads is None else np.array(for_ads, np.bool_)
            learned.recent_views.add(
                seen.shopper[looks],
                seen.item[looks],
                seen.at_ms[looks],
                seen.kind[looks] == PURCHASE,
            )

    def _count_orders(self, visited: list[ShardOutput]) -> None:
        """Count what was ordered, and once what two had ordered who are one."""
        audience, shoppers = self.state.memberships, self.state.recommender.shoppers
        audience.activity.recount_late_changes()
        for one in visited:
            for order in one.orders:
                row = shoppers.get_or_add(order.shopper)
                audience.count_order(row, order.value_micros, order.at_ms)
        for one in visited:
            for order in one.double_counted_orders:
                audience.activity.retract_order(
                    shoppers.get(order.shopper), order.value_micros, order.at_ms
                )

    def _advance_propensity(self, writes: list[Write], last: bool) -> list[Change]:
        """Let time pass for what shoppers are likely to do; who moved."""
        learned = self.state
        names, clock_ms = learned.recommender.shoppers.ids, learned.event_time_ms
        moved = learned.propensity.advance(names, clock_ms, last=last)
        updates = learned.propensity.refresh_profiles(names, clock_ms, last=last)
        writes += profile_fields.update_writes(updates)
        return learned.memberships.apply_transitions(moved, learned.recommender.shoppers)

    def _retire_segments(self, writes: list[Write]) -> list[Change]:
        """Remove some members of retired segments, and the keys of those without members."""
        learned = self.state
        batch = learned.retirement.retire_some(learned.event_time_ms, learned.reporting_time_ms)
        writes += profile_fields.update_writes(batch.updates)
        writes += batch.writes
        return batch.changes

    def _segment_ids(self, row: int) -> list[str]:
        return [segment for segment, _ in self.state.memberships.memberships_of(row)]

    def _interaction_columns(
        self, batches: Sequence[Sequence[ShardOutput]]
    ) -> tuple[EventColumns, list[bool] | None]:
        """What shoppers did with items, over all shards, in the order in which it was read.

        And of each whether it may serve ads; None where all may. What may not be learned is left out.
        """
        learned = self.state
        clicks: list[Interaction] = []
        not_for_ads: set[int] = set()
        for visited in batches:
            # Of an item as it happened, whichever shards heard of it.
            told = chain.from_iterable(one.item_updates for one in visited)
            learned.item_cards.update(sorted(told, key=_EVENT_MS))
            limited = [
                entry.interaction
                for one in visited
                for entry in one.limited_interactions
                if not entry.refused & PERSONALIZATION
            ]
            told_all = chain(limited, *(one.interactions for one in visited))
            not_for_ads.update(map(id, limited))
            clicks += sorted(told_all, key=_POSITION)
        cards, changed = learned.item_cards.by_id, learned.item_cards.take_changed()
        if not clicks:
            return EventColumns([], [], [], [], [], [], [], [], cards, changed), None
        shoppers, items, types, at_ms, session_ms, categories, countries = zip(
            *map(_COLUMNS, clicks), strict=True
        )
        learned.newest_event_ms = max(learned.newest_event_ms, max(at_ms))
        rows = learned.recommender.shoppers.get_or_add_many(shoppers)
        events = EventColumns(
            shoppers,
            items,
            [_INTERACTION_KIND_OF[kind] for kind in types],
            [self._event_weights[kind] for kind in types],
            at_ms,
            session_ms,
            [category or None for category in categories],
            learned.memberships.segments_of("cluster", rows),
            cards,
            changed,
            [country or None for country in countries],
        )
        return events, [id(one) not in not_for_ads for one in clicks] if not_for_ads else None

    def _feedback_columns(self, batches: Sequence[Sequence[ShardOutput]]) -> FeedbackEvents:
        """What came of items, in the order in which it was read; of those that are known."""
        recommender = self.state.recommender
        told: list[Feedback] = []
        for visited in batches:
            told += sorted(chain.from_iterable(one.feedback for one in visited), key=_POSITION)
        rows = [(recommender.shoppers.get(e.shopper), recommender.items.get(e.item)) for e in told]
        known = [(*pair, one) for pair, one in zip(rows, told, strict=True) if min(pair) != NO_ROW]
        return FeedbackEvents(
            np.array([shopper for shopper, _, _ in known], np.int32),
            np.array([item for _, item, _ in known], np.int32),
            np.array([FEEDBACK_KIND[one.event_type] for _, _, one in known], np.int8),
            np.array([one.at_ms for _, _, one in known], np.int64),
            np.array([one.list_position for _, _, one in known], np.int32),
        )

    def _assign_or_publish_profiles(
        self, active: list[ActiveShopper], writes: list[Write]
    ) -> tuple[int, list[Change]]:
        """`_assign_segments`, or where that raises the profiles without what is learned."""
        before = len(writes)
        found = self.state.errors.call_or_default(
            "profiles", None, self._assign_segments, active, writes
        )
        if found is not None:
            return found
        writes[before:] = [pack_command(row.profile, row.argument_count) for row in active]
        return len(writes), []

    def _assign_segments(
        self, active: list[ActiveShopper], writes: list[Write]
    ) -> tuple[int, list[Change]]:
        """Learn clusters, assign whoever was active, and write their profiles with it.

        Gives where the profiles end, and who moved.
        """
        learned, tails = self.state, self.state.cluster_suffixes
        names, known, refused, features, profiles, counts = zip(*map(astuple, active), strict=True)
        raw = feature_rows(features)
        used = personalized_indexes(refused)
        matrix = feature_matrix(raw)
        learned.clusters.learn(matrix[used])
        cluster, distance = learned.clusters.assign(matrix)
        if len(used) < len(names):
            cluster[np.setdiff1d(np.arange(len(names)), used)] = NO_ROW
        at_ms = raw[:, LAST_MS_COLUMN].astype(np.int64)
        learned.newest_event_ms = max(learned.newest_event_ms, int(at_ms.max()))
        rows = learned.recommender.shoppers.get_or_add_many(names)
        learned.shop.count_active(learned.memberships.last_seen_ms(rows), at_ms)
        stay = learned.memberships.mark_active(rows, known, at_ms)
        learned.memberships.set_refused(rows, refused)
        changes = learned.assignment.assign_active(names, rows, raw, cluster, learned.event_time_ms)
        learned.propensity.update_features(rows[used], raw[used])
        scores = learned.propensity.score(rows, raw)
        likely = learned.propensity.assign_active(
            [names[place] for place in used.tolist()],
            rows[used],
            PropensityScores(*(one[used] for one in scores)),
            at_ms[used],
        )
        changes += learned.memberships.apply_transitions(likely, learned.recommender.shoppers)
        heads, numbers = with_propensity_fields(
            learned.propensity, profiles, counts, rows, scores, used
        )
        for profile, count, c, d, (tail, more) in zip(
            heads,
            numbers,
            cluster.tolist(),
            distance.tolist(),
            learned.assignment.profile_suffixes(rows),
            strict=True,
        ):
            if c == NO_ROW:
                writes.append(pack_command(profile + tail, count + more))
            else:
                own = f"{profile}{tails[c]}{pack_str(f'{d:.3f}')}{tail}"
                writes.append(pack_command(own, count + more + 4))
        profiles_end = len(writes)
        writes += memberships.refresh_expiry(
            learned.recommender.shoppers.ids[row] for row in stay.tolist()
        )
        return profiles_end, changes

    @property
    def row_count(self) -> int:
        """Shoppers and items there are rows for."""
        return self.state.row_count

    def on_epoch_end(self) -> None:
        """Nothing waits for that here."""

    def snapshot(self) -> bytes:
        """The state as versioned bytes."""
        return self.state.snapshot()


def _no_interactions() -> EventColumns:
    return EventColumns([], [], [], [], [], [], [], [])


def _shard_writes(outputs: Sequence[ShardOutput]) -> Iterator[Write]:
    """What the shards of a batch write. Removals first: whoever was erased in one shard may be back in
    another, which knows only the newer one."""
    yield from chain.from_iterable(output.removal_writes for output in outputs)
    yield from chain.from_iterable(output.writes for output in outputs)
