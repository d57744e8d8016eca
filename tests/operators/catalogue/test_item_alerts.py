"""Item alerts: shoppers who viewed an item get its alerts; other triggers are shipped rules."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from flows.recovery.orphaned_changes import ChangeStreamReader
from operators.catalogue.recent_views import RecentViews
from operators.personalize.step import PersonalizeStep
from operators.segments.changes import changes_in
from state.config import Triggers
from state.events import Consent, Item
from state.store import Store
from tests.operators.personalize.test_step import batches
from tests.operators.segments.rules.test_rules_in_shards import passing, run, told, transitions
from tests.streams import MINUTE_MS, START_MS, event, flow_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.segments.changes import OrphanedChangesReader
    from state.events import Event

DAY = 24 * 60
SHIPPED = (Path(__file__).parents[3] / "segments.yaml").read_text()


def look(at_min: int, who: str, item: str = "mug", kind: Any = "item_view", **more: Any) -> Event:
    items = (Item(item),)
    if kind == "purchase":
        more = {"order_id": f"{who} {at_min}", **more}
    return event(
        kind, f"{kind} {who} {item} {at_min}", at_min * MINUTE_MS, who, items=items, **more
    )


def says(at_min: int, item: str = "mug", **said: Any) -> Event:
    """An event of the catalogue about an item."""
    items = (Item(item, **said),)
    return event("item", f"{item} {at_min} {said}", at_min * MINUTE_MS, "catalogue", items=items)


def triggers_of(
    cuts: Sequence[Sequence[Event]],
    *,
    before: OrphanedChangesReader | None = None,
    resume: bool = False,
    **how: Any,
) -> list[tuple[str, str, str, int]]:
    """Trigger, shopper, item, minute."""
    settings = flow_settings(triggers=Triggers(**how))
    learning = PersonalizeStep(settings, orphaned_changes=before)
    found = []
    for parts in batches([*cuts, []]):
        for output in learning.process_batch(parts):
            found += [
                (one["segment"], one["shopper"], one["item"], _minute(one["event_ts"]))
                for one in changes_in(output.writes)
                if one["kind"] == "trigger"
            ]
        if resume:
            learning = PersonalizeStep(settings, learning.snapshot())
    return found  # type: ignore[return-value]


def _at(minute: int) -> int:
    return START_MS + minute * MINUTE_MS


def _minute(at_ms: str | int) -> int:
    return (int(at_ms) - START_MS) // MINUTE_MS


@pytest.mark.parametrize("resume", [False, True])
def test_back_in_stock_is_published_once_for_shoppers_who_viewed_the_item(resume: bool) -> None:
    stream = [
        [says(0, price=10.0, available=True)],
        [look(1, "ann"), look(2, "ann"), look(3, "bob"), look(3, "eve", "cup")],
        [says(4, available=False), look(5, "cleo"), look(6, "ann")],
        [says(7, available=True), says(8, available=True), look(9, "dan")],
    ]
    assert triggers_of(stream, resume=resume) == [
        ("back-in-stock", who, "mug", 7) for who in ("ann", "cleo", "bob")
    ]


def test_a_price_drop_is_published_and_a_rise_or_a_small_drop_is_not() -> None:
    prices = [10.0, 9.6, 8.0, 12.0, 11.9, 6.0]
    stream = [[says(0, price=prices[0]), look(1, "ann")]]
    stream += [[says(2 + n, price=price)] for n, price in enumerate(prices[1:])]
    assert triggers_of(stream) == [
        ("price-drop", "ann", "mug", 3),
        ("price-drop", "ann", "mug", 6),
    ]


def test_a_price_in_another_currency_or_of_a_sold_out_item_is_no_drop() -> None:
    def in_currency(at_min: int, price: float, currency: str) -> Event:
        items = (Item("mug", price=price),)
        return event("item", f"m {at_min}", at_min * MINUTE_MS, "c", items=items, currency=currency)

    stream = [[in_currency(0, 1000.0, "JPY"), look(1, "ann")], [in_currency(2, 6.0, "EUR")]]
    assert triggers_of(stream) == []
    gone = [[says(0, price=9.0), look(1, "ann")], [says(2, price=5.0, available=False)]]
    assert triggers_of(gone) == []


def test_shoppers_who_bought_viewed_long_ago_or_were_erased_get_no_alert() -> None:
    stream = [
        [says(0, available=False), look(1, "ann"), look(2, "bob"), look(3, "old")],
        [look(4, "ann", kind="purchase"), event("erase", "e", 5 * MINUTE_MS, "bob")],
        [look(20 * DAY, "eve"), says(25 * DAY, available=True)],
    ]
    assert triggers_of(stream, days=10) == [("back-in-stock", "eve", "mug", 25 * DAY)]
    assert {who for _, who, *_ in triggers_of(stream)} == {"eve", "old"}


def test_a_shopper_who_signed_in_gets_the_alert_as_a_user() -> None:
    stream = [
        [says(0, available=False), look(1, "device")],
        [event("identify", "i", 2 * MINUTE_MS, "device", "ann")],
        [says(3, available=True)],
    ]
    assert triggers_of(stream) == [("back-in-stock", "ann", "mug", 3)]


def test_only_the_most_recent_viewers_get_an_alert_and_none_where_no_views_are_kept() -> None:
    stream = [
        [says(0, available=False), *(look(n, f"shopper {n}") for n in range(1, 9))],
        [says(10, available=True)],
    ]
    newest = [("back-in-stock", f"shopper {n}", "mug", 10) for n in (8, 7, 6)]
    assert triggers_of(stream, shoppers_max=3) == newest
    assert triggers_of(stream, views_max=3) == newest
    assert triggers_of(stream, views_max=0) == []


def test_a_run_after_a_crash_publishes_no_alert_again(redis_url: str) -> None:
    stream = [[says(0, available=False), look(1, "ann"), look(1, "bob")], [says(2, available=True)]]
    store = Store(redis_url, timeout_ms=2000, patience_s=2)
    learning = PersonalizeStep(flow_settings())
    for parts in batches([*stream, []]):
        for output in learning.process_batch(parts):
            store.send(output.writes)
    store.flush()
    assert triggers_of(stream, before=ChangeStreamReader(store)) == []
    assert len(triggers_of([*stream, [says(3, available=False), says(4, available=True)]],
                           before=ChangeStreamReader(store))) == 2  # fmt: skip


def lookers(views: RecentViews) -> list[int]:
    found: list[int] = views.lookup(np.array([0], np.int32)).viewers_of(0, 0, 100, 9).tolist()
    return found


def test_views_do_not_belong_to_the_next_owner_of_a_row() -> None:
    views = RecentViews(10)
    row, item = np.array([0], np.int32), np.array([0], np.int32)
    no = np.array([False])
    views.add(row, item, np.array([5]), no)
    views.release("shopper", row, 7)
    assert lookers(views) == []
    views.add(row, item, np.array([8]), no)
    assert lookers(views) == [0]
    views.release("item", item, 9)
    assert lookers(views) == []


def test_a_ring_continues_with_a_larger_or_smaller_limit() -> None:
    def add(views: RecentViews, who: int) -> None:
        views.add(
            np.array([who], np.int32),
            np.array([0], np.int32),
            np.array([who + 1]),
            np.array([False]),
        )

    views = RecentViews(3)
    for who in range(4):
        add(views, who)
    for most, kept in ((3, [4, 3, 2]), (2, [4, 3, 2]), (4, [4, 3, 2, 1])):
        again = RecentViews(most)
        again.restore(views.arrays())
        add(again, 4)
        assert lookers(again) == kept


def test_a_shipped_rule_detects_a_cart_abandoned_for_half_an_hour() -> None:
    stream = [look(0, "ann", kind="cart_add"), passing(31), look(40, "ann", kind="purchase")]
    found = [one for one in told(stream, SHIPPED) if one.endswith("cart-left")]
    assert found == [f"{30 * MINUTE_MS} +cart-left", f"{40 * MINUTE_MS} -cart-left"]


def test_a_shipped_rule_detects_three_views_without_a_cart() -> None:
    stream = [look(n, "ann") for n in (1, 2, 3)] + [look(9, "ann", kind="cart_add")]
    found = [one for one in told(stream, SHIPPED) if one.endswith("viewed-thrice")]
    assert found == [f"{3 * MINUTE_MS} +viewed-thrice", f"{9 * MINUTE_MS} -viewed-thrice"]


def test_a_shipped_rule_detects_a_good_customer_who_stays_away() -> None:
    names = [f"shopper {n}" for n in range(40)]
    bought = [look(n, who, kind="purchase") for n in (0, DAY) for who in names]
    back = [look(70 * DAY, who, kind="purchase") for who in names]
    moves = transitions(run([*bought, passing(65 * DAY), *back], SHIPPED))
    due = ((True, _at(61 * DAY)), (False, _at(70 * DAY)))
    published = {
        tuple((entered, at_ms) for _, sid, entered, at_ms in moves[who] if sid == "win-back")
        for who in names
    }
    assert published == {due, ()}  # one in ten is in the holdout group
    refused = [look(n, "shopper 0", kind="purchase", consent=Consent(ads=False)) for n in (0, DAY)]
    assert not any(
        "win-back" in one for one in told([*refused, passing(65 * DAY)], SHIPPED, "shopper 0")
    )
