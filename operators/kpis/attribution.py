"""The definition of every key figure: what the facts of one shopper add to the sums.

Pure: the same facts give the same sums, whatever order they came in. So a late event, a merge or a
refund corrects an hour that is over by the difference of two calls. The words are in docs/kpis.md.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from operators.shoppers.refunds import merge_refunds, refunded_micros
from state.kpis import CART, CLICK, FIGURES, ORDER, REFUND, VIEW
from state.shopper import Order
from state.times import DAY_MS, HOUR_MS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from state.config import Kpis
    from state.kpis import Fact, Sums

WHOLE_SHOP = "all"
_NUMBER = {name: number for number, name in enumerate(FIGURES)}
_BY_TIME = attrgetter("at_ms", "event_hash")

Key = tuple[str, int]
"""A scope and the number of an hour."""


@dataclass(frozen=True)
class Windows:
    """How long a click follows a view, and an order a click, in ms; and how credit is shared."""

    click_ms: int
    direct_ms: int
    assisted_ms: int
    credit: str

    @classmethod
    def from_config(cls, kpis: Kpis) -> Windows:
        """The windows of a configuration."""
        return cls(
            kpis.click_window_h * HOUR_MS,
            kpis.direct_days * DAY_MS,
            kpis.assisted_h * HOUR_MS,
            kpis.credit,
        )


class ListClick(NamedTuple):
    """A click that counts: the first of its item in a list that the shopper had seen."""

    at_ms: int
    view: Fact
    item: str
    place: int


class Contributions:
    """Sums by scope and hour."""

    def __init__(self) -> None:
        self.sums: dict[Key, Sums] = {}

    def add(self, scopes: Iterable[str], at_ms: int, figure: str, amount: int = 1) -> None:
        """Add to a figure of each scope, in the hour of a time."""
        hour, number = at_ms // HOUR_MS, _NUMBER[figure]
        for scope in scopes:
            sums = self.sums.get((scope, hour))
            if sums is None:
                sums = self.sums[scope, hour] = [0] * len(FIGURES)
            sums[number] += amount


def contributions(facts: Iterable[Fact], windows: Windows) -> dict[Key, Sums]:
    """What the facts of one shopper add to the sums."""
    by_kind: list[list[Fact]] = [[] for _ in range(REFUND + 1)]
    for fact in sorted(facts, key=_BY_TIME):
        by_kind[fact.kind].append(fact)
    totals = Contributions()
    clicks = _count_lists(by_kind[VIEW], by_kind[CLICK], windows, totals)
    for cart in by_kind[CART]:
        totals.add(_visit_scopes(cart), cart.at_ms, "carts")
    _count_orders(by_kind[ORDER], by_kind[REFUND], clicks, windows, totals)
    return totals.sums


def list_scopes(view: Fact) -> list[str]:
    """The scopes of a list that was seen."""
    scopes = _visit_scopes(view)
    if view.slot:
        scopes.append(f"slot.{view.slot}")
    if view.source:
        scopes.append(f"source.{view.source}")
    if view.experiment and view.variant:
        scopes.append(f"variant.{view.experiment}.{view.variant}")
    return scopes


def _visit_scopes(fact: Fact) -> list[str]:
    scopes = [WHOLE_SHOP]
    if fact.device:
        scopes.append(f"device.{fact.device}")
    if fact.country:
        scopes.append(f"country.{fact.country}")
    if fact.campaign:
        scopes.append(f"campaign.{fact.campaign}")
    return scopes


def _count_lists(
    views: Sequence[Fact], clicks: Sequence[Fact], windows: Windows, totals: Contributions
) -> list[ListClick]:
    """Count views and clicks; the clicks that count, in order of time."""
    view_by_list: dict[str, Fact] = {}
    nameless: list[Fact] = []
    for view in views:
        if not view.list_id:
            nameless.append(view)
        elif view.list_id in view_by_list:
            continue
        else:
            view_by_list[view.list_id] = view
        totals.add(list_scopes(view), view.at_ms, "views")
    counted: list[ListClick] = []
    clicked: set[bytes] = set()
    clicked_items: set[tuple[bytes, str]] = set()
    for click in clicks:
        for item in click.items:
            seen = (
                view_by_list.get(click.list_id)
                if click.list_id
                else _latest_view(nameless, click, item.item)
            )
            places = {} if seen is None else {one.item: one.place for one in seen.items}
            if (
                seen is None
                or item.item not in places
                or not 0 <= click.at_ms - seen.at_ms <= windows.click_ms
            ):
                totals.add(_visit_scopes(click), click.at_ms, "orphan_clicks")
                continue
            if (seen.event_hash, item.item) in clicked_items:
                continue
            clicked_items.add((seen.event_hash, item.item))
            totals.add(list_scopes(seen), click.at_ms, "clicks")
            if seen.event_hash not in clicked:
                clicked.add(seen.event_hash)
                totals.add(list_scopes(seen), seen.at_ms, "clicked")
            counted.append(ListClick(click.at_ms, seen, item.item, places[item.item]))
    return counted


def _latest_view(views: Sequence[Fact], click: Fact, item: str) -> Fact | None:
    """The last list without an id that was seen in the slot before a click and holds the item."""
    last = bisect_right(views, click.at_ms, key=attrgetter("at_ms"))
    for view in reversed(views[:last]):
        if view.slot == click.slot and any(one.item == item for one in view.items):
            return view
    return None


def _count_orders(
    orders: Sequence[Fact],
    refunds: Sequence[Fact],
    clicks: Sequence[ListClick],
    windows: Windows,
    totals: Contributions,
) -> None:
    refunds_by_order: dict[str, list[Fact]] = {}
    for refund in refunds:
        refunds_by_order.setdefault(refund.order_id, []).append(refund)
    seen: set[str] = set()
    for order in orders:
        if order.order_id in seen:
            continue
        seen.add(order.order_id)
        given_back = _refunded(order, refunds_by_order.pop(order.order_id, []))
        net, scopes = order.value_micros - given_back, _visit_scopes(order)
        totals.add(scopes, order.at_ms, "orders")
        totals.add(scopes, order.at_ms, "gross", order.value_micros)
        totals.add(scopes, order.at_ms, "revenue", net)
        _credit_direct(order, net, clicks, windows, totals)
        _credit_assisted(order, net, clicks, windows, totals)
    # Of an order that is not known (any more) a refund gives back what it states, when it is made.
    for order_refunds in refunds_by_order.values():
        first = order_refunds[0]
        amount = refunded_micros(Order(first.at_ms, refunds=_packed(order_refunds)))
        if amount:
            totals.add(_visit_scopes(first), first.at_ms, "revenue", -amount)


def _refunded(order: Fact, refunds: Sequence[Fact]) -> int:
    """What the refunds of an order give back, by the definition that profiles have."""
    if not refunds:
        return 0
    goods = sum(item.goods_micros for item in order.items)
    return refunded_micros(
        Order(order.at_ms, order.value_micros, order.units, goods, _packed(refunds), order.packed)
    )


def _packed(refunds: Sequence[Fact]) -> bytes:
    return merge_refunds(*(refund.packed for refund in refunds))


def _credit_direct(
    order: Fact,
    net: int,
    clicks: Sequence[ListClick],
    windows: Windows,
    totals: Contributions,
) -> None:
    """Credit the value of the items that were clicked before to the lists where they were."""
    by_scope: dict[str, int] = {}
    goods_by_item: dict[str, int] = {}
    for item in order.items:
        goods_by_item[item.item] = goods_by_item.get(item.item, 0) + item.goods_micros
    all_goods = sum(goods_by_item.values())
    for item_id, goods in goods_by_item.items():
        past = [
            click
            for click in clicks
            if click.item == item_id and 0 <= order.at_ms - click.at_ms <= windows.direct_ms
        ]
        # Without prices every item has the same share.
        value = net * goods // all_goods if all_goods else net // len(goods_by_item)
        _share_by_scope(past, value, windows.credit, by_scope)
    _add_credits(order, by_scope, "direct", totals)


def _credit_assisted(
    order: Fact,
    net: int,
    clicks: Sequence[ListClick],
    windows: Windows,
    totals: Contributions,
) -> None:
    """Credit the whole order to the lists that were clicked shortly before."""
    past = [click for click in clicks if 0 <= order.at_ms - click.at_ms <= windows.assisted_ms]
    by_scope: dict[str, int] = {}
    _share_by_scope(past, net, windows.credit, by_scope)
    _add_credits(order, by_scope, "assisted", totals)


def _share_by_scope(
    clicks: Sequence[ListClick], value: int, credit: str, by_scope: dict[str, int]
) -> None:
    for click, share in zip(clicks, shares(clicks, value, credit), strict=True):
        if share is not None:
            for scope in list_scopes(click.view):
                by_scope[scope] = by_scope.get(scope, 0) + share


def shares(clicks: Sequence[ListClick], value: int, credit: str) -> list[int | None]:
    """The share of each click in a value, in order of time; None for a click without credit.

    The shares add up to the value.
    """
    if not clicks:
        return []
    if credit in ("last", "first"):
        only = len(clicks) - 1 if credit == "last" else 0
        return [value if number == only else None for number in range(len(clicks))]
    # A click at place p weighs 1/p: with the product of all places that is a whole number.
    scale = 1
    if credit == "position":
        for click in clicks:
            scale *= click.place
    weights = [scale // click.place if credit == "position" else 1 for click in clicks]
    total, given, weight = sum(weights), 0, 0
    result: list[int | None] = []
    for own in weights:
        weight += own
        until = value * weight // total
        result.append(until - given)
        given = until
    return result


def _add_credits(order: Fact, by_scope: dict[str, int], name: str, totals: Contributions) -> None:
    for scope, amount in by_scope.items():
        totals.add([scope], order.at_ms, f"{name}_orders")
        totals.add([scope], order.at_ms, f"{name}_revenue", amount)
