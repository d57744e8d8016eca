"""A shopper's orders: each counts once, and no more of it comes back than it was worth.

What was given back of an order follows from all its refunds, in whatever order they and it came: one
that names an amount, or items with prices, gives back that much; one that names items alone, what they
cost in the order; one that names the order alone, all that is left. Refunds of an order that has not
come wait for it, and those that name an amount count at once.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from struct import Struct
from typing import TYPE_CHECKING

from msgspec.structs import replace

from operators.shoppers import profile
from state.money import add, held, micros
from state.shopper import Order

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from state.events import Event
    from state.shopper import Shopper

MARK_BYTES = 8
ITEMS_MAX = 32
"""Of so many items of an order the prices are kept, for refunds that name items alone."""
REFUNDS_MAX = 64
"""With more entries than so many the refunds of an order become one amount."""
_SWEPT_FROM = 32
_SPARE_MS = 86_400_000
"""What is forgotten is taken out a day later, so that an event that comes late meets the same."""

_ENTRY = Struct(">8sq")
_WHOLE, _BY_ITEMS, _FIRST_QUANTITY = -1, -2, -3
"""Stand for an amount in `Order.refunds`: all of it; by items, each of which follows with how many."""
_MANY = bytes(MARK_BYTES)
UNKNOWN = "?"


def mark_of(text: str) -> bytes:
    """What stands for an id: 8 bytes."""
    return blake2b(text.encode(), digest_size=MARK_BYTES).digest()


_item_mark = lru_cache(1 << 15)(mark_of)


def find(shopper: Shopper, mark: bytes, at_ms: int, remembered_ms: int) -> Order | None:
    """An order that is remembered at a time, whether it has come or only refunds of it."""
    order = shopper.orders.get(mark)
    return order if order is not None and order.at_ms > at_ms - remembered_ms else None


def bought(shopper: Shopper, mark: bytes, event: Event, remembered_ms: int) -> tuple[int, int]:
    """Remember an order that is counted; how much more its refunds, the newest of which came at a time
    (ms), gave back than had been counted."""
    at_ms = event.event_ts
    order = Order(
        at_ms,
        _amount(event),
        profile.units(event.items),
        profile.items_micros(event.items),
        items=b"".join(
            _ENTRY.pack(_item_mark(item.item_id), micros(item.price))
            for item in event.items[:ITEMS_MAX]
            if item.price is not None
        ),
        currency=currency_of(event) or "",
    )
    waiting = find(shopper, mark, at_ms, remembered_ms)
    change, refund_ms = 0, at_ms
    if waiting is not None:
        refund_ms = waiting.at_ms
        order, counted = united(order, waiting)
        change = give(shopper, order, counted)
    _keep(shopper, mark, order, at_ms - remembered_ms)
    return change, refund_ms


def refunded(shopper: Shopper, mark: bytes, refund: bytes, event: Event, remembered_ms: int) -> int:
    """Count a refund, which has a mark too; how much it gave back in the shop's currency."""
    at_ms, before_micros = event.event_ts, shopper.refund_micros
    asked = Order(at_ms, refunds=_entries(refund, event), currency=currency_of(event))
    order = find(shopper, mark, at_ms, remembered_ms)
    if order is None:
        order, count = asked, 0
        counted: list[Order] = []
        _keep(shopper, mark, asked, at_ms - remembered_ms)
    else:
        count = refunds_of(order)
        before = replace(order)
        order, counted = united(order, asked)
        if not counted:  # in another currency than its order: it counts by itself
            give(shopper, asked, [])
        counted = [before]
        if len(order.refunds) > REFUNDS_MAX * _ENTRY.size:
            order.refunds = _as_one(order)
        shopper.orders[mark] = order
    shopper.refunds += refunds_of(order) - count
    give(shopper, order, counted)
    return shopper.refund_micros - before_micros


def give(shopper: Shopper, order: Order, counted: Iterable[Order]) -> int:
    """Count what was given back of an order in place of what counted of it until now; by how much more
    that is in the shop's currency."""
    before_micros = shopper.refund_micros
    for one, sign in ((order, 1), *((one, -1) for one in counted)):
        amount = sign * given_back(one)
        if one.currency and amount:
            profile.add_apart(shopper, one.currency, -amount)
        elif amount:
            shopper.refund_micros = add(shopper.refund_micros, amount)
    return shopper.refund_micros - before_micros


def currency_of(event: Event) -> str | None:
    """The currency of what an event is worth: "" for the shop's, None where it does not say."""
    if event.apart is not None:
        return event.currency or UNKNOWN
    return "" if event.currency else None


def given_back(order: Order) -> int:
    """What all refunds of an order come to (millionths)."""
    if not order.refunds:
        return 0
    total, whole, prices = 0, False, _prices(order)
    for mark, amount in _ENTRY.iter_unpack(order.refunds):
        if amount >= 0:
            total += amount
        elif amount == _WHOLE:
            whole = True
        elif amount <= _FIRST_QUANTITY:
            total += _cost(order, prices.get(mark), _FIRST_QUANTITY - amount + 1)
    if order.worth_micros < 0:
        return held(total)
    return order.worth_micros if whole else min(total, order.worth_micros)


