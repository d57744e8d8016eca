"""All sessions of the synthetic shop as one stream of events, in the order in which they arrive."""

from __future__ import annotations

from itertools import count, islice
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from operators.synthetic.catalogue import BRANDS, CATALOGUE, KINDS, build_catalogue
from operators.synthetic.personas import persona_of
from operators.synthetic.session import SessionGenerator, Visitor
from state.events import Event

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from state.events import Item

    Numbers = NDArray[np.int64]

VIEWS_MAX = 40
STEP_MS_MEAN = 12_000
SESSIONS_PER_DRAW = 512


class Past(NamedTuple):
    """A time before the usual rate, with fewer sessions: a shop with some weeks behind it."""

    until_ms: int
    events_per_s: float


def generate_events(
    *,
    seed: int = 7,
    shoppers: int = 2000,
    items: int = 500,
    events: int | None = None,
    start_ms: int = 1_767_225_600_000,
    events_per_s: float = 50.0,
    disorder_ms: int = 5000,
    past: Past | None = None,
) -> Iterator[Event]:
    """Events in the order in which they arrive, without end unless `events` limits them.

    First comes an event that describes each item. Then sessions start at random moments, so many that
    `events_per_s` is the mean rate in event time, in the `past` that of the past. An event arrives
    (`received_ts`) up to `disorder_ms` after it happened, so that events are out of order. The activity
    of shoppers and the popularity of items follow Zipf's law with a flattened head.
    """
    goods = build_catalogue(items, seed)
    descriptions = (
        Event(f"item-{seed}-{item.item_id}", "item", start_ms, start_ms, CATALOGUE, items=(item,))
        for item in goods
    )
    yield from islice(descriptions, events)
    if events is None or events > items:
        traffic = _TrafficGenerator(
            seed, shoppers, goods, start_ms, events_per_s, disorder_ms, past or Past(0, 1.0)
        )
        yield from islice(traffic.arrivals(), None if events is None else events - items)


def encode_lines(
    events: Iterator[Event], *, seed: int = 7, repeated: float = 0.0, damaged: float = 0.0
) -> Iterator[bytes]:
    """Events as canonical JSON lines; a share of them is repeated, a share is cut off in the middle."""
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


