"""The step that sees every shopper: clusters, lists and what is derived from them, batch by batch.

It waits until all shards have handed in their part of a batch, so that batches are learned whole and
in one order, and then writes, in this order, what the shards wrote and what it made of it. Within an
epoch all parts arrive: nothing is pending in a snapshot.
"""

from __future__ import annotations

from itertools import chain, islice
from operator import itemgetter
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from operators.audience import Audience, Change, definitions, segment_id
from operators.cards import Cards
from operators.changes import ChangeLog
from operators.clusters import Clusters
from operators.features import FEATURES, LAST_MS, feature_matrix, feature_rows
from operators.last_seen import longest_unseen
from operators.recommend import Events, Recommender
from operators.stored_tables import Loaded, StoredTables, Tables
from operators.together import told_as_one
from operators.totals import Ledger
from state import keys
from state.interactions import CART, NOBODY, PURCHASE, VIEW
from state.messages import Branch, Output
from state.resp import bulk, command, number
from state.snapshots import LEARNED, LearnedState, pack_arrays, unpack_arrays

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from operators.changes import Before
    from operators.clusters import Quality
    from state.config import Settings
    from state.journal import Journals
    from state.messages import Active, BatchId, Click, Part, Visited, Write

MODEL = "1"
LIST_TTL_S = 86_400
ITEM_LIST_TTL_S = 7 * 86_400
POPULAR_TTL_S = 2 * 86_400
RETOLD_A_BATCH = 256
"""Memberships told again with each batch, to a Redis that came back empty."""
EVENTS_AN_ITEM = 16
ITEMS_MIN = 32
"""A batch rewrites one changed list of an item for so many events, or `ITEMS_MIN`: they move slowly,
and what a batch costs should follow what is in it."""
QUALITY_EVERY_EVENTS = 65_536
"""How good the clusters are takes 20 ms to say."""

_SET = bulk("SET")
_LIST_TTL = bulk("EX") + number(LIST_TTL_S)
_KIND_OF = {"item_view": VIEW, "wishlist_add": VIEW, "cart_add": CART, "purchase": PURCHASE}