def refunds_of(order: Order) -> int:
    """How many refunds of an order count: those of all that is left as one."""
    count, whole = 0, False
    for mark, amount in _ENTRY.iter_unpack(order.refunds):
        count += (amount >= 0 and mark != _MANY) or amount == _BY_ITEMS
        whole = whole or amount == _WHOLE
    return count + order.refunds_before + whole


def united(one: Order, other: Order) -> tuple[Order, list[Order]]:
    """What is known of an order by two that are the same: the copy that came first, all refunds of both.

    And the other one, if its refunds are among them. Of one in another currency they are not: what
    they name stays counted by itself, and only that all is given back goes over.
    """
    first, later = sorted((one, other), key=came_first)
    currency = first.currency
    if not first.has_come and currency is None:
        currency = later.currency
    is_same = later.currency in (None, currency) or first.currency is None
    theirs, before = later.refunds, first.refunds_before + later.refunds_before
    if not is_same:
        theirs = b"".join(group for _, group in _groups(theirs) if _is_whole(group))
        before += refunds_of(later) - bool(theirs) - later.refunds_before
    at_ms = first.at_ms if first.has_come else max(first.at_ms, later.at_ms)
    order = replace(
        first,
        at_ms=at_ms,
        refunds=_together(first.refunds, theirs),
        refunds_before=before,
        currency=currency,
    )
    return order, [other] if is_same else []


def _together(*lists: bytes) -> bytes:
    """All refunds of some lists, each once; those of all that is left are one."""
    many = 0
    groups: dict[bytes, bytes] = {}
    whole = b""
    for refunds in lists:
        for mark, group in _groups(refunds):
            if mark == _MANY:
                many = add(many, _ENTRY.unpack(group)[1])
            elif _is_whole(group):
                whole = max(whole, group)
            else:
                groups[mark] = group
    head = _ENTRY.pack(_MANY, many) if many else b""
    return head + b"".join(groups.values()) + whole


def came_first(order: Order) -> tuple[bool, int, int]:
    """By what of two copies of an order the one that counts is the least."""
    return (False, order.at_ms, -order.worth_micros) if order.has_come else (True, 0, 0)


def _keep(shopper: Shopper, mark: bytes, order: Order, forgotten_ms: int) -> None:
    """Remember an order. The more there are, the less often those that are forgotten are taken out:
    on average that costs the same for each order, however many there are."""
    many = len(shopper.orders)
    if many >= _SWEPT_FROM and int.from_bytes(mark, "big") % many == 0:
        forgotten_ms -= _SPARE_MS
        shopper.orders = {m: one for m, one in shopper.orders.items() if one.at_ms > forgotten_ms}
    shopper.orders[mark] = order


def _amount(event: Event) -> int:
    return profile.value_micros(event) if event.apart is None else micros(event.apart)


def _entries(refund: bytes, event: Event) -> bytes:
    items = event.items
    if (event.value, event.apart) != (None, None) or any(item.price is not None for item in items):
        return _ENTRY.pack(refund, _amount(event))
    if not items:
        return _ENTRY.pack(refund, _WHOLE)
    return _ENTRY.pack(refund, _BY_ITEMS) + b"".join(
        _ENTRY.pack(_item_mark(item.item_id), _FIRST_QUANTITY - profile.units((item,)) + 1)
        for item in items[:ITEMS_MAX]
    )


def _is_whole(group: bytes) -> bool:
    amount: int = _ENTRY.unpack_from(group)[1]
    return amount == _WHOLE


def _groups(refunds: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Each refund with the entries that belong to it, by its mark; those of the whole are one."""
    mark, group = b"", b""
    for of, amount in _ENTRY.iter_unpack(refunds):
        entry = _ENTRY.pack(of, amount)
        if amount <= _FIRST_QUANTITY:
            group += entry
            continue
        if group:
            yield mark, group
        mark, group = of, entry
    if group:
        yield mark, group


def _as_one(order: Order) -> bytes:
    """All refunds of an order as one amount, and that of the whole."""
    groups = [group for _, group in _groups(order.refunds)]
    whole = [group for group in groups if _is_whole(group)]
    order.refunds_before = refunds_of(order) - bool(whole)
    rest = replace(order, refunds=b"".join(group for group in groups if not _is_whole(group)))
    return _ENTRY.pack(_MANY, given_back(rest)) + b"".join(whole[:1])


def _prices(order: Order) -> dict[bytes, int]:
    return dict(reversed([*_ENTRY.iter_unpack(order.items)]))


def _cost(order: Order, price: int | None, quantity: int) -> int:
    """What pieces of an item were worth in an order, which may be less than its goods."""
    worth = order.worth_micros
    if worth < 0:
        return 0
    if price is not None and order.goods_micros:
        return worth * price * quantity // order.goods_micros
    return worth * quantity // order.units if order.units else 0
