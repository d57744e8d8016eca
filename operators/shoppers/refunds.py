"""What all refunds of one order give back, whatever order they come in.

`Order.refunds` packs refunds as entries of 16 bytes: a hash of the refund and an amount. A refund by
items is an entry followed by one entry for each item, with the hash of the item. Stored: the layout and
the special amounts must not change.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import TYPE_CHECKING

from msgspec.structs import replace

from operators.shoppers import amounts
from operators.shoppers.id_hashes import HASH_BYTES, id_hash
from state.money import add, clamp, to_micros

if TYPE_CHECKING:
    from collections.abc import Iterator

    from state.events import Event
    from state.shopper import Order

ITEMS_MAX = 32
"""Prices of so many items of an order are kept, for refunds that name items alone."""
REFUNDS_MAX = 64
"""With more entries than this the refunds of an order become one amount."""

_ENTRY = Struct(">8sq")
_FULL_REFUND, _BY_ITEMS, _FIRST_QUANTITY = -1, -2, -3
"""In place of an amount: all that is left; by items; a quantity of an item (-3 is one, -4 is two)."""
_COMPACTED = bytes(HASH_BYTES)
"""In place of the hash: the sum of many refunds."""
_item_hash = lru_cache(1 << 15)(id_hash)


def pack_refund(refund_hash: bytes, event: Event) -> bytes:
    """The entries of one refund: an amount, else items, else all that is left."""
    items = event.items
    if (event.value, event.apart) != (None, None) or any(item.price is not None for item in items):
        return _ENTRY.pack(refund_hash, amounts.stated_micros(event))
    if not items:
        return _ENTRY.pack(refund_hash, _FULL_REFUND)
    return _ENTRY.pack(refund_hash, _BY_ITEMS) + b"".join(
        _ENTRY.pack(_item_hash(item.item_id), _FIRST_QUANTITY - amounts.unit_count((item,)) + 1)
        for item in items[:ITEMS_MAX]
    )


def pack_prices(event: Event) -> bytes:
    """The prices of the items of an order, for refunds that name items alone."""
    return b"".join(
        _ENTRY.pack(_item_hash(item.item_id), to_micros(item.price))
        for item in event.items[:ITEMS_MAX]
        if item.price is not None
    )


def refunded_micros(order: Order) -> int:
    """What all refunds of an order give back, at most its value."""
    if not order.refunds:
        return 0
    total, has_full_refund = 0, False
    prices = dict(reversed([*_ENTRY.iter_unpack(order.items)]))
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


def _item_cost(order: Order, price: int | None, quantity: int) -> int:
    """What pieces of an item cost in an order, whose value may be less than the sum of its prices."""
    value_micros = order.value_micros
    if value_micros < 0:
        return 0
    if price is not None and order.goods_micros:
        return value_micros * price * quantity // order.goods_micros
    return value_micros * quantity // order.units if order.units else 0


def refund_count(order: Order) -> int:
    """The number of refunds of an order; those of all that is left count as one."""
    count, has_full_refund = 0, False
    for refund_hash, amount in _ENTRY.iter_unpack(order.refunds):
        count += (amount >= 0 and refund_hash != _COMPACTED) or amount == _BY_ITEMS
        has_full_refund = has_full_refund or amount == _FULL_REFUND
    return count + order.folded_refunds + has_full_refund


def merge_refunds(*refund_lists: bytes) -> bytes:
    """The refunds of several lists, each once; those of all that is left become one."""
    compacted_micros = 0
    groups: dict[bytes, bytes] = {}
    full_refund = b""
    for refunds in refund_lists:
        for refund_hash, group in _groups(refunds):
            if refund_hash == _COMPACTED:
                compacted_micros = add(compacted_micros, _ENTRY.unpack(group)[1])
            elif _is_full_refund(group):
                full_refund = max(full_refund, group)
            else:
                groups[refund_hash] = group
    head = _ENTRY.pack(_COMPACTED, compacted_micros) if compacted_micros else b""
    return head + b"".join(groups.values()) + full_refund


def full_refunds(refunds: bytes) -> bytes:
    """Of a list of refunds those of all that is left."""
    return b"".join(group for _, group in _groups(refunds) if _is_full_refund(group))


def compact_if_many(order: Order) -> None:
    """Replace the refunds of an order by one amount, and that of all that is left, if they are many."""
    if len(order.refunds) <= REFUNDS_MAX * _ENTRY.size:
        return
    groups = [group for _, group in _groups(order.refunds)]
    full = [group for group in groups if _is_full_refund(group)]
    order.folded_refunds = refund_count(order) - bool(full)
    partial = b"".join(group for group in groups if not _is_full_refund(group))
    amount = refunded_micros(replace(order, refunds=partial))
    order.refunds = _ENTRY.pack(_COMPACTED, amount) + b"".join(full[:1])


def _groups(refunds: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The entries of each refund, with its hash."""
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


def _is_full_refund(group: bytes) -> bool:
    amount: int = _ENTRY.unpack_from(group)[1]
    return amount == _FULL_REFUND
