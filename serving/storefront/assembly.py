"""Makes the lists of a page out of what Redis has: order, filters, no item twice. Without I/O.

`assemble` is a generator: it yields the shared keys that it needs next and goes on when they are there,
so that the same code runs on a cached process, on Redis, and in a test on a dict.

Where the items of a slot come from, in this order, until there are enough:

- `product`: similar to the item of the page, then as `home`
- `cart`: bought together with what is in the cart, then similar to it, then as `home`
- `category`: the own list, then what is popular in the category, then as `home`
- all others: the order of `serving.list_order`
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from serving.explain import cause_of, describe_reason
from serving.list_order import CATEGORY, OWN, fallback_lists
from serving.reader import display_name
from serving.storefront.answers import Card, ListAnswer, ListedItem
from serving.storefront.shared import EMPTY, Recent, StoredList
from state import keys

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from serving.storefront.requests import SlotRequest

ITEM, CART, NONE = "item", "cart", "none"
PERSONALIZATION = "personalization"
REASONS_MAX = 100_000
_MARGIN = 8
"""Candidates looked at beyond those still missing, so that few sold-out items need no further read."""


class KnownShopper(msgspec.Struct):
    """What is known of who asks. `id` "" is everybody: the lists are then the same for all."""

    id: str = ""
    own: dict[str, StoredList] = {}
    segments: dict[str, int] = {}
    profile: dict[str, str] = {}

    @property
    def refuses_personalization(self) -> bool:
        """Whether lists must not depend on what this shopper did."""
        return PERSONALIZATION in self.profile.get("refused", "").split(",")


Candidate = tuple[str, float, str, str, StoredList]
"""An item that may be listed: item, score and reason of its entry, the place and the list it comes from.

