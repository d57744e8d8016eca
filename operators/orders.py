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

from operators import profile
from state.money import add, held, micros
from state.shopper import NOT_COME, Order

if TYPE_CHECKING:
    from collections.abc import Iterator

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
        profile.value_micros(event),
        profile.units(event.items),
        profile.items_micros(event.items),
        items=b"".join(
            _ENTRY.pack(_item_mark(item.item_id), micros(item.price))
            for item in event.items[:ITEMS_MAX]
            if item.price is not None
        ),
    )
    waiting, change, refund_ms = find(shopper, mark, at_ms, remembered_ms), 0, at_ms
    if waiting is not None:
        order.refunds, order.refunds_before = waiting.refunds, waiting.refunds_before
        refund_ms = waiting.at_ms
        change = given_back(order) - given_back(waiting)
        shopper.refund_micros = add(shopper.refund_micros, change)
    _keep(shopper, mark, order, at_ms - remembered_ms)
    return change, refund_ms


def refunded(shopper: Shopper, mark: bytes, refund: bytes, event: Event, remembered_ms: int) -> int:
    """Count a refund, which has a mark too; how much it gave back."""
    at_ms = event.event_ts
    order = find(shopper, mark, at_ms, remembered_ms)
    if order is None:
        order = Order(at_ms)
        _keep(shopper, mark, order, at_ms - remembered_ms)
    elif order.worth_micros == NOT_COME:
        order.at_ms = max(order.at_ms, at_ms)
    before, count = given_back(order), refunds_of(order)
    entries = _entries(refund, event)
    if not (_is_whole(entries) and any(map(_is_whole, dict(_groups(order.refunds)).values()))):
        order.refunds += entries
    if len(order.refunds) > REFUNDS_MAX * _ENTRY.size:
        order.refunds = _as_one(order)
    shopper.refunds += refunds_of(order) - count
    change = given_back(order) - before
    shopper.refund_micros = add(shopper.refund_micros, change)
    return change


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


def united(one: Order, other: Order) -> Order:
    """What two shoppers who are one know of an order: the copy that came first, all refunds of both."""
    first, later = sorted((one, other), key=_came_first)
    many = 0
    groups: dict[bytes, bytes] = {}
    for order in (first, later):
        for mark, group in _groups(order.refunds):
            if mark == _MANY:
                many = add(many, _ENTRY.unpack(group)[1])
            else:
                groups[mark] = group
    refunds = b"".join(groups[mark] for mark in sorted(groups))
    if many:
        refunds = _ENTRY.pack(_MANY, many) + refunds
    at_ms = first.at_ms if first.has_come else max(first.at_ms, later.at_ms)
    return Order(
        at_ms,
        first.worth_micros,
        first.units,
        first.goods_micros,
        refunds,
        first.items,
        one.refunds_before + other.refunds_before,
    )


def _came_first(order: Order) -> tuple[bool, int, int]:
    return not order.has_come, order.at_ms, -order.worth_micros


def _keep(shopper: Shopper, mark: bytes, order: Order, forgotten_ms: int) -> None:
    """Remember an order. The more there are, the less often those that are forgotten are taken out:
    on average that costs the same for each order, however many there are."""
    many = len(shopper.orders)
    if many >= _SWEPT_FROM and int.from_bytes(mark, "big") % many == 0:
        forgotten_ms -= _SPARE_MS
        shopper.orders = {m: one for m, one in shopper.orders.items() if one.at_ms > forgotten_ms}
    shopper.orders[mark] = order


def _entries(refund: bytes, event: Event) -> bytes:
    items = event.items
    if event.value is not None or any(item.price is not None for item in items):
        return _ENTRY.pack(refund, profile.value_micros(event))
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
