"""A synthetic shop: the same seed always sees the same shoppers do the same things.

For the demo and for tests that need shoppers with tastes: lists can be learned, clusters are there
to be found, and an item seen next is often a companion of the one before. Change freely: nothing
is stored under these names. The canonical workload of the benchmarks is `benchmarks/workload.py`.
"""

from __future__ import annotations

from collections import Counter
from itertools import count, islice
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from state.events import Event, Item, Page

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from state.events import EventType

    Rows = NDArray[np.int64]

KINDS = (
    ("mug", "kitchen", 12.0),
    ("teapot", "kitchen", 34.0),
    ("lamp", "living", 59.0),
    ("cushion", "living", 22.0),
    ("notebook", "office", 9.0),
    ("pen", "office", 5.0),
    ("scarf", "clothing", 29.0),
    ("jacket", "clothing", 119.0),
    ("kite", "toys", 19.0),
    ("puzzle", "toys", 16.0),
)
"""What the shop sells: noun, department, usual price. A kind's companion is the next one."""

COLOURS = ("Blue", "Red", "Green", "Yellow", "White", "Black", "Grey", "Orange", "Pink")
PATTERNS = (
    "",
    "striped",
    "dotted",
    "checked",
    "plain",
    "floral",
    "quilted",
    "speckled",
    "woven",
    "marbled",
)
BRANDS = ("Budget Bee", "Middleton", "Grand & Son")
"""By tier: the cheap, the usual and the dear third of every kind."""

TIER_PRICES = (0.6, 1.0, 2.2)


class Persona(NamedTuple):
    """How one kind of shopper behaves; the shares are probabilities."""

    name: str
    shopper_share: float
    views_mean: float
    """Items looked at in a visit, on average."""
    search_probability: float
    cart_add_probability: float
    cart_remove_probability: float
    order_probability: float
    """Share of visits with a full cart that end with an order."""
    tier: int | None
    """The tier they insist on, if any."""
    account_probability: float
    activity: float
    """How often they come, against the others."""


PERSONAS = (
    Persona("passer-by", 0.40, 1.6, 0.10, 0.02, 0.05, 0.30, None, 0.05, 0.5),
    Persona("browser", 0.30, 9.0, 0.15, 0.04, 0.15, 0.25, None, 0.40, 1.0),
    Persona("bargain hunter", 0.18, 6.0, 0.70, 0.25, 0.35, 0.45, 0, 0.60, 1.5),
    Persona("loyal buyer", 0.12, 4.0, 0.30, 0.45, 0.05, 0.85, 2, 1.00, 2.5),
)

VIEWS_MAX = 40
STEP_MS_MEAN = 12_000
SESSIONS_PER_DRAW = 512
CATALOGUE = "catalogue"
"""The anonymous id under which the shop itself tells of its items."""


def build_catalogue(items: int, seed: int = 7) -> tuple[Item, ...]:
    """The shop's items, most popular first.

    >>> item = build_catalogue(500)[420]; item.item_id, item.name, item.category, item.brand
    ('mug-0042', 'Grey plain mug', ('kitchen', 'mug'), 'Budget Bee')
    """
    price_factors = np.random.default_rng(seed).lognormal(0.0, 0.15, items)
    return tuple(_item(row, float(price_factors[row])) for row in range(items))


def generate_events(
    *,
    seed: int = 7,
    shoppers: int = 2000,
    items: int = 500,
    events: int | None = None,
    start_ms: int = 1_767_225_600_000,
    events_per_s: float = 50.0,
    disorder_ms: int = 5000,
) -> Iterator[Event]:
    """Events in the order in which they arrive, without end unless `events` bounds them.

    First every item introduces itself, then visits begin at random moments, so many that
    `events_per_s` is the mean rate in event time. An event arrives (`received_ts`) up to
    `disorder_ms` after it happened; so late ones come out of order. Shoppers are active, and items
    popular, by Zipf's law with a flattened head.
    """
    goods = build_catalogue(items, seed)
    introductions = (
        Event(f"item-{seed}-{item.item_id}", "item", start_ms, start_ms, CATALOGUE, items=(item,))
        for item in goods
    )
    yield from islice(introductions, events)
    if events is None or events > items:
        traffic = _TrafficGenerator(seed, shoppers, goods, start_ms, events_per_s, disorder_ms)
        yield from islice(traffic.arrivals(), None if events is None else events - items)