class Learning:
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
        before: Before | None = None,
    ) -> None:
        self._settings = settings
        self._whole = settings.sessions.shards**2
        self._pending: dict[BatchId, list[Part]] = {}
        self._recommender = Recommender.of(settings.lists)
        self._clusters = Clusters(
            settings.clusters.k,
            len(FEATURES),
            half_life_points=settings.clusters.half_life_points or None,
            seed=settings.clusters.seed,
        )
        self._audience = Audience(settings.clusters.k)
        self._cards = Cards()
        self._changes = ChangeLog(settings.redis.change_stream_max)
        self._ledger = Ledger()
        self._defined: dict[int, tuple[str, int]] = {}
        self._tails = [
            bulk("cluster") + bulk(segment_id(c)) + bulk("cluster_distance")
            for c in range(settings.clusters.k)
        ]
        self._weights = msgspec.structs.asdict(settings.lists.weights)
        self._figures_ms = 0
        self._now_ms = 0
        self._quality: tuple[int, Quality] | None = None
        self._batches: dict[str, int] = {}
        self._told_definitions = True
        self._stored = StoredTables(journals)
        if snapshot is not None:
            self._restore(LEARNED.decode(snapshot))
        elif before is not None and before.holds_results:
            self._audience.doubt()
        self._lost: list[Change] = []
        if before is not None:
            self._lost, self._changes.ids = before.changes_after(self._changes.ids)

    def fold_all(self, parts: Sequence[Part]) -> list[Output]:
        """Take in shards' parts; of each batch that is whole now, all that it leads to.

        Live batches that are whole at once are learned as one: half of what a small batch costs
        does not depend on what is in it. Recorded ones are not, so that a replay comes out the same.
        """
        outputs, live = [], []
        for part in parts:
            waiting = self._pending.setdefault(part.batch, [])
            waiting.append(part)
            if len(waiting) * part.parts < self._whole:
                continue
            del self._pending[part.batch]
            self._batches[part.batch.partition] = part.batch.number + 1
            waiting.sort(key=lambda part: part.shard)
            batch = [visited for part in waiting for visited in part.visited]
            if part.batch.live:
                live.append(batch)
            else:
                outputs.append(self._learn([batch]))
        if live:
            outputs.append(self._learn(live))
        return outputs

    def _learn(self, batches: list[list[Visited]]) -> Output:
        """Learn whole batches in one go, in their order."""
        visited = list(chain.from_iterable(batches))
        watermark_ms = max(one.watermark_ms for one in visited)
        last = any(one.last for one in visited)
        for one in visited:
            self._ledger.hear(one)
        if len(batches) > 1:
            told_as_one(batches)
        writes = list(chain.from_iterable(one.writes for one in visited))
        # Of a shopper that several batches tell of, the newest.
        active = list({one[0]: one for v in visited for one in v.active}.values())
        righted, changes = self._audience.set_right(self._lost, self._recommender.shoppers.find)
        writes += righted
        self._lost = []
        changes += self._leave(visited, writes)
        clicks = self._clicks(batches)
        received_ms = b"".join(one.received_ms for one in visited)
        profiles_end = len(writes)
        if active:
            profiles_end, changed = self._segments(active, writes)
            changes += changed
        segments_end = len(writes)
        self._recommender.learn(clicks)
        for one in visited:
            for shopper, micros, at_ms in one.orders:
                self._audience.order(self._recommender.shoppers.row(shopper), micros, at_ms)
        if active:
            self._lists(active, writes)
        branches = [
            Branch("profile", profiles_end, received_ms),
            Branch("segments", segments_end, received_ms),
            Branch("list", len(writes), received_ms),
        ]
        writes += chain.from_iterable(one.lifetimes for one in visited)
        changes += self._forget(_evicted(visited, active), writes) + self._bound(writes)
        writes += self._changes.writes(changes)
        self._ledger.segment_changes += sum(c.kind in ("enter", "leave") for c in changes)
        self._items(None if last else max(ITEMS_MIN, len(clicks.items) // EVENTS_AN_ITEM), writes)
        if last or self._now_ms - self._figures_ms >= self._settings.lists.figures_every_ms:
            self._figures_ms = self._now_ms
            self._figures(watermark_ms, writes, last=last)
        writes += self._audience.retell(self._recommender.shoppers.ids, RETOLD_A_BATCH)
        writes.append(self._ledger.write(watermark_ms, len(self._recommender.items.rows)))
        return Output(writes, branches, self._ledger.growth(), watermark_ms)

    def _leave(self, visited: list[Visited], writes: list[Write]) -> list[Change]:
        """Shoppers that are no more: merged into a user, or erased."""
        changes: list[Change] = []
        gone = [(a, user, Change("merge", a, user, at)) for v in visited for a, user, at in v.moved]
        gone += [(who, "", Change("erase", who, "", at)) for v in visited for who, at in v.erased]
        for name, user, change in gone:
            self._recommender.leave(name, user)
            row = self._recommender.shoppers.find(name)
            left, changed = self._audience.drop(row, name, change.at_ms)
            writes += left
            changes += changed
            writes.append(("DEL", keys.segments_key(name), keys.top_key(name, keys.SLOT)))
            changes.append(change)
        return changes

    def _bound(self, writes: list[Write]) -> list[Change]:
        """Where there are more shoppers or items than may be, those longest unseen give way."""
        bounds, recommender = self._settings.state, self._recommender
        changes: list[Change] = []
        if len(recommender.shoppers.rows) > bounds.shoppers_max:
            live, last_ms = recommender.shoppers.live(), self._audience.last_ms
            rows = longest_unseen(live, last_ms[: self._audience.rows], bounds.shoppers_max)
            names = [recommender.shoppers.ids[row] for row in rows.tolist()]
            changes = self._forget([(name, self._now_ms) for name in names], writes)
        if len(recommender.items.rows) > bounds.items_max:
            items = longest_unseen(
                recommender.items.live(), recommender.seen.at_ms, bounds.items_max
            )
            self._cards.forget([recommender.items.ids[row] for row in items.tolist()])
            recommender.forget_items(items)
        return changes

    def _forget(self, evicted: Iterable[tuple[str, int]], writes: list[Write]) -> list[Change]:
        """Forget shoppers, by id and event time; those never seen are nothing special.

        They leave their segments; their other keys expire.
        """
        changes: list[Change] = []
        rows: list[int] = []
        for name, at_ms in evicted:
            row = self._recommender.shoppers.find(name)
            left, changed = self._audience.drop(row, name, at_ms)
            writes += left
            changes += changed
            writes.append(("DEL", keys.segments_key(name)))
            if row != NOBODY:
                rows.append(row)
        gone = np.unique(np.array(rows, np.int32))
        self._audience.forget(gone)
        self._recommender.forget_shoppers(gone)
        return changes

    def _clicks(self, batches: list[list[Visited]]) -> Events:
        """What shoppers did with items, over all shards, in the order in which it was read."""
        clicks: list[Click] = []
        for visited in batches:
            self._cards.learn(chain.from_iterable(one.catalogue for one in visited))
            clicks += sorted(chain.from_iterable(one.clicks for one in visited), key=itemgetter(0))
        if not clicks:
            return Events([], [], [], [], [], [], [], [])
        _, shoppers, items, types, at_ms, session_ms, categories = zip(*clicks, strict=True)
        self._now_ms = max(self._now_ms, max(at_ms))
        rows = self._recommender.shoppers.take(shoppers)
        return Events(
            shoppers,
            items,
            [_KIND_OF[kind] for kind in types],
            [self._weights[kind] for kind in types],
            at_ms,
            session_ms,
            [category or None for category in categories],
            self._audience.segments_of(rows),
        )

    def _segments(self, active: list[Active], writes: list[Write]) -> tuple[int, list[Change]]:
        """Learn clusters, assign whoever was active, and write their profiles with it.

        Gives where the profiles end, and what changed.
        """
        names, known, _, features, profiles, counts = zip(*active, strict=True)
        raw = feature_rows(features)
        matrix = feature_matrix(raw)
        self._clusters.learn(matrix)
        cluster, distance = self._clusters.assign(matrix)
        at_ms = raw[:, LAST_MS].astype(np.int64)
        self._now_ms = max(self._now_ms, int(at_ms.max()))
        for profile, count, c, d in zip(
            profiles, counts, cluster.tolist(), distance.tolist(), strict=True
        ):
            if c == NOBODY:
                writes.append(command(profile, count))
            else:
                writes.append(command(f"{profile}{self._tails[c]}{bulk(f'{d:.3f}')}", count + 4))
        rows = self._recommender.shoppers.take(names)
        profiles_end = len(writes)
        moved, changes = self._audience.assign(names, rows, known, cluster, at_ms)
        writes += moved
        return profiles_end, changes

    def _lists(self, active: list[Active], writes: list[Write]) -> None:
        """A list for whoever was active, unless they said no to that."""
        listed = [name for name, _, wanted, *_ in active if wanted]
        if len(listed) < len(active):
            writes += [("DEL", keys.top_key(who[0], keys.SLOT)) for who in active if not who[2]]
        if not listed:
            return
        ranked = self._recommender.rank(listed, self._now_ms)
        for name, text in zip(listed, ranked.json(self._now_ms, MODEL), strict=True):
            if text:
                key = bulk(keys.top_key(name, keys.SLOT))
                writes.append(command(f"{_SET}{key}{bulk(text)}{_LIST_TTL}", 5))
                self._ledger.lists_written += 1

    def _items(self, most: int | None, writes: list[Write]) -> None:
        """Cards that changed, and at most so many lists of each kind that did, all in turn."""
        recommender = self._recommender
        for (names, ranked), key_of in (
            (recommender.similar(most), keys.similar_key),
            (recommender.bought_together(most), keys.bought_key),
        ):
            for name, text in zip(names, ranked.json(self._now_ms, MODEL), strict=True):
                if text:
                    writes.append(("SET", key_of(name), text, "EX", ITEM_LIST_TTL_S))
        writes += self._cards.writes()

    def _figures(self, watermark_ms: int, writes: list[Write], *, last: bool) -> None:
        """What is true of many: lists of scopes, segments' figures, models."""
        recommender = self._recommender
        scopes, ranked = recommender.popular_scopes()
        popular = [*zip(scopes, ranked.json(self._now_ms, MODEL), strict=True)]
        popular += [(("all", ""), text) for text in recommender.popular().json(self._now_ms, MODEL)]
        for (kind, value), text in popular:
            if text:
                writes.append(("SET", keys.popular_key(kind, value), text, "EX", POPULAR_TTL_S))
        if self._clusters.started:
            self._define(writes)
            writes += self._audience.stats(self._now_ms, watermark_ms)
        writes += self._models(last=last)

    def _define(self, writes: list[Write]) -> None:
        versions = self._clusters.reseeded.tolist()
        names = self._clusters.describe(FEATURES)
        fresh = {c: (name, 1 + int(versions[c])) for c, name in names.items()}
        changed = {c: one for c, one in fresh.items() if self._defined.get(c) != one}
        self._defined |= changed
        if not self._told_definitions:
            writes += definitions(self._defined)
            self._told_definitions = True
        writes += definitions(changed, self._now_ms)

    def _models(self, *, last: bool) -> list[Write]:
        events = self._ledger.accepted
        if self._quality is None or last or events >= self._quality[0] + QUALITY_EVERY_EVENTS:
            self._quality = events, self._clusters.quality()
        quality = self._quality[1]
        clusters: Write = (
            "HSET",
            keys.model_key("clusters"),
            "version",
            1,
            "algorithm",
            "mini-batch k-means",
            "trained_ms",
            self._now_ms,
            "events",
            events,
            "k",
            self._settings.clusters.k,
            "inertia",
            f"{quality.inertia:.4f}",
            "silhouette",
            f"{quality.silhouette:.4f}",
            "davies_bouldin",
            f"{quality.davies_bouldin:.4f}",
        )
        blend = self._recommender.blend
        rates, weights = blend.hit_rates(), blend.weights().tolist()
        lists: list[Write] = [
            (
                "HSET",
                keys.model_key(name),
                "version",
                1,
                "algorithm",
                name,
                "trained_ms",
                self._now_ms,
                "events",
                events,
                "hit_rate",
                f"{rate:.4f}",
                "weight",
                f"{weight:.4f}",
            )
            for (name, rate), weight in zip(rates.items(), weights, strict=True)
        ]
        return [clusters, *lists]

    def tell_all(self) -> None:
        """Count everything as not told: `rest_again` says it at once, batches to come a share each."""
        self._audience.tell_all()
        self._recommender.tell_all()
        self._cards.changed.update(self._cards.rows)
        self._told_definitions = False

    def profiles_again(self, active: Sequence[Active]) -> list[Write]:
        """The profiles of shoppers, with the cluster each was last put into."""
        names, _, _, features, profiles, counts = zip(*active, strict=True)
        nearest, distance = self._clusters.assign(feature_matrix(feature_rows(features)))
        writes: list[Write] = []
        for name, profile, count, at, d in zip(
            names, profiles, counts, nearest.tolist(), distance.tolist(), strict=True
        ):
            own = self._audience.cluster_of(self._recommender.shoppers.find(name))
            if own == NOBODY:
                writes.append(command(profile, count))
            elif own == at:
                writes.append(command(f"{profile}{self._tails[own]}{bulk(f'{d:.3f}')}", count + 4))
            else:  # the centres have moved on since
                cluster = bulk("cluster") + bulk(segment_id(own))
                writes.append(command(f"{profile}{cluster}", count + 2))
        return writes

    def lists_again(self, active: Sequence[Active]) -> list[Write]:
        """Lists of those among shoppers who were active so lately that theirs had not expired."""
        since_ms = self._now_ms - LIST_TTL_S * 1000
        last_ms = feature_rows(one[3] for one in active)[:, LAST_MS]
        recent = [one for one, at_ms in zip(active, last_ms, strict=True) if at_ms >= since_ms]
        writes: list[Write] = []
        if recent:
            self._lists(recent, writes)
        return writes

    def rest_again(self, watermark_ms: int, most: int) -> Iterator[list[Write]]:
        """All but what is a shopper's own, at most so many keys at once."""
        recommender, cards = self._recommender, self._cards
        yield [self._ledger.write(watermark_ms, len(recommender.items.rows))]
        self.tell_all()
        # A Redis that came back as it was before may name members who have left since.
        segments = range(self._audience.segments)
        yield [("DEL", keys.members_key(segment_id(segment))) for segment in segments]
        while memberships := self._audience.retell(recommender.shoppers.ids, most):
            yield memberships
        figures: list[Write] = []
        self._figures(watermark_ms, figures, last=True)
        yield figures
        yield [
            ("HSETNX", keys.definition_key(segment_id(cluster)), "updated_ms", self._now_ms)
            for cluster in self._defined
        ]
        changed = iter(sorted(cards.changed))
        while some := set(islice(changed, most)):
            cards.changed = some
            yield cards.writes()
        for take, key_of in (
            (recommender.similar, keys.similar_key),
            (recommender.bought_together, keys.bought_key),
        ):
            while (found := take(most))[0]:
                texts = found[1].json(self._now_ms, MODEL)
                yield [
                    ("SET", key_of(name), text, "EX", ITEM_LIST_TTL_S)
                    for name, text in zip(found[0], texts, strict=True)
                    if text
                ]

    @property
    def rows_held(self) -> int:
        """Shoppers and items there are rows for."""
        return len(self._recommender.shoppers.rows) + len(self._recommender.items.rows)

    def end_epoch(self) -> None:
        """Nothing waits for that here."""

    def snapshot(self) -> bytes:
        """The state as versioned bytes."""
        tables = self._tables()
        state = LearnedState(
            vocabularies={},
            recommender=pack_arrays(self._recommender.small()),
            clusters=pack_arrays(self._clusters.small()),
            audience=pack_arrays(self._audience.small()),
            cards={},
            changed_cards=sorted(self._cards.changed),
            change_ids=self._changes.ids,
            ledger=self._ledger.state(),
            defined=self._defined,
            now_ms=self._now_ms,
            figures_ms=self._figures_ms,
            told=self._recommender.told,
            journal=self._stored.store(tables),
            batches=self._batches,
        )
        if state.journal is None:
            state.vocabularies = {name: v.ids for name, v in tables.vocabularies.items()}
            state.recommender = pack_arrays(self._recommender.arrays())
            state.clusters = pack_arrays(self._clusters.arrays())
            state.audience = pack_arrays(self._audience.arrays())
            state.cards = self._cards.rows
        return LEARNED.encode(state)

    def _restore(self, state: LearnedState) -> None:
        stored = {
            "recommender": unpack_arrays(state.recommender),
            "clusters": unpack_arrays(state.clusters),
            "audience": unpack_arrays(state.audience),
        }
        loaded = Loaded(stored, state.vocabularies, state.cards)
        self._stored.load(state.journal, loaded)
        self._recommender.restore(stored["recommender"], loaded.ids)
        self._clusters.restore(stored["clusters"])
        self._audience.restore(stored["audience"])
        self._cards = Cards(loaded.cards, set(state.changed_cards))
        if state.journal is not None:
            self._tables().settle()
        self._changes.ids = state.change_ids
        self._ledger = Ledger.of(state.ledger)
        self._defined = state.defined
        self._told_definitions = False
        self._now_ms = state.now_ms
        self._figures_ms = state.figures_ms
        self._recommender.told = state.told
        self._batches = state.batches

    def _tables(self) -> Tables:
        """What is stored by rows."""
        parts = {
            "recommender": self._recommender,
            "clusters": self._clusters,
            "audience": self._audience,
        }
        return Tables(parts, self._recommender.vocabularies(), self._cards)


def _evicted(visited: list[Visited], active: list[Active]) -> list[tuple[str, int]]:
    """Who is no longer in memory, but for those who are back already."""
    evicted = [one for v in visited for one in v.evicted]
    back = {one[0] for one in active} if evicted else set()
    return [one for one in evicted if one[0] not in back]
