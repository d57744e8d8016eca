"""What do the rules of a list cost, and what each of them?

The canonical workload in batches of 4096, categories, brands and prices made up for its items: the mean
processor time of the last batches, in microseconds an event, beyond that of mixing the learners' lists.
`python -m benchmarks.list_rules [CASE ...]`.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from itertools import islice
from typing import TYPE_CHECKING

import msgspec
from threadpoolctl import threadpool_limits

from benchmarks.recommend import canonical
from operators.recommend.standalone import StandaloneRecommender
from state import config_lists
from state.interactions import EventColumns, ItemCard

if TYPE_CHECKING:
    from collections.abc import Callable

BATCHES, MEASURED = 40, 12
EVERYTHING = config_lists.ListRules(
    own_brand=config_lists.OwnBrand(brands=("b0",)),
    diversity=config_lists.Diversity(weight=0.1),
    category_cap=config_lists.CategoryCap(most=3),
)
ON = config_lists.ListRules()
NOTHING = config_lists.ListRules(
    already_bought=config_lists.AlreadyBought(enabled=False),
    out_of_stock=config_lists.OutOfStock(enabled=False),
)
CASES = {
    "none": config_lists.Lists(rules=NOTHING),
    "by default": config_lists.Lists(),
    "by default, items sold out": config_lists.Lists(),
    "own_brand too": config_lists.Lists(
        rules=msgspec.structs.replace(ON, own_brand=EVERYTHING.own_brand)
    ),
    "diversity too": config_lists.Lists(
        rules=msgspec.structs.replace(ON, diversity=EVERYTHING.diversity)
    ),
    "category_cap too": config_lists.Lists(
        rules=msgspec.structs.replace(ON, category_cap=EVERYTHING.category_cap)
    ),
    "all": config_lists.Lists(rules=EVERYTHING),
    "exploration of every 20th list": config_lists.Lists(
        exploration=config_lists.Exploration(share=0.05)
    ),
}


def main() -> None:
    """Print the figures."""
    batches = list(islice(canonical(), BATCHES))
    for name in sys.argv[1:] or CASES:
        lists = CASES[name]
        spent = cost_us(batches, lists, sells_out="sold out" in name)
        print(name, *(f"{what}={us:.2f}" for what, us in spent.items()), flush=True)


def cost_us(
    batches: list[EventColumns], lists: config_lists.Lists, *, sells_out: bool
) -> dict[str, float]:
    """Microseconds an event by part."""
    recommender, spent_s = StandaloneRecommender.from_config(lists), defaultdict[str, float](float)
    cards: dict[str, ItemCard] = {}
    _time(recommender.components.blend, "blend", spent_s)
    _time(recommender, "assemble", spent_s)
    _time(recommender.components.rules, "learn", spent_s)
    _time(recommender.components.negative_feedback, "learn", spent_s, "feedback")
    _time(recommender.components.published_index, "store", spent_s, "written")
    events = 0
    for number, batch in enumerate(batches):
        if number == BATCHES - MEASURED:
            spent_s.clear()
            events = 0
        new = [item for item in dict.fromkeys(batch.items) if item not in cards]
        for item in new:
            n = len(cards)
            is_gone = False if sells_out and n % 100 == 0 else None
            cards[item] = ItemCard(
                1, item, (f"c{n % 50}",), f"b{n % 20}", 1.0 + n % 90, "", is_gone
            )
        batch.cards, batch.changed_items = cards, new
        recommender.learn(batch)
        recommender.recommend(list(dict.fromkeys(batch.shoppers)), max(batch.at_ms))
        events += len(batch.items)
    us = {name: 1e6 * s / events for name, s in spent_s.items()}
    us["rules"] = us.pop("assemble") - us["blend"]
    return us


def _time(owner: object, method: str, spent_s: dict[str, float], name: str = "") -> None:
    """Count the processor time spent in a method of an object."""
    timed: Callable[..., object] = getattr(owner, method)

    def measured(*args: object) -> object:
        began_s = time.process_time()
        try:
            return timed(*args)
        finally:
            spent_s[name or method] += time.process_time() - began_s

    setattr(owner, method, measured)


if __name__ == "__main__":
    with threadpool_limits(1):  # as the flow runs
        main()
