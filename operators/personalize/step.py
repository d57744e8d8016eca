"""The step that sees every shopper: clusters, lists and what is derived from them, batch by batch.

It waits until all shards have handed in their part of a batch, so that batches are learned whole and
in one order, and then writes, in this order, who changed, what the shards wrote and what it made of
it. Within an epoch all parts arrive: nothing is pending in a snapshot.
"""

from __future__ import annotations

from collections import Counter
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from operators.catalogue import item_alerts
from operators.personalize import removal
from operators.personalize.coalesce import told_as_one
from operators.personalize.consent_withdrawal import decline, may_be_used, with_chances
from operators.personalize.state import Learned
from operators.publish import aggregates, memberships, shopper_lists, stockouts
from operators.recommend.negative_feedback import KIND_OF, Signals
from operators.segments.propensity.propensity import Scores
from operators.shoppers.features import LAST_MS, feature_matrix, feature_rows
from state.interactions import CART, NOBODY, PURCHASE, VIEW, Events
from state.messages import Branch, Output
from state.resp import bulk, command
from state.shopper import PERSONALIZATION

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from operators.segments.changes import Before, Change
    from state.config import Settings
    from state.journal import Journals
    from state.messages import Active, BatchId, Click, Part, Signal, Visited, Write

EVENTS_AN_ITEM = 16
ITEMS_MIN = 32
"""A batch rewrites one changed list of an item for so many events, or `ITEMS_MIN`: they move slowly,
and what a batch costs should follow what is in it."""

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
        self.learned = Learned(settings, snapshot, journals)
        self._whole = settings.sessions.shards**2
        self._pending: dict[BatchId, list[Part]] = {}
        self._weights = msgspec.structs.asdict(settings.lists.weights)
        self._lost: list[Change] = []
        self._told: frozenset[Change] = frozenset()
        if before is not None:
            log = self.learned.changes
            self._lost, log.ids, self._told = before.changes_after(log.ids)

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
            for one in (part.batch, *part.batch.joined):
                self.learned.batches[one.partition] = one.number + 1
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
        learned = self.learned
        recommender, audience, ledger = learned.recommender, learned.audience, learned.ledger
        visited = list(chain.from_iterable(batches))
        watermark_ms = max(one.watermark_ms for one in visited)
        last = learned.is_over = any(one.last for one in visited)
        for one in visited:
            ledger.hear(one)
        if len(batches) > 1:
            told_as_one(batches)
        writes = list(chain.from_iterable(map(_in_order, batches)))
        # Of a shopper that several batches tell of, the newest.
        active = list({one[0]: one for v in visited for one in v.active}.values())
        tried, apart = learned.faults.tried, learned.faults.apart
        changes, again = audience.set_right(self._lost, recommender.shoppers.find)
        writes += memberships.changed(again)
        writes += learned.standing.put_right([*changes, *again], recommender.shoppers)
        self._lost = []
        received_ms = b"".join(one.received_ms for one in visited)
        with apart("propensity"):
            before_ms = max(one.watermark_ms for one in batches[0])
            learned.propensity.reach(visited, recommender.shoppers.ids, learned.idle_ms, before_ms)
        learned.hear(watermark_ms)
        with apart("segments"):
            changes += removal.come_and_go(learned, visited)
        changes += tried("leave", [], removal.leave, learned, visited, writes)
        changes += tried("decline", [], decline, learned, visited, writes)
        clicks, for_ads = tried("clicks", (_no_clicks(), None), self._clicks, batches)
        profiles_end = len(writes)
        if active:
            profiles_end, changed = self._segments_or_profiles(active, writes)
            changes += changed
        with apart("standing"):
            moved, aged = learned.standing.advance(
                recommender.shoppers.ids, learned.clock_ms, last=last
            )
            changes += moved
            writes += aged
        changes += tried("propensity", [], self._chances, writes, last)
        with apart("segments"):
            by_rule = chain.from_iterable(one.transitions for one in visited)
            changes += audience.apply(by_rule, recommender.shoppers)
        changes += tried("retiring", [], learned.retiring.advance, learned, writes)
        writes += memberships.changed(changes)
        segments_end = len(writes)
        with apart("signals"):
            recommender.hear(self._signals(batches))
        with apart("lists"):
            self._interactions(clicks, for_ads)
        happened = tried("triggers", [], item_alerts.told, learned, learned.cards.take_turns())
        changes += [one for one in happened if one not in self._told]
        with apart("orders"):
            self._orders(visited)
        if active:
            ledger.lists_written += tried("lists", 0, shopper_lists.write, learned, active, writes)
        writes += tried("sold_out", [], stockouts.writes, learned)
        if clicks.changed:
            writes += tried("lists", [], shopper_lists.made_up, learned)
        lists_end = len(writes)
        writes += chain.from_iterable(one.lifetimes for one in visited)
        gone = tried(
            "forget", [], removal.forget, learned, removal.evicted(visited, active), writes
        )
        gone += tried("bound", [], removal.bound, learned, writes)
        writes += memberships.changed(gone)
        changes += gone
        ledger.segment_changes += sum(c.kind in ("enter", "leave") for c in changes)
        items_most = None if last else max(ITEMS_MIN, len(clicks.items) // EVENTS_AN_ITEM)
        writes += tried("items", [], aggregates.items, learned, items_most)
        shop, most = learned.standing.shop, learned.settings.serving.recent_events
        with apart("shop"):
            shop.hear(visited, np.frombuffer(received_ms, np.int64), clicks, ledger)
            writes += shop.recent(visited, most, learned.moment_ms)
        every_ms = learned.settings.lists.figures_every_ms
        is_due = learned.moment_ms - learned.figures_ms >= every_ms
        if last or is_due or not learned.told_definitions:
            learned.figures_ms = learned.moment_ms
            writes += tried("figures", [], aggregates.figures, learned, watermark_ms, last=last)
        writes.append(ledger.write(watermark_ms, len(recommender.items.rows)))
        told = learned.changes.writes(changes)
        judged = recommender.served.growth()
        branches = [
            Branch("profile", len(told) + profiles_end, received_ms),
            Branch("segments", len(told) + segments_end, received_ms),
            Branch("list", len(told) + lists_end, received_ms),
        ]
        drifts = learned.clusters.alarm.growth()
        return Output(
            told + writes,
            branches,
            ledger.growth(),
            watermark_ms,
            len(told),
            judged,
            drifts,
            recommender.exploration.growth(),
            self._faults(visited),
            [name for one in visited for name, _ in one.erased],
        )

    def _faults(self, visited: list[Visited]) -> dict[str, int]:
        """How often what raised, here and in shards."""
        counts = Counter(self.learned.faults.take_counts())
        for one in visited:
            counts.update(one.faults)
        return dict(counts)

    def _interactions(self, clicks: Events, for_ads: list[bool] | None) -> None:
        """Learn what shoppers did with items; looks that may not serve ads are not kept for triggers."""
        learned = self.learned
        seen = learned.recommender.learn(clicks)
        if seen is not None:
            learned.recommender.served.judge(seen, self._segment_ids)
            looks = slice(None) if for_ads is None else np.array(for_ads, np.bool_)
            learned.views.add(
                seen.shopper[looks],
                seen.item[looks],
                seen.at_ms[looks],
                seen.kind[looks] == PURCHASE,
            )

    def _orders(self, visited: list[Visited]) -> None:
        """Count what was ordered, and once what two had ordered who are one."""
        audience, shoppers = self.learned.audience, self.learned.recommender.shoppers
        audience.worth.settle()
        for one in visited:
            for shopper, micros, at_ms in one.orders:
                audience.order(shoppers.row(shopper), micros, at_ms)
        for one in visited:
            for shopper, micros, at_ms in one.repeats:
                audience.worth.take_back(shoppers.find(shopper), micros, at_ms)

    def _chances(self, writes: list[Write], last: bool) -> list[Change]:
        """Let time pass for what shoppers are likely to do; who moved."""
        learned = self.learned
        names, clock_ms = learned.recommender.shoppers.ids, learned.clock_ms
        moved = learned.propensity.advance(names, clock_ms, last=last)
        writes += learned.propensity.refreshed(names, clock_ms, last=last)
        return learned.audience.apply(moved, learned.recommender.shoppers)

    def _segment_ids(self, row: int) -> list[str]:
        return [segment for segment, _ in self.learned.audience.of(row)]

    def _clicks(self, batches: list[list[Visited]]) -> tuple[Events, list[bool] | None]:
        """What shoppers did with items, over all shards, in the order in which it was read.

        And of each whether it may serve ads; None where all may. What may not be learned is left out.
        """
        learned = self.learned
        clicks: list[Click] = []
        not_for_ads: set[int] = set()
        for visited in batches:
            # Of an item as it happened, whichever shards heard of it.
            told = chain.from_iterable(one.catalogue for one in visited)
            learned.cards.learn(sorted(told, key=itemgetter(0)))
            limited = [
                click
                for one in visited
                for refused, click in one.limited
                if not refused & PERSONALIZATION
            ]
            told_all = chain(limited, *(one.clicks for one in visited))
            not_for_ads.update(map(id, limited))
            clicks += sorted(told_all, key=itemgetter(0))
        cards, changed = learned.cards.rows, learned.cards.take_fresh()
        if not clicks:
            return Events([], [], [], [], [], [], [], [], cards, changed), None
        _, shoppers, items, types, at_ms, session_ms, categories, countries = zip(
            *clicks, strict=True
        )
        learned.now_ms = max(learned.now_ms, max(at_ms))
        rows = learned.recommender.shoppers.take(shoppers)
        events = Events(
            shoppers,
            items,
            [_KIND_OF[kind] for kind in types],
            [self._weights[kind] for kind in types],
            at_ms,
            session_ms,
            [category or None for category in categories],
            learned.audience.segments_of("cluster", rows),
            cards,
            changed,
            [country or None for country in countries],
        )
        return events, [id(one) not in not_for_ads for one in clicks] if not_for_ads else None

    def _signals(self, batches: list[list[Visited]]) -> Signals:
        """What came of items, in the order in which it was read; of those that are known."""
        recommender = self.learned.recommender
        told: list[Signal] = []
        for visited in batches:
            told += sorted(chain.from_iterable(one.signals for one in visited), key=itemgetter(0))
        rows = [(recommender.shoppers.find(one[1]), recommender.items.find(one[2])) for one in told]
        known = [(*pair, one) for pair, one in zip(rows, told, strict=True) if min(pair) != NOBODY]
        return Signals(
            np.array([shopper for shopper, _, _ in known], np.int32),
            np.array([item for _, item, _ in known], np.int32),
            np.array([KIND_OF[one[3]] for _, _, one in known], np.int8),
            np.array([one[4] for _, _, one in known], np.int64),
            np.array([one[5] for _, _, one in known], np.int32),
        )

    def _segments_or_profiles(
        self, active: list[Active], writes: list[Write]
    ) -> tuple[int, list[Change]]:
        """`_segments`, or where that raises the profiles without what is learned."""
        before = len(writes)
        found = self.learned.faults.tried("profiles", None, self._segments, active, writes)
        if found is not None:
            return found
        writes[before:] = [command(profile, count) for *_, profile, count in active]
        return len(writes), []

    def _segments(self, active: list[Active], writes: list[Write]) -> tuple[int, list[Change]]:
        """Learn clusters, assign whoever was active, and write their profiles with it.

        Gives where the profiles end, and who moved.
        """
        learned, tails = self.learned, self.learned.tails
        names, known, refused, features, profiles, counts = zip(*active, strict=True)
        raw = feature_rows(features)
        used = may_be_used(refused)
        matrix = feature_matrix(raw)
        learned.clusters.learn(matrix[used])
        cluster, distance = learned.clusters.assign(matrix)
        if len(used) < len(names):
            cluster[np.setdiff1d(np.arange(len(names)), used)] = NOBODY
        at_ms = raw[:, LAST_MS].astype(np.int64)
        learned.now_ms = max(learned.now_ms, int(at_ms.max()))
        rows = learned.recommender.shoppers.take(names)
        learned.standing.shop.see(learned.audience.last_seen(rows), at_ms)
        stay = learned.audience.see(rows, known, at_ms)
        learned.audience.refuse(rows, refused)
        changes = learned.standing.see(names, rows, raw, cluster, learned.clock_ms)
        learned.propensity.see(rows[used], raw[used])
        scores = learned.propensity.score(rows, raw)
        likely = learned.propensity.decide(
            [names[place] for place in used.tolist()],
            rows[used],
            Scores(*(one[used] for one in scores)),
            at_ms[used],
        )
        changes += learned.audience.apply(likely, learned.recommender.shoppers)
        heads, numbers = with_chances(learned.propensity, profiles, counts, rows, scores, used)
        for profile, count, c, d, (tail, more) in zip(
            heads,
            numbers,
            cluster.tolist(),
            distance.tolist(),
            learned.standing.tails(rows),
            strict=True,
        ):
            if c == NOBODY:
                writes.append(command(profile + tail, count + more))
            else:
                own = f"{profile}{tails[c]}{bulk(f'{d:.3f}')}{tail}"
                writes.append(command(own, count + more + 4))
        profiles_end = len(writes)
        writes += memberships.refreshed(
            learned.recommender.shoppers.ids[row] for row in stay.tolist()
        )
        return profiles_end, changes

    @property
    def rows_held(self) -> int:
        """Shoppers and items there are rows for."""
        return self.learned.rows_held

    def end_epoch(self) -> None:
        """Nothing waits for that here."""

    def snapshot(self) -> bytes:
        """The state as versioned bytes."""
        return self.learned.snapshot()


def _no_clicks() -> Events:
    return Events([], [], [], [], [], [], [], [])


def _in_order(visited: list[Visited]) -> Iterator[Write]:
    """What the shards of a batch write. Removals first: whoever was erased in one shard may be back in
    another, which knows only the newer one."""
    yield from chain.from_iterable(one.removals for one in visited)
    yield from chain.from_iterable(one.writes for one in visited)
