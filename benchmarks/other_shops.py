"""Is the blend at least as good as its best part in shops that are unlike those it was made on?

Made-up shops (`benchmarks.made_up_shops`), click by click with the default configuration, known
shoppers, repeats allowed: HR@20 / MRR@20 of the blend, of each learner, and of plain references. The
blend may lose `MOST` at most against the best of its learners, or what chance alone may have lost it:
twice the standard error of the difference, case by case.

| shop | what happens |
|---|---|
| `grocery` | 400 shoppers with a dozen items of their own each, that they come back for |
| `flash_sale` | neighbours go together; for a fifth of the stream ten new items take most clicks |
| `tiny`, `tiny_grocery` | the first 500 clicks of the two |
| `playlists` | 400 fixed orders of 20 items: what comes next is certain, if one skips none |
| `crowd` | everybody looks at what is popular, which drifts by the hour |
| `news` | new items every two minutes, nobody looks at one twice |
| `retail` | most visitors look once, some come back after days; views, carts and orders |
| `anonymous` | short sessions of shoppers never seen again, many new items |
| `radio` | sessions of 10 to 50 plays, on with the artist or a track of before |
| `newspaper` | items of one day, readers who come once in it |
| `corner` | 50 items in all |
| `orders` | baskets, and nothing but purchases |
| `comparison` | sessions of 10 to 40 clicks of strangers, 45 % of them on an item of the session |

`python -m benchmarks.other_shops [SHOP ...]`.
"""

from __future__ import annotations

import sys
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import made_up_shops as shops
from benchmarks.made_up_shops import CLICKS
from operators.evaluation.baselines import BaselineCompetitor
from operators.evaluation.clicks import collect
from operators.evaluation.competitors import BLEND, ProtocolOptions
from operators.evaluation.prequential import prequential
from operators.evaluation.product_recommender import ProductRecommender
from operators.evaluation.sessions import SESSION_GAP_MS
from operators.recommend.standalone import StandaloneRecommender

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from operators.evaluation.clicks import RawClick
    from operators.evaluation.results import EvaluationResult

TINY = 500
MOST = 0.003
AT_ONCE = 64
REFERENCES = ("popularity", "markov", "sr", "session-popularity")

SHOPS: Mapping[str, tuple[Callable[[], Iterator[RawClick]], int]] = {
    "grocery": (shops.grocery, CLICKS),
    "flash_sale": (shops.flash_sale, CLICKS),
    "tiny": (shops.flash_sale, TINY),
    "tiny_grocery": (shops.grocery, TINY),
    "playlists": (shops.playlists, CLICKS),
    "crowd": (shops.crowd, CLICKS),
    "news": (shops.news, CLICKS),
    "retail": (shops.retail, CLICKS),
    "anonymous": (shops.anonymous, CLICKS),
    "radio": (shops.radio, CLICKS),
    "newspaper": (shops.newspaper, CLICKS),
    "corner": (shops.corner, CLICKS),
    "orders": (shops.orders, CLICKS),
    "comparison": (shops.comparison, CLICKS),
}


class Gain(NamedTuple):
    """What the blend has more than its best learner, and the standard error of that."""

    mean: float
    error: float
    best: str

    @property
    def is_loss(self) -> bool:
        """Whether it is less than is asked for, and not by chance."""
        return self.mean < -MOST and self.mean < -2 * self.error


def outcome(name: str) -> EvaluationResult:
    """The cases of a shop: the blend, each learner and the references."""
    shop, most = SHOPS[name]
    clicks = collect(sorted(islice(shop(), most), key=lambda click: click.at_ms))
    product = ProductRecommender(StandaloneRecommender(), clicks, batch=AT_ONCE)
    references = [BaselineCompetitor(one, clicks.scored_kind) for one in REFERENCES]
    rules = ProtocolOptions(k=20, known=True, session_gap_ms=SESSION_GAP_MS, lists_at_once=AT_ONCE)
    return prequential(clicks, [product, *references], rules)


def gains(found: EvaluationResult) -> tuple[Gain, Gain]:
    """By HR@20 and by MRR@20."""
    parts = [name for name in found.ranks if name not in (BLEND, *REFERENCES)]
    gains = []
    for of in (found.hits, found.reciprocal):
        best = max(parts, key=lambda name: of(name).mean())
        more = of(BLEND) - of(best)
        gains.append(Gain(float(more.mean()), float(more.std() / np.sqrt(len(more))), best))
    return gains[0], gains[1]


def main() -> None:
    """Print the figures."""
    for name in sys.argv[1:] or SHOPS:
        found = outcome(name)
        print(
            f"{name}, {len(found):,} cases:",
            *(
                f"{one} {found.hits(one).mean():.3f}/{found.reciprocal(one).mean():.3f}"
                for one in found.ranks
            ),
        )
        for metric, gain in zip(("hr@20", "mrr@20"), gains(found), strict=True):
            verdict = f"  LOSES MORE THAN {MOST}" if gain.is_loss else ""
            print(f"  {metric} {gain.mean:+.4f} ± {gain.error:.4f} to {gain.best}{verdict}")
        sys.stdout.flush()


if __name__ == "__main__":
    with threadpool_limits(1):  # as the flow runs
        main()
