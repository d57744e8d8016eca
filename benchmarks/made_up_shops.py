"""Click streams of made-up shops, without end, each with what one learner is best at.

Seeded: a shop is the same at each call. `benchmarks.other_shops` says what for.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from operators.evaluation.clicks import RawClick
from state.interactions import CART, PURCHASE
from state.times import HOUR_MS, MINUTE_MS

if TYPE_CHECKING:
    from collections.abc import Iterator

CLICKS = 15_000
"""So many of a stream are looked at."""


class Zipf:
    """Numbers below n, the lower the more often."""

    def __init__(self, draw: random.Random, n: int, power: float = 1.0) -> None:
        self._draw, self._n = draw, range(n)
        self._weights = [(1 + one) ** -power for one in self._n]

    def __call__(self) -> int:
        """The next one."""
        return self._draw.choices(self._n, self._weights)[0]


def grocery() -> Iterator[RawClick]:
    """Shoppers come back for what is theirs."""
    draw, at_ms = random.Random(1), 0
    popular, own = Zipf(draw, 800), dict[int, list[int]]()
    while True:
        who = int(draw.random() ** 2 * 400)
        basket = own.setdefault(who, [popular() for _ in range(12)])
        at_ms += MINUTE_MS + int(draw.expovariate(1 / (5 * MINUTE_MS)))
        for step in range(draw.randint(3, 9)):
            item = draw.choice(basket) if draw.random() < 0.8 else popular()
            if draw.random() < 0.05:
                basket[draw.randrange(len(basket))] = item
            yield RawClick(f"s{who}", f"i{item}", at_ms + step * 20_000)


def flash_sale() -> Iterator[RawClick]:
    """Ten new items take most clicks for a while."""
    draw, at_ms, clicks = random.Random(2), 0, 0
    popular = Zipf(draw, 2000)
    while True:
        who, base = draw.randrange(5000), popular()
        at_ms += int(draw.expovariate(1 / 20_000))
        for step in range(1 + int(draw.expovariate(1 / 3))):
            clicks += 1
            is_on = 0.4 * CLICKS < clicks < 0.6 * CLICKS
            if is_on and draw.random() < 0.6:
                item = f"sale{min(draw.randrange(10), draw.randrange(10))}"
            elif draw.random() < 0.8:
                item = f"i{(base + draw.randrange(8)) % 2000}"
            else:
                item = f"i{popular()}"
            yield RawClick(f"s{who}", item, at_ms + step * 30_000)


def playlists() -> Iterator[RawClick]:
    """Fixed orders, from some place on."""
    draw, at_ms = random.Random(4), 0
    orders = [[f"i{draw.randrange(3000)}" for _ in range(20)] for _ in range(400)]
    popular = Zipf(draw, len(orders))
    while True:
        who, order, place = draw.randrange(800), orders[popular()], draw.randrange(15)
        at_ms += MINUTE_MS
        for step, item in enumerate(order[place : place + draw.randint(2, 10)]):
            if draw.random() < 0.95:
                yield RawClick(f"s{who}", item, at_ms + step * 10_000)


def crowd() -> Iterator[RawClick]:
    """What is popular drifts by the hour."""
    draw, at_ms = random.Random(5), 0
    popular = Zipf(draw, 300, 1.2)
    while True:
        at_ms += 3000
        item = (popular() + at_ms // HOUR_MS * 7) % 300
        yield RawClick(f"s{draw.randrange(3000)}", f"i{item}", at_ms)


def news() -> Iterator[RawClick]:
    """New items all the time, each looked at once by whom it concerns."""
    draw, at_ms, had = random.Random(6), 0, set[tuple[int, int]]()
    while True:
        at_ms += 5000
        who = draw.randrange(2000)
        item = max(0, at_ms // (2 * MINUTE_MS) - int(draw.expovariate(1 / 15)))
        if (who, item) not in had:
            had.add((who, item))
            yield RawClick(f"s{who}", f"i{item}", at_ms)


def retail() -> Iterator[RawClick]:
    """Most visitors look once; some come back after days, and put things into the cart and buy them."""
    draw, at_ms, visitors = random.Random(7), 0, list[tuple[int, int]]()
    kind, place = Zipf(draw, 60), Zipf(draw, 50, 0.8)
    while True:
        at_ms += int(draw.expovariate(1 / (2 * MINUTE_MS)))
        if visitors and draw.random() < 0.4:
            who, what = draw.choice(visitors)
        else:
            who, what = len(visitors), kind()
            visitors.append((who, what))
        for step in range(1 + int(draw.expovariate(1 / 2))):
            what = kind() if draw.random() < 0.1 else what
            click = RawClick(f"s{who}", f"i{what}-{place()}", at_ms + step * 40_000)
            yield click
            if draw.random() < 0.08:
                yield click._replace(at_ms=click.at_ms + 10_000, kind=CART, weight=3.0)
                if draw.random() < 0.3:
                    yield click._replace(at_ms=click.at_ms + 20_000, kind=PURCHASE, weight=5.0)


def anonymous() -> Iterator[RawClick]:
    """Nobody is known longer than a few clicks, and half of what they look for is new this week."""
    draw, at_ms, sessions = random.Random(8), 0, 0
    kind = Zipf(draw, 80, 0.7)
    while True:
        at_ms += int(draw.expovariate(1 / (2 * MINUTE_MS)))
        sessions += 1
        what, newest = kind(), at_ms // HOUR_MS
        for step in range(draw.randint(2, 6)):
            item = max(0, newest - int(draw.expovariate(1 / 12)))
            yield RawClick(f"s{sessions}", f"i{what}-{item}", at_ms + step * 30_000)


def radio() -> Iterator[RawClick]:
    """Long sessions: on with the artist, a track of before, or one of one's own artists."""
    draw, at_ms = random.Random(9), 0
    popular, track = Zipf(draw, 400), Zipf(draw, 10, 0.6)
    own, played = dict[int, list[int]](), dict[int, list[str]]()
    while True:
        who = draw.randrange(300)
        artists = own.setdefault(who, [popular() for _ in range(8)])
        before = played.setdefault(who, [])
        at_ms += 20 * MINUTE_MS
        artist = draw.choice(artists)
        for step in range(draw.randint(10, 50)):
            chance = draw.random()
            if chance < 0.3 and before:
                item = draw.choice(before[-20:])
            else:
                artist = artist if chance < 0.7 else draw.choice([*artists, popular()])
                item = f"i{artist}-{track()}"
            before.append(item)
            yield RawClick(f"s{who}", item, at_ms + step * 3 * MINUTE_MS)


