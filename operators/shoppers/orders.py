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
from state.money import add, clamp, to_micros
from state.shopper import Order

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from state.events import Event
    from state.shopper import Shopper

HASH_BYTES = 8
ITEMS_MAX = 32
"""Of so many items of an order the prices are kept, for refunds that name items alone."""
REFUNDS_MAX = 64
"""With more entries than so many the refunds of an order become one amount."""
_SWEEP_ABOVE_ORDERS = 32
_GRACE_MS = 86_400_000
"""What is forgotten is taken out a day later, so that an event that comes late meets the same."""

_ENTRY = Struct(">8sq")
_FULL_REFUND, _BY_ITEMS, _FIRST_QUANTITY = -1, -2, -3
"""Stand for an amount in `Order.refunds`: all of it; by items, each of which follows with how many."""
_COMPACTED = bytes(HASH_BYTES)
UNKNOWN_CURRENCY = "?"


def id_hash(text: str) -> bytes:
    """What stands for an id: 8 bytes."""
    return blake2b(text.encode(), digest_size=HASH_BYTES).digest()


_item_hash = lru_cache(1 << 15)(id_hash)


def find(shopper: Shopper, order_hash: bytes, at_ms: int, retention_ms: int) -> Order | None:
    """An order that is remembered at a time, whether it has come or only refunds of it."""
    order = shopper.orders.get(order_hash)
    return order if order is not None and order.at_ms > at_ms - retention_ms else None


def record_order(
    shopper: Shopper, order_hash: bytes, event: Event, retention_ms: int
) -> tuple[int, int]:
    """Remember an order that is counted; how much more its refunds, the newest of which came at a time
    (ms), gave back than had been counted."""
    at_ms = event.event_ts
    order = Order(
        at_ms,
        _event_micros(event),
        profile.unit_count(event.items),
        profile.items_micros(event.items),
        items=b"".join(
            _ENTRY.pack(_item_hash(item.item_id), to_micros(item.price))
            for item in event.items[:ITEMS_MAX]
            if item.price is not None
        ),
        currency=amount_currency(event) or "",
    )
    refunds_only = find(shopper, order_hash, at_ms, retention_ms)
    refunded_more, refund_ms = 0, at_ms
    if refunds_only is not None:
        refund_ms = refunds_only.at_ms
        order, already_counted = merge_orders(order, refunds_only)
        refunded_more = apply_refunds(shopper, order, already_counted)
    _store_order(shopper, order_hash, order, at_ms - retention_ms)
    return refunded_more, refund_ms


def record_refund(
    shopper: Shopper, order_hash: bytes, refund_hash: bytes, event: Event, retention_ms: int
) -> int:
    """Count a refund, which has a mark too; how much it gave back in the shop's currency."""
    at_ms, previous_micros = event.event_ts, shopper.refund_micros
    refund_order = Order(
        at_ms, refunds=_refund_entries(refund_hash, event), currency=amount_currency(event)
    )
    order = find(shopper, order_hash, at_ms, retention_ms)
    if order is None:
        order, count = refund_order, 0
        already_counted: list[Order] = []
        _store_order(shopper, order_hash, refund_order, at_ms - retention_ms)
    else:
        count = refund_count(order)
        previous = replace(order)
        order, already_counted = merge_orders(order, refund_order)
        if not already_counted:  # in another currency than its order: it counts by itself
            apply_refunds(shopper, refund_order, [])
        already_counted = [previous]
        if len(order.refunds) > REFUNDS_MAX * _ENTRY.size:
            order.refunds = _compact_refunds(order)
        shopper.orders[order_hash] = order
    shopper.refunds += refund_count(order) - count
    apply_refunds(shopper, order, already_counted)
    return shopper.refund_micros - previous_micros


def apply_refunds(shopper: Shopper, order: Order, already_counted: Iterable[Order]) -> int:
    """Count what was given back of an order in place of what counted of it until now; by how much more
    that is in the shop's currency."""
    previous_micros = shopper.refund_micros
    for copy, sign in ((order, 1), *((one, -1) for one in already_counted)):
        amount = sign * refunded_micros(copy)
        if copy.currency and amount:
            profile.add_unconverted(shopper, copy.currency, -amount)
        elif amount:
            shopper.refund_micros = add(shopper.refund_micros, amount)
    return shopper.refund_micros - previous_micros


def amount_currency(event: Event) -> str | None:
    """The currency of what an event is worth: "" for the shop's, None where it does not say."""
    if event.apart is not None:
        return event.currency or UNKNOWN_CURRENCY
    return "" if event.currency else None


def refunded_micros(order: Order) -> int:
    """What all refunds of an order come to (millionths)."""
    if not order.refunds:
        return 0
    total, has_full_refund, prices = 0, False, _item_prices(order)
    for item_hash, amount in _ENTRY.iter_unpack(order.refunds):
        if amount >= 0:
            total += amount
        elif amount == _FULL_REFUND:
            has_full_refund = True
        elif amount <= _FIRST_QUANTITY:
            total += _item_cost(order, prices.get(item_hash), _FIRST_QUANTITY - amount + 1)
    if order.value_micros < 0:
        return clamp(total)
    return order.value_micros if has_full_refund else min(total, order.value_micros)