def _cumulate(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.cumsum(weights / weights.sum())


def _zipf(n: int) -> NDArray[np.float64]:
    """Zipf-Mandelbrot's law. With plain Zipf the first shopper would be in the shop all the time."""
    return (np.arange(1, n + 1, dtype=np.float64) + n / 25) ** -1


class _TrafficGenerator:
    """Draws sessions a few hundred at a time, and merges their events by arrival."""

    def __init__(
        self,
        seed: int,
        shoppers: int,
        goods: Sequence[Item],
        start_ms: int,
        events_per_s: float,
        disorder_ms: int,
        past: Past,
    ) -> None:
        self.seed = seed
        self.rng = np.random.default_rng([seed, 1])
        self.goods = goods
        self.start_ms = start_ms
        self.disorder_ms = disorder_ms
        self.personas = [persona_of(shopper) for shopper in range(shoppers)]
        self.tiers = np.array([-1 if p.tier is None else p.tier for p in self.personas])
        self.views = np.array([p.views_mean for p in self.personas])
        account_probability = [p.account_probability for p in self.personas]
        self.has_account = self.rng.random(shoppers) < account_probability
        activity = np.array([p.activity for p in self.personas])
        self.active = _cumulate(activity * self.rng.permutation(_zipf(shoppers)))
        kinds = min(len(KINDS), len(goods))
        self.kinds = kinds
        self.favourites = self.rng.integers(0, kinds, (shoppers, 2))
        self.popular = _cumulate(_zipf(len(goods)))
        self.popular_of_kind = _cumulate(_zipf(max(1, len(goods) // kinds)))
        self.past_until_ms = past.until_ms
        session_events = self._events_per_session()
        self.session_interval_ms_mean = 1000 * session_events / events_per_s
        self.past_interval_ms_mean = 1000 * session_events / past.events_per_s

    def arrivals(self) -> Iterator[Event]:
        """Events by `received_ts`, without end."""
        pending: list[Event] = []
        begin_ms = float(self.start_ms)
        for first in count(0, SESSIONS_PER_DRAW):
            starts, begin_ms = self._session_starts(begin_ms)
            pending.extend(self._sessions(first, starts.astype(np.int64)))
            pending.sort(key=lambda event: event.received_ts)
            # No later session has an event that arrives before the session starts.
            ready = next((n for n, e in enumerate(pending) if e.received_ts > begin_ms), -1)
            if ready >= 0:
                yield from pending[:ready]
                del pending[:ready]

    def _session_starts(self, begin_ms: float) -> tuple[NDArray[np.float64], float]:
        """The starts of the next sessions, and the time until which no other session starts."""
        is_past = begin_ms < self.past_until_ms
        mean_ms = self.past_interval_ms_mean if is_past else self.session_interval_ms_mean
        starts = begin_ms + self.rng.exponential(mean_ms, SESSIONS_PER_DRAW).cumsum()
        if is_past and starts[-1] >= self.past_until_ms:
            return starts[starts < self.past_until_ms], float(self.past_until_ms)
        return starts, float(starts[-1])

    def _events_per_session(self) -> float:
        """The approximate mean over shoppers: the views, an entry event, and cart events."""
        weight = np.diff(self.active, prepend=0.0)
        cart_events = np.array(
            [p.cart_add_probability * (1 + p.cart_remove_probability) for p in self.personas]
        )
        return float(weight @ (1 + self.views * (1 + cart_events)))

    def _sessions(self, first: int, starts: Numbers) -> Iterator[Event]:
        rng = self.rng
        if not len(starts):
            return
        shopper = np.searchsorted(self.active, rng.random(len(starts)))
        views = np.minimum(rng.geometric(1 / self.views[shopper]), VIEWS_MAX)
        steps = int(views.max())
        items = self._browse(shopper, steps).tolist()
        step_ms = 1 + rng.exponential(STEP_MS_MEAN, (len(starts), 3 * steps + 4)).astype(np.int64)
        times = (starts[:, None] + step_ms.cumsum(axis=1)).tolist()
        delays = rng.integers(0, self.disorder_ms + 1, step_ms.shape).tolist()
        draws = rng.random((len(starts), 2 * steps + 4)).tolist()
        signed_in = (self.has_account[shopper] & (rng.random(len(starts)) < 0.5)).tolist()
        for n, row in enumerate(shopper.tolist()):
            yield from SessionGenerator(
                f"{self.seed}-{first + n}",
                self._visitor(row, signed_in[n]),
                self.goods,
                times[n],
                delays[n],
                draws[n],
            ).events(items[n][: views[n]])

    def _visitor(self, shopper: int, is_signed_in: bool) -> Visitor:
        account = f"shopper-{shopper:05d}" if self.has_account[shopper] else None
        return Visitor(self.personas[shopper], f"visitor-{shopper:05d}", account, is_signed_in)

    def _browse(self, shopper: Numbers, steps: int) -> Numbers:
        """The items of each session, int64[sessions, steps].

        Half of the steps go to an item related to the one before, most others to a favourite kind, the
        rest to what is popular in the whole shop.
        """
        rng, n = self.rng, len(shopper)
        items = np.empty((n, steps), np.int64)
        for step in range(steps):
            draw = rng.random(n)
            item = self._sample_item(shopper)
            is_popular = draw > 0.85
            item[is_popular] = np.searchsorted(self.popular, rng.random(int(is_popular.sum())))
            if step:
                is_related = draw < 0.5
                previous = items[is_related, step - 1]
                item[is_related] = self._related_item(previous, rng.random(int(is_related.sum())))
            items[:, step] = item
        return items

    def _sample_item(self, shopper: Numbers) -> Numbers:
        """An item of a favourite kind, in the tier of the shopper's persona."""
        n = len(shopper)
        kind = self.favourites[shopper, (self.rng.random(n) > 0.7).astype(np.int64)]
        number = np.searchsorted(self.popular_of_kind, self.rng.random(n))
        tier = self.tiers[shopper]
        tier_number = number - number % len(BRANDS) + tier
        is_in_tier = (tier >= 0) & (tier_number < len(self.popular_of_kind))
        sampled: Numbers = kind + self.kinds * np.where(is_in_tier, tier_number, number)
        return sampled

    def _related_item(self, item: Numbers, draw: NDArray[np.float64]) -> Numbers:
        """The next item of the same kind and tier, or the same number of the next kind."""
        number, kind = item // self.kinds, item % self.kinds
        sibling = np.where(draw < 0.6, item + self.kinds * len(BRANDS), -1)
        partner = number * self.kinds + (kind + 1) % self.kinds
        related = np.where(sibling >= 0, sibling, partner)
        return np.where(related < len(self.goods), related, kind)