A list looks at some twenty of them: a plain tuple costs a tenth of one with names.
"""


class ReasonTexts:
    """Reasons in words, kept as long as the card of the item that they name."""

    def __init__(self) -> None:
        self._texts: Recent[tuple[Card | None, str]] = Recent(REASONS_MAX)

    def text(self, item: str, reason: str, of_cause: Card | None) -> str:
        """The reason of an entry in words; `of_cause` is the card of the item that is the reason."""
        known = self._texts.get((item, reason))
        if known is not None and known[0] is of_cause:
            return known[1]
        names = {}
        if (cause := cause_of(reason)) is not None:
            card = of_cause or Card()
            names[cause] = display_name(cause, card.name, card.brand, card.category)
        text = describe_reason(item, reason, names)
        self._texts.store((item, reason), (of_cause, text))
        return text


_NOTHING: Candidate = ("", 0.0, "", NONE, EMPTY)


class Assembly:
    """Makes the lists of one page. `value_of` gives the value of a shared key, None if there is none."""

    def __init__(
        self,
        shopper: KnownShopper,
        value_of: Callable[[str], StoredList | Card | None],
        now_ms: int,
        *,
        list_key: bytes = b"",
        reasons: ReasonTexts | None = None,
        repeat: bool = False,
    ) -> None:
        self._shopper = KnownShopper() if shopper.refuses_personalization else shopper
        self._name = shopper.id
        self._value_of = value_of
        self._now_ms = now_ms
        self._list_key = list_key
        self._reasons = ReasonTexts() if reasons is None else reasons
        self._repeat = repeat
        self._on_page: set[str] = set()

    def assemble(
        self, request: SlotRequest, shown_before: Sequence[str] = ()
    ) -> Generator[list[str], None, ListAnswer]:
        """Make one list; yields the shared keys that must be read before it goes on.

        `shown_before` are the items of the earlier parts of the same list: it goes on after them.
        """
        chosen: list[tuple[Candidate, Card | None]] = []
        left_out = {request.item, *request.cart, *request.exclude, *shown_before}
        if not self._repeat:
            left_out |= self._on_page
        offset = 0 if shown_before else request.offset
        wanted = request.n + offset
        value_of, has_filter = self._value_of, bool(request.category or request.price_max)
        for source in self._sources(request):
            candidates = yield from source
            # A few at a time: a list has a hundred, and mostly the first ones are shown.
            waiting = (one for one in candidates if one[0] not in left_out)
            while len(chosen) < wanted:
                part = [*islice(waiting, wanted - len(chosen) + _MARGIN)]
                if not part:
                    break
                yield _cards_of(part)
                for one in part:
                    item = one[0]
                    card: Card | None = value_of(_card_key(item))  # type: ignore[assignment]
                    if card is not None and not card.available:
                        continue
                    if item not in left_out and not (has_filter and not _fits(card, request)):
                        chosen.append((one, card))
                        left_out.add(item)
            if len(chosen) >= wanted:
                break
        shown = chosen[offset:wanted]
        self._on_page.update([one[0] for one, _ in shown])
        origin = chosen[0][0] if chosen else _NOTHING
        answer = self._answer(request, origin, shown, 1 + (len(shown_before) or offset))
        if shown_before:
            answer.list_id = request.list_id
        return answer

    def repeat_answer(self, earlier: ListAnswer) -> ListAnswer:
        """An earlier answer as a degraded one, without what is on this page already."""
        on_page = set() if self._repeat else self._on_page
        items = [one for one in earlier.items if one.id not in on_page]
        self._on_page.update(one.id for one in items)
        return msgspec.structs.replace(earlier, items=items, degraded=True)

    def _sources(
        self, request: SlotRequest
    ) -> Iterator[Generator[list[str], None, Iterable[Candidate]]]:
        """Where items come from, in order."""
        shopper, slot = self._shopper, request.slot
        own = shopper.own.get(slot) or shopper.own.get(keys.SLOT) or EMPTY
        top_category = shopper.profile.get("top_category", "")
        if slot == "product" and request.item:
            yield self._similar_to(request.item, own)
        elif slot == "cart" and request.cart:
            yield self._summed([keys.bought_key(item) for item in request.cart])
            yield self._summed([keys.similar_key(item) for item in request.cart])
        yield _given(_candidates(OWN, own))
        if slot == "category" and request.category:
            yield self._stored(CATEGORY, keys.popular_key("category", request.category))
        for place, _, key in fallback_lists(shopper.segments, top_category):
            yield self._stored(place, key)

    def _stored(self, place: str, key: str) -> Generator[list[str], None, Iterable[Candidate]]:
        yield [key]
        return _candidates(place, self._list(key))

    def _similar_to(
        self, item: str, own: StoredList
    ) -> Generator[list[str], None, list[Candidate]]:
        """The similar items. Those that are in the own list too change places, in its order."""
        found = [*(yield from self._stored(ITEM, keys.similar_key(item)))]
        rank = {entry[0]: position for position, entry in enumerate(own.items)}
        places = [at for at, one in enumerate(found) if one[0] in rank]
        by_own = sorted((found[at] for at in places), key=lambda one: rank[one[0]])
        for at, one in zip(places, by_own, strict=True):
            found[at] = one
        return found

    def _summed(self, list_keys: Sequence[str]) -> Generator[list[str], None, list[Candidate]]:
        """The items of several lists, by the sum of 1/rank over them; the first reason counts."""
        yield list(list_keys)
        sums: dict[str, float] = {}
        first: dict[str, Candidate] = {}
        for key in list_keys:
            stored = self._list(key)
            for rank, candidate in enumerate(_candidates(CART, stored), 1):
                item = candidate[0]
                sums[item] = sums.get(item, 0.0) + 1 / rank
                first.setdefault(item, candidate)
        return [first[item] for item in sorted(sums, key=lambda item: (-sums[item], item))]

    def _answer(
        self,
        request: SlotRequest,
        origin: Candidate,
        shown: Sequence[tuple[Candidate, Card | None]],
        first_position: int,
    ) -> ListAnswer:
        _, _, _, place, stored = origin
        return ListAnswer(
            list_id=self._list_id(request, stored.at),
            slot=request.slot,
            place=place,
            source=stored.source,
            model=stored.model,
            at=stored.at,
            age_ms=max(self._now_ms - stored.at, 0) if stored.at else 0,
            degraded=False,
            items=[
                self._listed(one, card, at) for at, (one, card) in enumerate(shown, first_position)
            ],
        )

    def _listed(self, candidate: Candidate, card: Card | None, position: int) -> ListedItem:
        item, score, reason, _, stored = candidate
        cause = cause_of(reason)
        why = self._reasons.text(item, reason, None if cause is None else self._card(cause))
        propensity = None
        if stored.explore is not None and stored.explore.get("item") == item:
            propensity = stored.explore.get("propensity")
        return ListedItem(item, position, score, reason, why, propensity, card)

    def _list_id(self, request: SlotRequest, at_ms: int) -> str:
        """An id of this list for this shopper, which names neither."""
        what = msgspec.json.encode((self._name, request.item, request.cart, request.category))
        digest = hashlib.blake2b(what, key=self._list_key, digest_size=9).hexdigest()
        return f"{at_ms:x}-{request.slot}-{digest}"

    def _list(self, key: str) -> StoredList:
        value = self._value_of(key)
        return value if isinstance(value, StoredList) else EMPTY

    def _card(self, item: str) -> Card | None:
        return self._value_of(_card_key(item))  # type: ignore[return-value]  # such a key has a card


def _fits(card: Card | None, request: SlotRequest) -> bool:
    """Whether an item is known to fit the filters."""
    if request.category:
        category = card.category if card else ""
        if category != request.category and not category.startswith(request.category + "/"):
            return False
    if request.price_max is not None:
        return card is not None and card.price is not None and card.price <= request.price_max
    return True


def _given(candidates: Iterable[Candidate]) -> Generator[list[str], None, Iterable[Candidate]]:
    yield []
    return candidates


def _candidates(place: str, stored: StoredList) -> Iterator[Candidate]:
    return ((*entry, place, stored) for entry in stored.items)


def _cards_of(candidates: Sequence[Candidate]) -> list[str]:
    names = dict.fromkeys([one[0] for one in candidates])
    for one in candidates:
        if (cause := cause_of(one[2])) is not None:
            names[cause] = None
    return [*map(_card_key, names)]


_card_key = lru_cache(maxsize=100_000)(keys.card_key)
"""A list asks for some sixty keys of cards, mostly those of the list before."""