def refund_count(order: Order) -> int:
    """How many refunds of an order count: those of all that is left as one."""
    count, has_full_refund = 0, False
    for refund_hash, amount in _ENTRY.iter_unpack(order.refunds):
        count += (amount >= 0 and refund_hash != _COMPACTED) or amount == _BY_ITEMS
        has_full_refund = has_full_refund or amount == _FULL_REFUND
    return count + order.folded_refunds + has_full_refund


def merge_orders(copy: Order, other: Order) -> tuple[Order, list[Order]]:
    """What is known of an order by two that are the same: the copy that came first, all refunds of both.

    And the other one, if its refunds are among them. Of one in another currency they are not: what
    they name stays counted by itself, and only that all is given back goes over.
    """
    first, later = sorted((copy, other), key=precedence_key)
    currency = first.currency
    if not first.has_arrived and currency is None:
        currency = later.currency
    is_same = later.currency in (None, currency) or first.currency is None
    later_refunds, folded_refunds = later.refunds, first.folded_refunds + later.folded_refunds
    if not is_same:
        later_refunds = b"".join(
            group for _, group in _refund_groups(later_refunds) if _is_full_refund(group)
        )
        folded_refunds += refund_count(later) - bool(later_refunds) - later.folded_refunds
    at_ms = first.at_ms if first.has_arrived else max(first.at_ms, later.at_ms)
    order = replace(
        first,
        at_ms=at_ms,
        refunds=_merge_refunds(first.refunds, later_refunds),
        folded_refunds=folded_refunds,
        currency=currency,
    )
    return order, [other] if is_same else []


def _merge_refunds(*refund_lists: bytes) -> bytes:
    """All refunds of some lists, each once; those of all that is left are one."""
    compacted_micros = 0
    groups: dict[bytes, bytes] = {}
    full_refund = b""
    for refunds in refund_lists:
        for mark, group in _refund_groups(refunds):
            if mark == _COMPACTED:
                compacted_micros = add(compacted_micros, _ENTRY.unpack(group)[1])
            elif _is_full_refund(group):
                full_refund = max(full_refund, group)
            else:
                groups[mark] = group
    head = _ENTRY.pack(_COMPACTED, compacted_micros) if compacted_micros else b""
    return head + b"".join(groups.values()) + full_refund


def precedence_key(order: Order) -> tuple[bool, int, int]:
    """By what of two copies of an order the one that counts is the least."""
    return (False, order.at_ms, -order.value_micros) if order.has_arrived else (True, 0, 0)


def _store_order(shopper: Shopper, order_hash: bytes, order: Order, forget_before_ms: int) -> None:
    """Remember an order. The more there are, the less often those that are forgotten are taken out:
    on average that costs the same for each order, however many there are."""
    order_count = len(shopper.orders)
    if order_count >= _SWEEP_ABOVE_ORDERS and int.from_bytes(order_hash, "big") % order_count == 0:
        forget_before_ms -= _GRACE_MS
        shopper.orders = {
            m: one for m, one in shopper.orders.items() if one.at_ms > forget_before_ms
        }
    shopper.orders[order_hash] = order


def _event_micros(event: Event) -> int:
    return profile.value_micros(event) if event.apart is None else to_micros(event.apart)


def _refund_entries(refund_hash: bytes, event: Event) -> bytes:
    items = event.items
    if (event.value, event.apart) != (None, None) or any(item.price is not None for item in items):
        return _ENTRY.pack(refund_hash, _event_micros(event))
    if not items:
        return _ENTRY.pack(refund_hash, _FULL_REFUND)
    return _ENTRY.pack(refund_hash, _BY_ITEMS) + b"".join(
        _ENTRY.pack(_item_hash(item.item_id), _FIRST_QUANTITY - profile.unit_count((item,)) + 1)
        for item in items[:ITEMS_MAX]
    )


def _is_full_refund(group: bytes) -> bool:
    amount: int = _ENTRY.unpack_from(group)[1]
    return amount == _FULL_REFUND


def _refund_groups(refunds: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Each refund with the entries that belong to it, by its mark; those of the whole are one."""
    refund_hash, group = b"", b""
    for entry_hash, amount in _ENTRY.iter_unpack(refunds):
        entry = _ENTRY.pack(entry_hash, amount)
        if amount <= _FIRST_QUANTITY:
            group += entry
            continue
        if group:
            yield refund_hash, group
        refund_hash, group = entry_hash, entry
    if group:
        yield refund_hash, group


def _compact_refunds(order: Order) -> bytes:
    """All refunds of an order as one amount, and that of the whole."""
    groups = [group for _, group in _refund_groups(order.refunds)]
    full_refunds = [group for group in groups if _is_full_refund(group)]
    order.folded_refunds = refund_count(order) - bool(full_refunds)
    partial = replace(
        order, refunds=b"".join(group for group in groups if not _is_full_refund(group))
    )
    return _ENTRY.pack(_COMPACTED, refunded_micros(partial)) + b"".join(full_refunds[:1])


def _item_prices(order: Order) -> dict[bytes, int]:
    return dict(reversed([*_ENTRY.iter_unpack(order.items)]))


def _item_cost(order: Order, price: int | None, quantity: int) -> int:
    """What pieces of an item were worth in an order, which may be less than its goods."""
    value_micros = order.value_micros
    if value_micros < 0:
        return 0
    if price is not None and order.goods_micros:
        return value_micros * price * quantity // order.goods_micros
    return value_micros * quantity // order.units if order.units else 0
