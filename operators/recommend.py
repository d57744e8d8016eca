"""From events to top lists: the tables all learners share, and the order in which they work.

A batch gets its contexts, judges the learners by what they would have shown, and is learned; then
lists are made for whoever asks. Ids are strings outside and rows inside; this file is the border.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from operators.blend import Blend
from operators.captions import EXPLORED, OWN_BRAND, RULES, Captions, RankedLists, reason_row
from operators.contexts import Contexts
from operators.exploration import Exploration
from operators.item_facts import ItemFacts
from operators.last_seen import LastSeen
from operators.learners.content import Content
from operators.learners.covisitation import BoughtTogether, Covisitation
from operators.learners.popularity import Popularity, ScopedPopularity
from operators.learners.registry import LEARNERS
from operators.learners.table import Kept, Table, without_prefix
from operators.learners.trending import Trending
from operators.list_rules.rules import Rules
from operators.price_levels import levels
from operators.ranking import without
from operators.served import LIST_TTL_S, Served
from operators.signals import TURNED_DOWN, Against, Signals
from operators.written import ITEM_LIST_TTL_S, Written
from state import config
from state.interactions import NOBODY, Card, Interactions, Lists, Requests, Vocabulary
from state.times import DAY_MS, HOUR_MS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from operators.exploration import Explored
    from operators.learners.base import Learner
    from operators.learners.table import Arrays
    from operators.list_rules.already_bought import Bought
    from state.interactions import Rows

    _Part = (
        Learner
        | Contexts
        | Blend
        | BoughtTogether
        | ScopedPopularity
        | LastSeen
        | Served
        | Bought
        | Written
        | Trending
        | Against
        | Exploration
    )

BELIEFS: Mapping[str, float] = {
    "covisitation": 0.5,
    "session_knn": 0.5,
    "again": 0.2,
    "factors": 0.2,
    "content": 0.2,
    "popularity": 0.1,
}
UNTRIED = 0.1
"""What a learner's word counts to begin with; `UNTRIED` for one not named here."""


NAMED_WIDE = 2
"""Co-visitation names so many times as many items as a list holds to be put in order by factors: .001 to
.002 more hits on `yoochoose1_64` and `yoochoose_week` than with as many as the others."""


@dataclass(slots=True)
class Events:
    """A batch of what shoppers did with items, n long, in arrival order.

    `kinds` VIEW, CART or PURCHASE; `weights` how much each says; `session_start_ms` of the session
    each event belongs to; `categories`, `segments` and `countries` name the scopes of popularity it
    counts in, None for none. `cards` are those of all items, `changed` the items whose card did.
    """

    shoppers: Sequence[str]
    items: Sequence[str]
    kinds: Sequence[int] | NDArray[np.integer]
    weights: Sequence[float] | NDArray[np.floating]
    at_ms: Sequence[int] | NDArray[np.integer]
    session_start_ms: Sequence[int] | NDArray[np.integer]
    categories: Sequence[str | None]
    segments: Sequence[str | None]
    cards: Mapping[str, Card] = field(default_factory=dict)
    changed: Sequence[str] = ()
    countries: Sequence[str | None] = ()


