"""Item alerts: shoppers who viewed an item get its alerts; other triggers are shipped rules."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from flows.recovery.orphaned_changes import ChangeStreamReader
from operators.catalogue.item_alerts import triggered_changes
from operators.catalogue.item_cards import CatalogueEvent
from operators.catalogue.recent_views import RecentViews
from operators.segments.changes import changes_in
from state.changes import Change
from state.config import Triggers
from state.events import Consent, Item
from state.interactions import RowIndex
from state.store import Store
from tests.operators.personalize.test_step import batches
from tests.operators.segments.rules.test_rules_in_shards import (
    changes_of,
    passing,
    run,
    transitions,
)
from tests.personalization import Personalization
from tests.streams import MINUTE_MS, START_MS, event, flow_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.segments.changes import OrphanedChangesReader
    from state.events import Event

DAY = 24 * 60
SHIPPED = (Path(__file__).parents[3] / "segments.yaml").read_text()


def view(
    at_min: int, shopper: str, item: str = "mug", kind: Any = "item_view", **more: Any
) -> Event:
    items = (Item(item),)
    if kind == "purchase":
        more = {"order_id": f"{shopper} {at_min}", **more}
    return event(
        kind, f"{kind} {shopper} {item} {at_min}", at_min * MINUTE_MS, shopper, items=items, **more
    )


def item_event(at_min: int, item: str = "mug", **fields: Any) -> Event:
    """An event of the catalogue about an item."""
    items = (Item(item, **fields),)
    return event("item", f"{item} {at_min} {fields}", at_min * MINUTE_MS, "catalogue", items=items)


def alerts_of(
    stream: Sequence[Sequence[Event]],
    *,
    orphaned_changes: OrphanedChangesReader | None = None,
    resume: bool = False,
    **config: Any,
) -> list[tuple[str, str, str, int]]:
    """The published alerts: trigger, shopper, item, minute."""
    settings = flow_settings(triggers=Triggers(**config))
    learning = Personalization(settings, orphaned_changes=orphaned_changes)
    alerts = []
    for parts in batches([*stream, []]):
        for output in learning.process_batch(parts):
            alerts += [
                (one["segment"], one["shopper"], one["item"], _minute(one["event_ts"]))
                for one in changes_in(output.writes)
                if one["kind"] == "trigger"
            ]
        if resume:
            learning = Personalization(settings, learning.snapshot())
    return alerts  # type: ignore[return-value]


def _at(minute: int) -> int:
    return START_MS + minute * MINUTE_MS


def _minute(at_ms: str | int) -> int:
    return (int(at_ms) - START_MS) // MINUTE_MS


def test_an_event_is_a_change_for_each_shopper_who_viewed_the_item_before_it() -> None:
    items, shoppers, views = (
        RowIndex(["mug", "cup"]),
        RowIndex(["ann", "bob", "cleo"]),
        RecentViews(9),
    )
    views.add(
        np.array([0, 1, 2, 0], np.int32),
        np.array([0, 0, 1, 1], np.int32),
        np.array([1, 2, 3, 4]),
        np.array([False, False, False, True]),
    )
    events = [
        CatalogueEvent("price-drop", "cup", 9),
        CatalogueEvent("back-in-stock", "mug", 10),
        CatalogueEvent("back-in-stock", "never seen", 10),
    ]
    changes = triggered_changes(events, Triggers(), items, shoppers, views, lambda row: row == 1)
    assert changes == [
        Change("trigger", "cleo", "price-drop", 9, known=False, item="cup"),
        Change("trigger", "bob", "back-in-stock", 10, known=True, item="mug"),
        Change("trigger", "ann", "back-in-stock", 10, known=False, item="mug"),
    ]


@pytest.mark.parametrize("resume", [False, True])
def test_back_in_stock_is_published_once_for_shoppers_who_viewed_the_item(resume: bool) -> None:
    stream = [
        [item_event(0, price=10.0, available=True)],
        [view(1, "ann"), view(2, "ann"), view(3, "bob"), view(3, "eve", "cup")],
        [item_event(4, available=False), view(5, "cleo"), view(6, "ann")],
        [item_event(7, available=True), item_event(8, available=True), view(9, "dan")],
    ]
    assert alerts_of(stream, resume=resume) == [
        ("back-in-stock", shopper, "mug", 7) for shopper in ("ann", "cleo", "bob")
    ]


def test_a_price_drop_is_published_and_a_rise_or_a_small_drop_is_not() -> None:
    prices = [10.0, 9.6, 8.0, 12.0, 11.9, 6.0]
    stream = [[item_event(0, price=prices[0]), view(1, "ann")]]
    stream += [[item_event(2 + n, price=price)] for n, price in enumerate(prices[1:])]
    assert alerts_of(stream) == [
        ("price-drop", "ann", "mug", 3),
        ("price-drop", "ann", "mug", 6),
    ]


def test_a_price_in_another_currency_or_of_a_sold_out_item_is_no_drop() -> None:
    def in_currency(at_min: int, price: float, currency: str) -> Event:
        items = (Item("mug", price=price),)
        return event("item", f"m {at_min}", at_min * MINUTE_MS, "c", items=items, currency=currency)

    stream = [[in_currency(0, 1000.0, "JPY"), view(1, "ann")], [in_currency(2, 6.0, "EUR")]]
    assert alerts_of(stream) == []
    sold_out = [
        [item_event(0, price=9.0), view(1, "ann")],
        [item_event(2, price=5.0, available=False)],
    ]
    assert alerts_of(sold_out) == []


def test_shoppers_who_bought_viewed_long_ago_or_were_erased_get_no_alert() -> None:
    stream = [
        [item_event(0, available=False), view(1, "ann"), view(2, "bob"), view(3, "old")],
        [view(4, "ann", kind="purchase"), event("erase", "e", 5 * MINUTE_MS, "bob")],
        [view(20 * DAY, "eve"), item_event(25 * DAY, available=True)],
    ]
    assert alerts_of(stream, days=10) == [("back-in-stock", "eve", "mug", 25 * DAY)]
    assert {shopper for _, shopper, *_ in alerts_of(stream)} == {"eve", "old"}


def test_a_shopper_who_signed_in_gets_the_alert_as_a_user() -> None:
    stream = [
        [item_event(0, available=False), view(1, "device")],
        [event("identify", "i", 2 * MINUTE_MS, "device", "ann")],
        [item_event(3, available=True)],
    ]
    assert alerts_of(stream) == [("back-in-stock", "ann", "mug", 3)]


def test_only_the_most_recent_viewers_get_an_alert_and_none_where_no_views_are_kept() -> None:
    stream = [
        [item_event(0, available=False), *(view(n, f"shopper {n}") for n in range(1, 9))],
        [item_event(10, available=True)],
    ]
    newest = [("back-in-stock", f"shopper {n}", "mug", 10) for n in (8, 7, 6)]
    assert alerts_of(stream, shoppers_max=3) == newest
    assert alerts_of(stream, views_max=3) == newest
    assert alerts_of(stream, views_max=0) == []


def test_a_run_after_a_crash_publishes_no_alert_again(redis_url: str) -> None:
    stream = [
        [item_event(0, available=False), view(1, "ann"), view(1, "bob")],
        [item_event(2, available=True)],
    ]
    store = Store(redis_url, timeout_ms=2000, patience_s=2)
    learning = Personalization(flow_settings())
    for parts in batches([*stream, []]):
        for output in learning.process_batch(parts):
            store.send(output.writes)
    store.flush()
    assert alerts_of(stream, orphaned_changes=ChangeStreamReader(store)) == []
    assert len(alerts_of([*stream, [item_event(3, available=False), item_event(4, available=True)]],
                           orphaned_changes=ChangeStreamReader(store))) == 2  # fmt: skip


def test_a_shipped_rule_detects_a_cart_abandoned_for_half_an_hour() -> None:
    stream = [view(0, "ann", kind="cart_add"), passing(31), view(40, "ann", kind="purchase")]
    changes = [one for one in changes_of(stream, SHIPPED) if one.endswith("cart-left")]
    assert changes == [f"{30 * MINUTE_MS} +cart-left", f"{40 * MINUTE_MS} -cart-left"]


def test_a_shipped_rule_detects_three_views_without_a_cart() -> None:
    stream = [view(n, "ann") for n in (1, 2, 3)] + [view(9, "ann", kind="cart_add")]
    changes = [one for one in changes_of(stream, SHIPPED) if one.endswith("viewed-thrice")]
    assert changes == [f"{3 * MINUTE_MS} +viewed-thrice", f"{9 * MINUTE_MS} -viewed-thrice"]


def test_a_shipped_rule_detects_a_good_customer_who_stays_away() -> None:
    names = [f"shopper {n}" for n in range(40)]
    bought = [view(n, shopper, kind="purchase") for n in (0, DAY) for shopper in names]
    back = [view(70 * DAY, shopper, kind="purchase") for shopper in names]
    moves = transitions(run([*bought, passing(65 * DAY), *back], SHIPPED))
    due = ((True, _at(61 * DAY)), (False, _at(70 * DAY)))
    published = {
        tuple((entered, at_ms) for _, sid, entered, at_ms in moves[shopper] if sid == "win-back")
        for shopper in names
    }
    assert published == {due, ()}  # one in ten is in the holdout group
    refused = [view(n, "shopper 0", kind="purchase", consent=Consent(ads=False)) for n in (0, DAY)]
    assert not any(
        "win-back" in one for one in changes_of([*refused, passing(65 * DAY)], SHIPPED, "shopper 0")
    )
