"""Key figures recounted from nothing but the raw log: the definitions of docs/kpis.md, slow and plain.

It works on persons, and knows nothing of shards, batches, states or corrections.
"""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction
from math import floor
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from state.config import Kpis
    from state.events import Event

HOUR_MS = 3_600_000
Recounted = dict[tuple[str, int, str], int]
"""By scope, number of the hour and figure, without zeros."""


class Click(NamedTuple):
    at_ms: int
    item: str
    place: int
    scopes: list[str]


def recount(log: Iterable[Event], kpis: Kpis) -> Recounted:
    """All figures of a log. A device is of one user at most; who is erased does nothing after it."""
    events = {event.event_id: event for event in log}.values()
    user_of = {e.anonymous_id: e.user_id for e in events if e.anonymous_id and e.user_id}
    by_person: dict[str, list[Event]] = defaultdict(list)
    for event in sorted(events, key=lambda event: event.event_ts):
        name = event.user_id or user_of.get(event.anonymous_id or "") or event.anonymous_id
        by_person[name or ""].append(event)
    found: Recounted = defaultdict(int)
    for theirs in by_person.values():
        if not any(event.type == "erase" for event in theirs):
            _recount_person(theirs, kpis, found)
    return {key: amount for key, amount in found.items() if amount}


def _visit_scopes(event: Event) -> list[str]:
    campaign = event.campaign.name if event.campaign else None
    named = {"device": event.device, "country": event.country, "campaign": campaign}
    return ["all", *(f"{kind}.{name}" for kind, name in named.items() if name)]


def _list_scopes(event: Event) -> list[str]:
    assert event.reco
    reco, more = event.reco, []
    if reco.slot:
        more.append(f"slot.{reco.slot}")
    if reco.model:
        more.append(f"source.{reco.model}")
    if reco.experiment and reco.variant:
        more.append(f"variant.{reco.experiment}.{reco.variant}")
    return _visit_scopes(event) + more


def _add(found: Recounted, scopes: Iterable[str], at_ms: int, figure: str, amount: int = 1) -> None:
    for scope in scopes:
        found[scope, at_ms // HOUR_MS, figure] += amount


def _recount_person(theirs: Sequence[Event], kpis: Kpis, found: Recounted) -> None:
    views: dict[str, Event] = {}
    for event in theirs:
        if event.type == "reco_view":
            assert event.reco
            assert event.reco.list_id
            if views.setdefault(event.reco.list_id, event) is event:
                _add(found, _list_scopes(event), event.event_ts, "views")
        elif event.type == "cart_add":
            _add(found, _visit_scopes(event), event.event_ts, "carts")
    clicks: dict[tuple[str, str], Click] = {}
    for event in theirs:
        if event.type == "reco_click":
            assert event.reco
            list_id, item = event.reco.list_id or "", event.items[0].item_id
            view = views.get(list_id)
            shown = [] if view is None else [one.item_id for one in view.items]
            if (
                view is None
                or item not in shown
                or not 0 <= event.event_ts - view.event_ts <= kpis.click_window_h * HOUR_MS
            ):
                _add(found, _visit_scopes(event), event.event_ts, "orphan_clicks")
            elif (list_id, item) not in clicks:
                scopes = _list_scopes(view)
                if not any(clicked == list_id for clicked, _ in clicks):
                    _add(found, scopes, view.event_ts, "clicked")
                place = shown.index(item) + 1
                clicks[list_id, item] = Click(event.event_ts, item, place, scopes)
                _add(found, scopes, event.event_ts, "clicks")
    _recount_orders(theirs, list(clicks.values()), kpis, found)


def _recount_orders(
    theirs: Sequence[Event], clicks: list[Click], kpis: Kpis, found: Recounted
) -> None:
    orders: dict[str, Event] = {}
    refunds: dict[str, list[Event]] = defaultdict(list)
    for event in theirs:
        if event.type == "purchase":
            orders.setdefault(event.order_id or "", event)
        elif event.type == "refund":
            refunds[event.order_id or ""].append(event)
    for order_id, order in orders.items():
        gross, at_ms = round((order.value or 0) * 1_000_000), order.event_ts
        back = sum(round(one.value * 1_000_000) for one in refunds[order_id] if one.value)
        if any(one.value is None for one in refunds[order_id]):
            back = gross
        net = gross - min(back, gross)
        _add(found, _visit_scopes(order), at_ms, "orders")
        _add(found, _visit_scopes(order), at_ms, "gross", gross)
        _add(found, _visit_scopes(order), at_ms, "revenue", net)
        direct: dict[str, int] = {}
        goods = {i.item_id: round((i.price or 0) * 1_000_000) * i.quantity for i in order.items}
        for item, worth in goods.items():
            value = floor(Fraction(net) * Fraction(worth) / Fraction(sum(goods.values())))
            window_ms = kpis.direct_days * 24 * HOUR_MS
            past = [c for c in clicks if c.item == item and 0 <= at_ms - c.at_ms <= window_ms]
            _credit(past, value, kpis.credit, direct)
        assisted: dict[str, int] = {}
        past = [c for c in clicks if 0 <= at_ms - c.at_ms <= kpis.assisted_h * HOUR_MS]
        _credit(past, net, kpis.credit, assisted)
        for name, credited in (("direct", direct), ("assisted", assisted)):
            for scope, amount in credited.items():
                _add(found, [scope], at_ms, f"{name}_orders")
                _add(found, [scope], at_ms, f"{name}_revenue", amount)
    for order_id, theirs_back in refunds.items():
        amount = sum(round((one.value or 0) * 1_000_000) for one in theirs_back)
        if order_id not in orders and theirs_back:
            first = theirs_back[0]
            _add(found, _visit_scopes(first), first.event_ts, "revenue", -amount)


def _credit(clicks: list[Click], value: int, credit: str, to: dict[str, int]) -> None:
    weights = {
        "last": [Fraction(click is clicks[-1]) for click in clicks],
        "first": [Fraction(click is clicks[0]) for click in clicks],
        "even": [Fraction(1)] * len(clicks),
        "position": [Fraction(1, click.place) for click in clicks],
    }[credit]
    total, until = sum(weights), Fraction(0)
    for click, weight in zip(clicks, weights, strict=True):
        if weight:
            share = floor(value * (until + weight) / total) - floor(value * until / total)
            until += weight
            for scope in click.scopes:
                to[scope] = to.get(scope, 0) + share
