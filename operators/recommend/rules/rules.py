"""The rules of a list, in the order in which they are applied; each can be turned off.

First goes what must not be shown, then comes what is to be earlier, then goes back what would be too
much of one kind. What a list loses is filled up with what is popular.

The cap comes last, over all that a list may be filled up with: nothing comes in behind its back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from operators.recommend.rules import out_of_stock
from operators.recommend.rules.already_bought import WAYS, Bought
from operators.recommend.rules.category_cap import capped, leading
from operators.recommend.rules.diversity import diverse
from operators.recommend.rules.own_brand import boosted
from operators.tables.array_ops import dropped, filled, taken, widened
from state.interactions import NOBODY
from state.times import MINUTE_MS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from operators.catalogue.item_features import Flags, ItemFacts
    from state.config import ListRules
    from state.interactions import Interactions, Lists, Requests, Rows

Popular = Callable[["Requests", int, int], "Lists"]
"""What is popular for requests: so many items at least where there are, and if not 0, first so many of
each category."""
WIDER = 2
"""So many times as many candidates as are shown go into the rules."""
FILL = 4
"""So many times as many popular items as are shown are looked through for other categories."""


class Rules:
    """The rules that a configuration sets. `own_brand` is the `because` of what a boost moved up."""

    def __init__(self, settings: ListRules, facts: ItemFacts, own_brand: int) -> None:
        self.settings = settings
        self.facts = facts
        self.bought = Bought(settings.already_bought.pairs_max)
        self._own_brand = own_brand

    def learn(self, batch: Interactions) -> None:
        """Learn who bought what: reasons say so too."""
        self.bought.learn_many(batch)

    def leave(self, shopper: int, heir: int) -> None:
        """A shopper is no more; the heir, if any, is who it turned out to be."""
        if shopper != NOBODY:
            self.bought.pairs.leave(shopper, heir)

    def listed(
        self,
        requests: Requests,
        mix: Callable[[int], Lists],
        popular: Popular,
        k: int,
    ) -> Lists:
        """Lists of k items each: the rules applied to what `mix` makes of a length, and filled up with
        what is `popular` for requests, of a length too."""
        hides, moves = self._hides(), self._moves()
        if not (hides or moves):
            return mix(k)
        lists = mix(WIDER * k)
        if hides:
            lists = dropped(lists, self.hidden(requests, lists.item))
        if moves:
            lists = self._moved(lists, k)
        if moves and self.settings.category_cap.most:
            return self._capped(requests, lists, popular, k)
        lists = taken(lists, slice(None), k)
        if hides:
            short = np.flatnonzero(lists.item[:, -1] < 0)
            if len(short):
                asked = requests.part(short)
                self._fill(asked, lists, short, popular(asked, k + WAYS, 0))
        return lists

    def sold_out(self) -> Rows:
        """Items that must not be in any list."""
        flags = self.sold_out_flags
        return np.empty(0, np.int32) if flags is None else np.flatnonzero(flags).astype(np.int32)

    @property
    def sold_out_flags(self) -> Flags | None:
        """The same by row, None where there are none."""
        is_on = self.settings.out_of_stock.enabled and self.facts.sold_out_items
        return self.facts.sold_out if is_on else None

    def _hides(self) -> bool:
        """Whether there is anything that must not be shown to somebody."""
        bought = self.settings.already_bought.enabled and len(self.bought.pairs) > 0
        return bought or self.sold_out_flags is not None

    def _moves(self) -> bool:
        """Whether order may change."""
        settings = self.settings
        is_on = settings.own_brand.brands or settings.diversity.weight or settings.category_cap.most
        return bool(is_on) and len(self.facts.category) > 0

    def hidden(self, requests: Requests, item: Rows) -> Flags:
        """Which places of lists [n, w] hold what must not be shown to their shoppers."""
        settings = self.settings
        gone = np.zeros(item.shape, np.bool_)
        if settings.already_bought.enabled:
            wait_ms = settings.already_bought.wait_min * MINUTE_MS
            again_min = settings.already_bought.again_min
            gone |= self.bought.hidden(requests, item, self.facts, wait_ms, again_min)
        if (sold_out := self.sold_out_flags) is not None:
            gone |= out_of_stock.hidden(item, sold_out)
        return gone

    def _capped(self, requests: Requests, lists: Lists, popular: Popular, k: int) -> Lists:
        """Lists of k under the cap; where too little is named for that, of what is popular too."""
        cap = self.settings.category_cap
        first = leading(lists.item, self.facts, cap.most, cap.among)
        enough = first.sum(axis=1) >= min(cap.among, k)
        enough &= (lists.item >= 0).sum(axis=1) >= k
        short = np.flatnonzero(~enough)
        if len(short):
            asked = requests.part(short)
            more = popular(asked, FILL * k + WAYS, cap.most)
            # Room for all of it: the cap then takes what it may.
            lists = widened(lists, lists.item.shape[1] + more.item.shape[1])
            self._fill(asked, lists, short, more)
        return taken(capped(lists, self.facts, cap.most, cap.among), slice(None), k)

    def _fill(self, asked: Requests, lists: Lists, short: NDArray[np.intp], more: Lists) -> None:
        """Fill the `short` lists, in place, with what may be shown of `more` to who `asked`."""
        more = dropped(more, self.hidden(asked, more.item))
        whole = filled(taken(lists, short, lists.item.shape[1]), more, lists.item.shape[1])
        lists.item[short], lists.score[short] = whole.item, whole.score
        lists.because[short] = whole.because

    def _moved(self, lists: Lists, k: int) -> Lists:
        settings, facts = self.settings, self.facts
        if own := settings.own_brand.brands:
            lists = boosted(lists, facts, own, settings.own_brand.boost, self._own_brand)
        cap = settings.category_cap
        if settings.diversity.weight:
            wanted = lists.item.shape[1] if cap.most else k
            lists = diverse(lists, facts, settings.diversity.weight, wanted)
        return lists
