"""Is the blend at least as good as its best part in shops that are unlike those it was made on?

Click streams of made-up shops, each with what one learner is best at, click by click with the default
configuration, known shoppers, repeats allowed: HR@20 / MRR@20 of the blend, of each learner, and of
plain references. The blend may lose `MOST` at most against the best of its learners.

| shop | what happens |
|---|---|
| `grocery` | 400 shoppers with a dozen items of their own each, that they come back for |
| `flash_sale` | neighbours go together; for a fifth of the stream ten new items take most clicks |
| `tiny`, `tiny_grocery` | the first 500 clicks of the two |
| `playlists` | 400 fixed orders of 20 items: what comes next is certain, if one skips none |
| `crowd` | everybody looks at what is popular, which drifts by the hour |
| `news` | new items every two minutes, nobody looks at one twice |

`python -m benchmarks.other_shops [SHOP ...]`.
"""

from __future__ import annotations

import random
import sys
from itertools import islice
from typing import TYPE_CHECKING

from threadpoolctl import threadpool_limits

from operators.evaluation.clicks import SESSION_GAP_MS, RawClick, collect
from operators.evaluation.product import Product
from operators.evaluation.protocols import BLEND, Rules, prequential
from operators.evaluation.reference import Reference
from operators.recommend import Recommender
from state.times import HOUR_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

CLICKS, TINY = 15_000, 500
MOST = 0.003
AT_ONCE = 64
REFERENCES = ("popularity", "markov", "sr")
MINUTE_MS = 60_000

Figures = tuple[float, float]


class _Zipf:
    """Numbers below n, the lower the more often."""

    def __init__(self, draw: random.Random, n: int, power: float = 1.0) -> None:
        self._draw, self._n = draw, range(n)
        self._weights = [(1 + one) ** -power for one in self._n]

    def __call__(self) -> int:
        return self._draw.choices(self._n, self._weights)[0]


def grocery() -> Iterator[RawClick]:
    """Shoppers come back for what is theirs."""
    draw, at_ms = random.Random(1), 0
    popular, own = _Zipf(draw, 800), dict[int, list[int]]()
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
    popular = _Zipf(draw, 2000)
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
    popular = _Zipf(draw, len(orders))
    while True:
        who, order, place = draw.randrange(800), orders[popular()], draw.randrange(15)
        at_ms += MINUTE_MS
        for step, item in enumerate(order[place : place + draw.randint(2, 10)]):
            if draw.random() < 0.95:
                yield RawClick(f"s{who}", item, at_ms + step * 10_000)


def crowd() -> Iterator[RawClick]:
    """What is popular drifts by the hour."""
    draw, at_ms = random.Random(5), 0
    popular = _Zipf(draw, 300, 1.2)
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


SHOPS: Mapping[str, tuple[Callable[[], Iterator[RawClick]], int]] = {
    "grocery": (grocery, CLICKS),
    "flash_sale": (flash_sale, CLICKS),
    "tiny": (flash_sale, TINY),
    "tiny_grocery": (grocery, TINY),
    "playlists": (playlists, CLICKS),
    "crowd": (crowd, CLICKS),
    "news": (news, CLICKS),
}


def figures(name: str) -> dict[str, Figures]:
    """HR@20 and MRR@20 of the blend, each learner and the references."""
    shop, most = SHOPS[name]
    clicks = collect(sorted(islice(shop(), most), key=lambda click: click.at_ms))
    product = Product(Recommender(), clicks, batch=AT_ONCE)
    references = [Reference(one, clicks.scored_kind) for one in REFERENCES]
    rules = Rules(k=20, known=True, session_gap_ms=SESSION_GAP_MS, at_once=AT_ONCE)
    outcome = prequential(clicks, [product, *references], rules)
    return {
        one: (float(outcome.hits(one).mean()), float(outcome.reciprocal(one).mean()))
        for one in outcome.ranks
    }


def lost(found: Mapping[str, Figures]) -> Figures:
    """What the blend loses against the best of its learners, by either metric."""
    parts = [pair for name, pair in found.items() if name not in (BLEND, *REFERENCES)]
    hr, mrr = (max(pair[at] for pair in parts) - found[BLEND][at] for at in (0, 1))
    return hr, mrr


def main() -> None:
    """Print the figures."""
    for name in sys.argv[1:] or SHOPS:
        found = figures(name)
        verdict = f"  LOSES MORE THAN {MOST}" if max(lost(found)) > MOST else ""
        print(name, *(f"{one} {hr:.3f}/{mrr:.3f}" for one, (hr, mrr) in found.items()), verdict)


if __name__ == "__main__":
    with threadpool_limits(1):  # as the flow runs
        main()