def encode_lines(
    events: Iterator[Event], *, seed: int = 7, repeated: float = 0.0, damaged: float = 0.0
) -> Iterator[bytes]:
    """Events as canonical JSON lines, a share of them sent twice and a share of them cut off."""
    rng = np.random.default_rng(seed)
    encode = msgspec.json.Encoder().encode
    for event in events:
        line = encode(event)
        draw = rng.random()
        if draw < damaged:
            yield line[: len(line) // 2]
        else:
            yield line
            if draw < damaged + repeated:
                yield line


def persona_of(shopper: int) -> Persona:
    """The habit of the shopper with this number; it is hidden from the flow.

    >>> persona_of(0).name, persona_of(1).name
    ('browser', 'passer-by')
    """
    # The golden ratio spreads any run of numbers evenly over the shares.
    position = (shopper + 1) * 0.6180339887498949 % 1.0
    for persona in PERSONAS:
        position -= persona.shopper_share
        if position < 0:
            return persona
    return PERSONAS[-1]


def _item(row: int, price_factor: float) -> Item:
    noun, department, price = KINDS[row % len(KINDS)]
    number = row // len(KINDS)
    tier = number % len(BRANDS)
    variant, colour = divmod(number, len(COLOURS))
    series, pattern = divmod(variant, len(PATTERNS))
    words = (COLOURS[colour], PATTERNS[pattern], noun, f"No. {series + 1}" if series else "")
    return Item(
        f"{noun}-{number:04d}",
        category=(department, noun),
        brand=BRANDS[tier],
        name=" ".join(filter(None, words)),
        price=round(price * TIER_PRICES[tier] * price_factor, 2),
    )


def _cumulate(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.cumsum(weights / weights.sum())


def _zipf(n: int) -> NDArray[np.float64]:
    """Zipf and Mandelbrot's law: plain Zipf would have the first shopper never leave the shop."""
    return (np.arange(1, n + 1, dtype=np.float64) + n / 25) ** -1


class _TrafficGenerator:
    """Draws visits a few hundred at a time, and merges their events by arrival."""

    def __init__(
        self,
        seed: int,
        shoppers: int,
        goods: Sequence[Item],
        start_ms: int,
        events_per_s: float,
        disorder_ms: int,
    ) -> None:
        self.seed = seed
        self.rng = np.random.default_rng([seed, 1])
        self.goods = goods
        self.singles = [(item,) for item in goods]
        self.start_ms = start_ms
        self.disorder_ms = disorder_ms
        self.personas = [persona_of(shopper) for shopper in range(shoppers)]
        self.tiers = np.array([-1 if h.tier is None else h.tier for h in self.personas])
        self.views = np.array([h.views_mean for h in self.personas])
        self.has_account = self.rng.random(shoppers) < [
            h.account_probability for h in self.personas
        ]
        activity = np.array([h.activity for h in self.personas])
        self.active = _cumulate(activity * self.rng.permutation(_zipf(shoppers)))
        kinds = min(len(KINDS), len(goods))
        self.kinds = kinds
        self.favourites = self.rng.integers(0, kinds, (shoppers, 2))
        self.popular = _cumulate(_zipf(len(goods)))
        self.popular_of_kind = _cumulate(_zipf(max(1, len(goods) // kinds)))
        self.session_interval_ms_mean = 1000 * self._events_per_session() / events_per_s

    def arrivals(self) -> Iterator[Event]:
        """Events by `received_ts`, for ever."""
        pending: list[Event] = []
        begin_ms = float(self.start_ms)
        for first in count(0, SESSIONS_PER_DRAW):
            starts = (
                begin_ms
                + self.rng.exponential(self.session_interval_ms_mean, SESSIONS_PER_DRAW).cumsum()
            )
            begin_ms = float(starts[-1])
            pending.extend(self._sessions(first, starts.astype(np.int64)))
            pending.sort(key=lambda event: event.received_ts)
            # No visit that is still to come can send an event before it begins.
            ready = next((n for n, e in enumerate(pending) if e.received_ts > begin_ms), -1)
            if ready >= 0:
                yield from pending[:ready]
                del pending[:ready]

    def _events_per_session(self) -> float:
        """The mean over shoppers, roughly: the views, an entry page, and what carts add."""
        weight = np.diff(self.active, prepend=0.0)
        in_cart = np.array(
            [h.cart_add_probability * (1 + h.cart_remove_probability) for h in self.personas]
        )
        return float(weight @ (1 + self.views * (1 + in_cart)))

    def _sessions(self, first: int, starts: Rows) -> Iterator[Event]:
        rng = self.rng
        shopper = np.searchsorted(self.active, rng.random(len(starts)))
        views = np.minimum(rng.geometric(1 / self.views[shopper]), VIEWS_MAX)
        steps = int(views.max())
        items = self._browse(shopper, steps).tolist()
        step_ms = 1 + rng.exponential(STEP_MS_MEAN, (len(starts), 3 * steps + 4)).astype(np.int64)
        times = (starts[:, None] + step_ms.cumsum(axis=1)).tolist()
        delays = rng.integers(0, self.disorder_ms + 1, step_ms.shape).tolist()
        chances = rng.random((len(starts), 2 * steps + 4)).tolist()
        is_signed_in = (self.has_account[shopper] & (rng.random(len(starts)) < 0.5)).tolist()
        for n, row in enumerate(shopper.tolist()):
            yield from _SessionGenerator(
                self, first + n, row, is_signed_in[n], times[n], delays[n], chances[n]
            ).events(items[n][: views[n]])

    def _browse(self, shopper: Rows, steps: int) -> Rows:
        """The items of each visit, int64[visits, steps].

        Half of the steps go to the companion of the item before, most others to a favourite kind,
        some to what is popular in the whole shop.
        """
        rng, n = self.rng, len(shopper)
        items = np.empty((n, steps), np.int64)
        for step in range(steps):
            chance = rng.random(n)
            item = self._sample_item(shopper)
            is_popular = chance > 0.85
            item[is_popular] = np.searchsorted(self.popular, rng.random(int(is_popular.sum())))
            if step:
                is_related = chance < 0.5
                item[is_related] = self._related_item(
                    items[is_related, step - 1], rng.random(int(is_related.sum()))
                )
            items[:, step] = item
        return items

    def _sample_item(self, shopper: Rows) -> Rows:
        n = len(shopper)
        kind = self.favourites[shopper, (self.rng.random(n) > 0.7).astype(np.int64)]
        number = np.searchsorted(self.popular_of_kind, self.rng.random(n))
        tier = self.tiers[shopper]
        tier_number = number - number % len(BRANDS) + tier
        number = np.where(
            (tier >= 0) & (tier_number < len(self.popular_of_kind)), tier_number, number
        )
        return kind + self.kinds * number

    def _related_item(self, item: Rows, chance: NDArray[np.float64]) -> Rows:
        """The next item of the same tier, or the same number of the next kind."""
        number, kind = item // self.kinds, item % self.kinds
        sibling = np.where(chance < 0.6, item + self.kinds * len(BRANDS), -1)
        partner = number * self.kinds + (kind + 1) % self.kinds
        related = np.where(sibling >= 0, sibling, partner)
        return np.where(related < len(self.goods), related, kind)


class _SessionGenerator:
    """One shopper's visit, turned into events one after the other."""

    def __init__(
        self,
        shop: _TrafficGenerator,
        number: int,
        shopper: int,
        is_signed_in: bool,
        times: list[int],
        delays: list[int],
        chances: list[float],
    ) -> None:
        self.shop = shop
        self.name = f"{shop.seed}-{number}"
        self.persona = shop.personas[shopper]
        self.account = f"shopper-{shopper:05d}" if shop.has_account[shopper] else None
        self.anonymous_id = f"visitor-{shopper:05d}"
        self.user_id = self.account if is_signed_in else None
        self.steps = zip(count(), times, delays, strict=False)
        self.chance = iter(chances).__next__

    def events(self, items: list[int]) -> Iterator[Event]:
        """Entry, views with what goes into the cart and out of it, and perhaps an order."""
        persona, singles = self.persona, self.shop.singles
        if self.chance() < persona.search_probability:
            yield self._event("search", query=self.shop.goods[items[0]].category[-1])
        else:
            yield self._event("page_view", page=Page(path="/"))
        cart: Counter[int] = Counter()
        for item in items:
            yield self._event("item_view", singles[item])
            if self.chance() < persona.cart_add_probability:
                cart[item] += 1
                yield self._event("cart_add", singles[item])
                if self.chance() < persona.cart_remove_probability:
                    del cart[item]
                    yield self._event("cart_remove", singles[item])
        if cart and self.chance() < persona.order_probability:
            if self.account and not self.user_id:
                self.user_id = self.account
                yield self._event("identify")
            yield self._event("checkout_start")
            yield self._order(cart)

    def _order(self, cart: Counter[int]) -> Event:
        goods = self.shop.goods
        bought = tuple(msgspec.structs.replace(goods[i], quantity=n) for i, n in cart.items())
        value = round(sum((item.price or 0.0) * item.quantity for item in bought), 2)
        return self._event("purchase", bought, order_id=f"order-{self.name}", value=value)

    def _event(self, kind: EventType, items: tuple[Item, ...] = (), **more: Any) -> Event:
        step, event_ts, delay_ms = next(self.steps)
        return Event(
            f"{self.name}-{step}",
            kind,
            event_ts,
            event_ts + delay_ms,
            self.anonymous_id,
            self.user_id,
            items,
            currency="EUR",
            **more,
        )
