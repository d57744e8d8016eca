"""Feedback against an item: the blend weighs it, and learns its weight."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import orjson

from operators.recommend.feedback_events import CLICK, IMPRESSION, NEGATIVE, FeedbackEvents
from state import keys
from state.events import Item, Reco
from tests.operators.personalize.test_step import batches
from tests.operators.recommend.rules.test_rules import DAY_MS, shop_of
from tests.personalization import Personalization
from tests.streams import arguments, event, flow_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from state.events import Event
    from tests.operators.recommend.rules.test_rules import Shop


def observe(shop: Shop, kind: int, *pairs: tuple[str, str]) -> None:
    """Feedback of known shoppers on items in the first position of a list."""
    n, recommender = len(pairs), shop.recommender
    shop.at_ms += n
    recommender.observe_feedback(
        FeedbackEvents(
            recommender.shoppers.get_or_add_many([who for who, _ in pairs]),
            recommender.items.get_or_add_many([item for _, item in pairs]),
            np.full(n, kind, np.int8),
            shop.at_ms - n + np.arange(n, dtype=np.int64),
            np.zeros(n, np.int32),
        )
    )


def place(shop: Shop, item: str, who: str = "ann") -> int:
    listed = shop.list_of(who)
    return listed.index(item) if item in listed else len(listed)


def test_an_item_put_back_comes_later_for_that_shopper_until_they_view_it() -> None:
    shop = shop_of()
    observe(shop, NEGATIVE, ("ann", "i0"))
    assert place(shop, "i0") > 0
    assert place(shop, "i0", "bob") == 0
    shop.at_ms += 60 * DAY_MS
    assert place(shop, "i0") == 0
    observe(shop, NEGATIVE, ("ann", "i0"))
    before = place(shop, "i0")
    shop.at_ms += 1000
    shop.click(("ann", "i0"))
    assert place(shop, "i0") < before


def test_a_returned_item_counts_as_not_bought() -> None:
    shop = shop_of()
    shop.click(("ann", "i0"), kind=2)
    assert "i0" not in shop.list_of("ann")
    observe(shop, NEGATIVE, ("ann", "i0"))
    assert "i0" in shop.list_of("ann")


def test_an_item_shown_often_comes_later_for_that_shopper() -> None:
    shop = shop_of()
    observe(shop, IMPRESSION, *[("ann", "i0")] * 30, *[("ann", "i1")] * 30)
    observe(shop, CLICK, ("ann", "i1"))
    assert place(shop, "i0") > place(shop, "i1") == 0


def test_an_item_that_nobody_clicks_comes_later_for_everybody() -> None:
    shop = shop_of()
    for n in range(40):
        observe(shop, IMPRESSION, (f"w{n}", "i0"), (f"w{n}", "i1"), (f"w{n}", "i2"))
        observe(shop, CLICK, (f"w{n}", "i1"))
        shop.click((f"w{n}", "i2"))
    assert place(shop, "i0", "stranger") > place(shop, "i1", "stranger")


def test_the_weight_of_feedback_is_learned_from_the_next_clicks() -> None:
    """In this shop everybody comes back to what they put back."""
    shop = shop_of()
    weights = shop.recommender.components.blend.model.feedback_weights
    before = float(weights[0])
    for n in range(300):
        who, item = f"w{n}", f"i{n % 5}"
        shop.click((who, item))
        observe(shop, NEGATIVE, (who, item))
        shop.click((who, item))
    assert shop.recommender.components.blend.model.feedback_weights[0] > before


def test_without_feedback_its_weights_do_not_change() -> None:
    shop = shop_of()
    before = shop.recommender.components.blend.model.feedback_weights.copy()
    shop.click(*((f"w{n}", f"i{n * n % 10}") for n in range(500)))
    assert np.array_equal(shop.recommender.components.blend.model.feedback_weights, before)
    assert shop.recommender.components.negative_feedback.is_empty


VIEWS = 36


def lists_after(stream: Sequence[Event], who: str, *, resume: bool = False) -> list[str]:
    learning, listed = Personalization(flow_settings()), []
    for parts in batches([stream[:VIEWS], stream[VIEWS:-1], stream[-1:]]):
        for output in learning.process_batch(parts):
            for write in map(arguments, output.writes):
                if write[:2] == ("SET", keys.top_key(who, keys.SLOT)):
                    listed = [entry[0] for entry in orjson.loads(str(write[2]))["items"]]
        if resume:
            learning = Personalization(flow_settings(), learning.snapshot())
    return listed


def test_feedback_of_events_changes_lists_also_after_a_resume() -> None:
    views = [
        event("item_view", f"v{n}{i}", n, f"v{n}", items=(Item(f"i{i}"),))
        for n in range(8)
        for i in range(8 - n)
    ]
    own = [
        event("page_view", "hello", 20, "ann"),
        event("cart_remove", "put back", 21, "ann", items=(Item("i0"),)),
        event("reco_view", "shown", 22, "ann", items=(Item("i1"),), reco=Reco(position=1)),
        event("page_view", "there", 23, "ann"),
    ]
    plain = lists_after([*views, own[0], own[-1]], "ann")
    with_feedback = lists_after([*views, *own], "ann")
    assert plain[0] == "i0" != with_feedback[0]
    assert set(with_feedback) == set(plain)
    assert lists_after([*views, *own], "ann", resume=True) == with_feedback