def newspaper() -> Iterator[RawClick]:
    """Readers come once a day for what is new that day, most of it from one or two sections."""
    draw, at_ms = random.Random(10), 0
    section, place = Zipf(draw, 6, 0.5), Zipf(draw, 12)
    likes = [(section(), section()) for _ in range(2500)]
    while True:
        at_ms += int(draw.expovariate(1 / 45_000))
        who = draw.randrange(len(likes))
        read = set[str]()
        for step in range(1 + int(draw.expovariate(1 / 3))):
            of = draw.choice(likes[who]) if draw.random() < 0.8 else section()
            item = f"i{at_ms // (24 * HOUR_MS)}-{of}-{place()}"
            if item not in read:
                read.add(item)
                yield RawClick(f"s{who}", item, at_ms + step * 60_000)


def corner() -> Iterator[RawClick]:
    """50 items in all: a list of 20 holds half the shop."""
    draw, at_ms = random.Random(11), 0
    popular = Zipf(draw, 50, 0.6)
    while True:
        at_ms += int(draw.expovariate(1 / (3 * MINUTE_MS)))
        who, item = draw.randrange(400), popular()
        for step in range(draw.randint(1, 8)):
            yield RawClick(f"s{who}", f"i{item}", at_ms + step * 30_000)
            chance = draw.random()
            item = (item * 7 + draw.randrange(5)) % 50 if chance < 0.6 else popular()


def orders() -> Iterator[RawClick]:
    """The log has only purchases: baskets of what is needed each week, and what goes with it."""
    draw, at_ms = random.Random(12), 0
    popular, own = Zipf(draw, 600), dict[int, list[int]]()
    while True:
        at_ms += int(draw.expovariate(1 / (4 * MINUTE_MS)))
        who = draw.randrange(500)
        needs = own.setdefault(who, [popular() for _ in range(10)])
        for item in dict.fromkeys(
            draw.choice(needs) if draw.random() < 0.6 else popular()
            for _ in range(draw.randint(1, 7))
        ):
            goes = [item, item + 600] if draw.random() < 0.3 else [item]
            for one in goes:
                yield RawClick(f"s{who}", f"i{one}", at_ms, kind=PURCHASE)


def comparison() -> Iterator[RawClick]:
    """Long sessions of strangers: back and forth between what they compare, on to the next of a kind."""
    draw, at_ms, sessions = random.Random(13), 0, 0
    kind, place = Zipf(draw, 100, 0.8), Zipf(draw, 80, 0.6)
    while True:
        at_ms += int(draw.expovariate(1 / (4 * MINUTE_MS)))
        sessions += 1
        what, before = kind(), list[str]()
        for step in range(draw.randint(10, 40)):
            # One of all clicks so far: what was looked at twice is looked at a third time sooner.
            if before and draw.random() < 0.38:
                item = draw.choice(before)
            else:
                what = kind() if draw.random() < 0.1 else what
                item = f"i{what}-{place()}"
            before.append(item)
            yield RawClick(f"s{sessions}", item, at_ms + step * 30_000)