class Recommender(Kept):
    """Learners beside each other, what they share, and the blend of their lists.

    `others` are the learners besides the three that do more than lists; by default those of the
    registry. `beliefs`, by name, and `memory` are those of `Blend`.

    A list has `k` items where the shop has as many, none twice. With `allow_repeats` the item just
    looked at and those before it may be listed, for shops where people come back to what they saw;
    without, the last `reach` items of the running session are left out.
    """

    def __init__(
        self,
        *,
        covisitation: Covisitation | None = None,
        popularity: Popularity | None = None,
        content: Content | None = None,
        others: Sequence[Learner] | None = None,
        bought: BoughtTogether | None = None,
        scoped: ScopedPopularity | None = None,
        beliefs: Mapping[str, float] = BELIEFS,
        k: int = 20,
        pool: int = 24,
        reach: int = 10,
        allow_repeats: bool = True,
        memory: int = 10_000,
        served: config.Served | None = None,
        rules: config.ListRules | None = None,
        exploration: config.Exploration | None = None,
    ) -> None:
        self.covisitation = covisitation or Covisitation()
        self.popularity = popularity or Popularity()
        self.content = content or Content()
        own = (self.covisitation.name, self.content.name, self.popularity.name)
        if others is None:
            others = [make() for name, make in LEARNERS.items() if name not in own]
        self.learners: tuple[Learner, ...] = (
            self.covisitation,
            *others,
            self.content,
            self.popularity,
        )
        self.bought = bought or BoughtTogether()
        self.scoped = scoped or ScopedPopularity()
        self.trending = Trending(usual_half_life_ms=self.popularity.clock.half_life_ms)

        self.k = k
        self.pool = max(pool, k) + (0 if allow_repeats else reach)
        self.allow_repeats = allow_repeats
        self.contexts = Contexts(reach)
        self.seen = LastSeen()
        names = [learner.name for learner in self.learners]
        self.against = Against()
        self.blend = Blend(
            names,
            [beliefs.get(name, UNTRIED) for name in names],
            memory=memory,
            against=self.against,
        )
        self.served = Served(names, k, served or config.Served())
        self.shoppers, self.items, self.scopes = Vocabulary(), Vocabulary(), Vocabulary()
        self._captions = Captions(names)
        self.facts = ItemFacts()
        self.rules = Rules(
            rules or config.ListRules(), self.facts, reason_row(len(names) + RULES.index(OWN_BRAND))
        )
        explored = reason_row(len(names) + RULES.index(EXPLORED))
        self.exploration = Exploration(names, exploration or config.Exploration(), explored)
        self.written = Written(k, LIST_TTL_S)
        self.written_similar = Written(k, ITEM_LIST_TTL_S)
        self.written_bought = Written(k, ITEM_LIST_TTL_S)
        self.told = (0, 0)
        """The items that `similar` and `bought_together` go on with; part of a snapshot."""

    @classmethod
    def of(cls, lists: config.Lists) -> Recommender:
        """The recommender that a configuration asks for."""
        half_life_ms = round(lists.popularity_half_life_hours * HOUR_MS)
        return cls(
            covisitation=Covisitation(
                half_life_ms=round(lists.covisitation_half_life_days * DAY_MS)
            ),
            popularity=Popularity(half_life_ms=half_life_ms),
            scoped=ScopedPopularity(half_life_ms=half_life_ms),
            k=lists.k,
            allow_repeats=lists.allow_repeats,
            served=lists.served,
            memory=lists.blend_memory_events,
            rules=lists.rules,
            exploration=lists.exploration,
        )

    def learn(self, events: Events) -> Interactions | None:
        """Judge the learners by a batch, then learn it; gives its rows, if it has any."""
        if not events.items:
            self.facts.learn(_NONE, events.changed, self.items, events.cards)
            self.describe(events.changed, events.cards)
            return None
        batch = self._interactions(events)
        self.facts.learn(batch.item, events.changed, self.items, events.cards)
        self.blend.judge(batch, self._would_show)
        self.seen.see(batch.item, batch.at_ms)
        for learner in self.learners:
            learner.learn_many(batch)
        self.bought.learn_many(batch)
        self.rules.learn(batch)
        self.against.learn(batch)
        self.exploration.learn(batch)
        self.trending.learn_many(batch)
        for kind, values in (
            ("category", events.categories),
            ("segment", events.segments),
            ("country", events.countries),
            ("price", levels(self.facts.price[batch.item])),
        ):
            if values:
                scope = self._scope_rows(kind, values)
                self.scoped.learn_many(scope, batch.item, batch.weight, batch.at_ms)
        # Last: learners are judged, and learn, by what was known of items before the batch.
        self.describe(events.changed, events.cards)
        return batch

    def describe(self, changed: Sequence[str], cards: Mapping[str, Card]) -> None:
        """Hear what items are whose card is new or changed; a new one has a row from now on."""
        if not changed:
            return
        rows, told = self.items.take(changed), [cards[name] for name in changed]
        self.seen.see(rows, np.array([card.at_ms for card in told], np.int64))
        self.content.describe(rows, told)

    def hear(self, signals: Signals) -> None:
        """Learn what came of items: given back, shown, clicked in a list."""
        if len(signals.item):
            self.against.hear(signals)
            self.exploration.hear(signals)
            refunded = signals.of_kind(TURNED_DOWN)
            self.rules.bought.pairs.drop(refunded.shopper, refunded.item)

    def rank(self, shoppers: Sequence[str], now_ms: int) -> RankedLists:
        """A list for each shopper; one never seen gets what is popular. It teaches nothing."""
        requests = self._requests(shoppers, now_ms)
        return self._shown(requests, self._would_show(requests))

    def serve(self, shoppers: Sequence[str], now_ms: int) -> RankedLists:
        """What `rank` gives, to be written; of a sample it is remembered until the next click."""
        requests = self._requests(shoppers, now_ms)
        lists = self._would_show(requests)
        ranked = self._shown(requests, lists)
        if ranked.explored is not None:
            self.exploration.remember(requests, ranked.explored)
        known = requests.shopper >= 0
        self.written.remember(requests.shopper[known], ranked.lists.item[known], now_ms)
        kept = self.served.sample(requests.shopper)
        shown = [Lists(one.item[kept], one.score[kept], one.because[kept]) for one in lists]
        item, shopper = ranked.lists.item[kept], requests.shopper[kept]
        by = self.blend.said_by(requests.context[kept], shown, item)
        self.served.remember(shopper, item, by, self.contexts.newest_ms(shopper, now_ms))
        return ranked

    def rank_apart(self, shoppers: Sequence[str], now_ms: int) -> dict[str, RankedLists]:
        """What `rank` gives, under "blend", and beside it each learner's own lists."""
        requests = self._requests(shoppers, now_ms)
        lists = self._would_show(requests)
        return {
            "blend": self._shown(requests, lists),
            **{
                name: self._own(name, best)
                for name, best in zip(self.blend.names, lists, strict=True)
            },
        }

    def leave(self, shopper: str, user: str = "") -> None:
        """A shopper is no more: merged into a user, who goes on with their session, or erased."""
        heir = self.shoppers.row(user) if user else NOBODY
        row = self.shoppers.find(shopper)
        self.contexts.leave(row, heir)
        self.served.forget_shoppers(np.array([row], np.int32))
        self.written.forget(np.array([row], np.int32))
        self.rules.leave(row, heir)
        self.against.leave(row, heir)
        self.exploration.forget_shoppers(np.array([row], np.int32))

    def forget_shoppers(self, rows: Rows) -> None:
        """These shoppers were never seen; their rows are free."""
        for learner in self.learners:
            learner.forget_shoppers(rows)
        self.bought.forget_shoppers(rows)
        self.contexts.forget_shoppers(rows)
        self.served.forget_shoppers(rows)
        self.rules.bought.forget_shoppers(rows)
        self.against.forget_shoppers(rows)
        self.exploration.forget_shoppers(rows)
        self.written.forget(rows)
        self.shoppers.forget(rows)

    def forget_items(self, rows: Rows) -> None:
        """These items were never seen; their rows are free."""
        for learner in self.learners:
            learner.forget_items(rows)
        self.bought.forget_items(rows)
        self.scoped.forget_items(rows)
        self.trending.forget_items(rows)
        self.contexts.forget_items(rows)
        self.served.forget_items(rows)
        self.seen.forget(rows)
        self.rules.bought.forget_items(rows)
        self.against.forget_items(rows)
        self.exploration.forget_items(rows)
        self.written_similar.forget(rows)
        self.written_bought.forget(rows)
        self.facts.forget(rows)
        self.items.forget(rows)

    def similar(self, now_ms: int, most: int | None = None) -> tuple[list[str], RankedLists]:
        """Items whose company in sessions changed since last told, and that company.

        All of them, or at most so many, beginning where the time before ended.
        """
        items = self.covisitation.take_changed(most, self.told[0])
        self.told = (_behind(items, self.told[0]), self.told[1])
        return self.similar_of(items, now_ms)

    def similar_of(self, items: Rows, now_ms: int) -> tuple[list[str], RankedLists]:
        """The company of items in sessions, to be written."""
        lists = self.covisitation.neighbours(items, self.k, self.rules.sold_out_flags)
        self.written_similar.remember(items, lists.item, now_ms)
        return self._ids(items), self._ranked(lists, "covisitation")

    def bought_together(
        self, now_ms: int, most: int | None = None
    ) -> tuple[list[str], RankedLists]:
        """Items whose company in orders changed since last told, and that company, as in `similar`."""
        items = self.bought.take_changed(most, self.told[1])
        self.told = (self.told[0], _behind(items, self.told[1]))
        return self.bought_with(items, now_ms)

    def bought_with(self, items: Rows, now_ms: int) -> tuple[list[str], RankedLists]:
        """The company of items in orders, to be written."""
        lists = self.bought.neighbours(items, self.k, self.rules.sold_out_flags)
        self.written_bought.remember(items, lists.item, now_ms)
        return self._ids(items), self._ranked(lists, "bought")

    def change_holding(self, items: Rows) -> None:
        """Count every list of an item or a scope that these belong to as changed."""
        for part in (self.covisitation, self.bought, self.scoped):
            part.table.change_holding(items)

    def tell_all(self) -> None:
        """Count every list of an item or a scope as changed."""
        for part in (self.covisitation, self.bought, self.scoped):
            part.table.change_all()

    def popular(self) -> RankedLists:
        """One list: what everybody looks at."""
        top = self.popularity.top(self.k, self.rules.sold_out())
        return self._own(self.popularity.name, top)

    def trending_now(self, now_ms: int) -> RankedLists:
        """One list: what is looked at more than usual; the score is how many times as much."""
        top = self.trending.top(self.popularity, now_ms, self.k, self.rules.sold_out())
        return self._own(self.popularity.name, top)

    def popular_scopes(self) -> tuple[list[tuple[str, str]], RankedLists]:
        """The scopes that changed since last asked, as (kind, value), and what is popular there."""
        scopes = self.scoped.take_changed()
        names = [self.scopes.ids[row].partition(".") for row in scopes.tolist()]
        lists = self.scoped.top(scopes, self.k, self.rules.sold_out_flags)
        return [(kind, value) for kind, _, value in names], self._own(self.popularity.name, lists)

    def vocabularies(self) -> dict[str, Vocabulary]:
        """The ids behind the rows of `arrays`; part of a snapshot."""
        return {"shoppers": self.shoppers, "items": self.items, "scopes": self.scopes}

    def tables(self) -> list[Table]:
        """The tables of all parts."""
        return [
            table.named(f"{part}/")
            for part, owner in self._parts().items()
            for table in owner.tables()
        ]

    def small(self) -> Arrays:
        """What is small of all parts."""
        return {
            f"{part}/{name}": array
            for part, owner in self._parts().items()
            for name, array in owner.small().items()
        }

    def restore(self, arrays: Arrays, vocabularies: Mapping[str, Sequence[str]]) -> None:
        """Take over what `arrays` and the ids of `vocabularies` were, of the same arguments.

        Of a vocabulary that was empty nothing is stored.
        """
        for part, owner in self._parts().items():
            of_part = without_prefix(f"{part}/", arrays)
            if of_part:  # a learner that came later begins with nothing
                owner.restore(of_part)
        self.shoppers = Vocabulary(vocabularies.get("shoppers", ()))
        self.items = Vocabulary(vocabularies.get("items", ()))
        self.scopes = Vocabulary(vocabularies.get("scopes", ()))
        self._captions = Captions([learner.name for learner in self.learners])

    def _parts(self) -> dict[str, _Part]:
        return {
            **{learner.name: learner for learner in self.learners},
            "bought": self.bought,
            "scoped": self.scoped,
            "contexts": self.contexts,
            "blend": self.blend,
            "seen": self.seen,
            "served": self.served,
            "had": self.rules.bought,
            "against": self.against,
            "exploration": self.exploration,
            "written": self.written,
            "written_similar": self.written_similar,
            "written_bought": self.written_bought,
            "trending": self.trending,
        }

    def _requests(self, shoppers: Sequence[str], now_ms: int) -> Requests:
        row = np.fromiter(map(self.shoppers.find, shoppers), np.int32, len(shoppers))
        return Requests(row, self.contexts.take(row), np.full(len(row), now_ms, np.int64))

    def _would_show(self, requests: Requests) -> list[Lists]:
        """The list of each learner."""
        lists = self.candidates(requests, self.pool)
        if self.allow_repeats:
            return lists
        return [without(one, requests.context) for one in lists]

    def candidates(self, requests: Requests, k: int) -> list[Lists]:
        """At most k items of each learner, best first, in the order of `learners`."""
        wide = {
            learner.name: learner.candidates(requests, self._named_by(learner, k))
            for learner in self.learners
            if not learner.asked_last
        }
        told = replace(requests, named=np.concatenate([of.item for of in wide.values()], axis=1))
        lists = {
            name: Lists(of.item[:, :k], of.score[:, :k], of.because[:, :k])
            for name, of in wide.items()
        }
        return [
            one.candidates(told, k) if one.asked_last else lists[one.name] for one in self.learners
        ]

    def _named_by(self, learner: Learner, k: int) -> int:
        """How many items it names for those that are asked last; its own list has k."""
        return NAMED_WIDE * k if learner is self.covisitation else k

    def listed(self, requests: Requests, lists: Sequence[Lists], k: int) -> Lists:
        """The learners' lists as the one of k that is shown: blended, by the rules, a place explored."""
        return self._listed(requests, lists, k)[0]

    def _listed(
        self, requests: Requests, lists: Sequence[Lists], k: int
    ) -> tuple[Lists, Explored | None]:
        shown = self.rules.listed(
            requests, lambda most: self.blend.mix(requests, lists, most), self._popular, k
        )
        if not self.exploration.is_on:
            return shown, None
        return self.exploration.shown(requests, lists, shown, self.rules.hidden)

    def _shown(self, requests: Requests, lists: Sequence[Lists]) -> RankedLists:
        shown, explored = self._listed(requests, lists, self.k)
        ranked = self._ranked(shown, "blend")
        ranked.explored = explored
        return ranked

    def _popular(self, requests: Requests, k: int) -> Lists:
        """What is popular and can be had, for each request, so many at least where there are."""
        reach = 0 if self.allow_repeats else self.contexts.reach
        top = self.popularity.top(k + reach, self.rules.sold_out())
        n, place = len(requests), self.blend.names.index(self.popularity.name)
        lists = Lists(
            np.repeat(top.item, n, axis=0),
            np.repeat(top.score, n, axis=0),
            np.full((n, k + reach), reason_row(place), np.int32),
        )
        return lists if self.allow_repeats else without(lists, requests.context)

    def _own(self, name: str, lists: Lists) -> RankedLists:
        """A learner's lists; where it names no item as the reason, it is the reason."""
        place = self.blend.names.index(name)
        because = np.where(lists.because >= 0, lists.because, reason_row(place))
        return self._ranked(Lists(lists.item, lists.score, because), name)

    def _interactions(self, events: Events) -> Interactions:
        shopper = self.shoppers.take(events.shoppers)
        item = self.items.take(events.items)
        at_ms = np.asarray(events.at_ms, np.int64)
        since_ms = np.asarray(events.session_start_ms, np.int64)
        return Interactions(
            shopper,
            item,
            np.asarray(events.kinds, np.int8),
            np.asarray(events.weights, np.float32),
            at_ms,
            self.contexts.advance(shopper, item, at_ms, since_ms),
        )

    def _scope_rows(self, kind: str, values: Sequence[str | None]) -> Rows:
        row = self.scopes.row
        rows = {v: NOBODY if v is None else row(f"{kind}.{v}") for v in dict.fromkeys(values)}
        return np.fromiter(map(rows.__getitem__, values), np.int32, len(values))

    def _ids(self, items: Rows) -> list[str]:
        return [self.items.ids[row] for row in items.tolist()]

    def _ranked(self, lists: Lists, source: str) -> RankedLists:
        self._captions.rename(self.items.take_renamed(), self.items.ids)
        self._captions.cover(self.items.ids)
        return RankedLists(lists, self._captions, source)


_NONE: Rows = np.empty(0, np.int32)


def _behind(items: Rows, before: int) -> int:
    """The row behind the last one."""
    return int(items[-1]) + 1 if len(items) else before
