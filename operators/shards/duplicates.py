"""Duplicates between two shoppers that turn out to be one: what both have counted counts once.

Duplicates are orders of the same order id, under whatever event ids, and events of the same event id. Of
an order the copy that happened first stays. The other copy is subtracted from the counters of its
shopper, from its open session and from the windows of rules, before the two shoppers are added up. Not
subtracted are affinities, the value of carts, and the mean of viewed prices.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, NamedTuple, get_args

from operators.segments.rules import window_corrections as corrections
from operators.shoppers import orders, refunds
from operators.shoppers.id_hashes import HASH_BYTES
from operators.shoppers.profile import EVENT_COUNTERS, add_unconverted
from state.events import EventType
from state.money import add
from state.shopper import RuleState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from operators.segments.rules.windows_needed import WindowKind
    from state.shopper import Order, Session, Shopper

_EVENT_TYPES: tuple[str, ...] = get_args(EventType)
"""In the order of their numbers in `Shopper.recent_event_details`, which is stored: append only."""
_TYPE_BITS = 5
TYPE_NUMBER = {name: number for number, name in enumerate(_EVENT_TYPES)}
_TIME = Struct(">Q")
_SHOPPER_COUNTER = {"item_view": "views", "cart_add": "carts", **EVENT_COUNTERS}
_SESSION_COUNTER = {"item_view": "views", "cart_add": "carts", "purchase": "purchases"}


class DuplicateOrder(NamedTuple):
    """The copy of an order that is subtracted: its value in the shop's currency, and its time."""

    value_micros: int
    at_ms: int


def pack_time_and_type(at_ms: int, event_type: str) -> bytes:
    """What is remembered of an event beside the hash of its id."""
    return (at_ms << _TYPE_BITS | TYPE_NUMBER[event_type]).to_bytes(8, "big")


def remove_duplicates(
    shopper: Shopper, other: Shopper, kinds: Mapping[int, WindowKind], now_ms: int
) -> tuple[list[DuplicateOrder], int]:
    """Subtract what both shoppers have counted, and merge their orders. Call it before all other
    merging.

    Gives the orders that were counted twice, and how many orders and events were.
    """
    duplicates = _merge_orders(shopper, other, kinds, now_ms)
    event_count = _remove_duplicate_events(shopper, other, kinds)
    for row in (shopper, other):
        # Of older rows details may be missing: pad them, so that hashes and details can be appended.
        row.recent_event_details = row.recent_event_details.rjust(
            len(row.recent_event_hashes), b"\0"
        )
    return duplicates, len(duplicates) + event_count


def _merge_orders(
    shopper: Shopper, other: Shopper, kinds: Mapping[int, WindowKind], now_ms: int
) -> list[DuplicateOrder]:
    """Merge the orders of both into those of `shopper`; the copies that were counted twice."""
    fewer, more = sorted((other.orders, shopper.orders), key=len)
    duplicates: list[DuplicateOrder] = []
    for order_hash, order in fewer.items():
        if order_hash not in more:
            more[order_hash] = order
            continue
        own, foreign = shopper.orders[order_hash], other.orders[order_hash]
        merged_order, counted_twice = orders.merge_orders(own, foreign)
        if own.has_arrived and foreign.has_arrived:
            duplicates.append(_subtract_later_copy(shopper, other, order_hash, merged_order, kinds))
        already_counted = (
            [own, foreign] if counted_twice else [min((own, foreign), key=orders.precedence_key)]
        )
        refunded_more = orders.apply_refunds(shopper, merged_order, already_counted)
        shopper.refunds += refunds.refund_count(merged_order) - sum(
            map(refunds.refund_count, (own, foreign))
        )
        more[order_hash] = merged_order
        if refunded_more and kinds:
            state = shopper.rule_state = shopper.rule_state or RuleState()
            corrections.add_refund_difference(
                kinds, state, refunded_more, max(own.at_ms, foreign.at_ms), now_ms
            )
    shopper.orders, other.orders = more, {}
    if duplicates:
        last_ms = max(order.at_ms for order in more.values() if order.has_arrived)
        shopper.last_purchase_ms, other.last_purchase_ms = last_ms, 0
    return duplicates


def _subtract_later_copy(
    shopper: Shopper,
    other: Shopper,
    order_hash: bytes,
    merged_order: Order,
    kinds: Mapping[int, WindowKind],
) -> DuplicateOrder:
    """Subtract the copy that is not the merged order from the shopper that counted it."""
    own, foreign = shopper.orders[order_hash], other.orders[order_hash]
    if (merged_order.at_ms, merged_order.value_micros) != (own.at_ms, own.value_micros):
        removed, removed_from, remaining = own, shopper, other
    else:
        removed, removed_from, remaining = foreign, other, shopper
    value_micros = _subtract_order(removed_from, removed)
    times_ms = removed.at_ms, merged_order.at_ms
    corrections.remove_repeated_event(
        kinds, removed_from, remaining, "purchase", times_ms, value_micros
    )
    return DuplicateOrder(value_micros, removed.at_ms)


def _subtract_order(shopper: Shopper, order: Order) -> int:
    """Subtract an order from the counters of its shopper; its value in the shop's currency."""
    value_micros = max(order.value_micros, 0)
    shopper.purchases -= 1
    shopper.units = add(shopper.units, -order.units)
    session = _subtract_event(shopper, "purchase", order.at_ms)
    if session is not None:
        session.cart_micros = add(session.cart_micros, order.goods_micros)
    if order.currency:
        shopper.unconverted_orders -= 1
        add_unconverted(shopper, order.currency, -value_micros)
        return 0
    shopper.revenue_micros = add(shopper.revenue_micros, -value_micros)
    return value_micros


def _remove_duplicate_events(
    shopper: Shopper, other: Shopper, kinds: Mapping[int, WindowKind]
) -> int:
    """Subtract from the other shopper the events that both have counted; how many they are."""
    if not shopper.recent_event_hashes or not other.recent_event_hashes:
        return 0
    own_hashes = {event_hash for event_hash, _ in _remembered_events(shopper)}
    remaining: list[bytes] = []
    for event_hash, time_and_type in _remembered_events(other):
        if event_hash not in own_hashes:
            remaining.append(event_hash + time_and_type)
            continue
        (packed,) = _TIME.unpack(time_and_type)
        event_type, at_ms = _EVENT_TYPES[packed & (1 << _TYPE_BITS) - 1], packed >> _TYPE_BITS
        if packed and event_type != "purchase":  # orders were merged by their own ids
            if event_type in _SHOPPER_COUNTER:
                name = _SHOPPER_COUNTER[event_type]
                setattr(other, name, getattr(other, name) - 1)
            _subtract_event(other, event_type, at_ms)
            corrections.remove_repeated_event(
                kinds, other, shopper, event_type, (at_ms, at_ms), None
            )
    count = len(other.recent_event_hashes) // HASH_BYTES - len(remaining)
    other.recent_event_hashes = b"".join(event[:HASH_BYTES] for event in remaining)
    other.recent_event_details = b"".join(event[HASH_BYTES:] for event in remaining)
    return count


def _remembered_events(shopper: Shopper) -> Iterator[tuple[bytes, bytes]]:
    """The remembered events: the hash of the id, and its packed time and type, 0 where unknown."""
    hashes = shopper.recent_event_hashes
    details = shopper.recent_event_details.rjust(len(hashes), b"\0")
    for start in range(0, len(hashes), HASH_BYTES):
        yield hashes[start : start + HASH_BYTES], details[start : start + HASH_BYTES]


def _subtract_event(shopper: Shopper, event_type: str, at_ms: int) -> Session | None:
    """Subtract an event from its shopper and its session; the session, if it still has events."""
    shopper.events -= 1
    shopper.session_events -= 1
    for session in shopper.open_sessions:
        if session.start_ms <= at_ms <= session.last_ms:
            break
    else:
        return None
    session.events -= 1
    if event_type in _SESSION_COUNTER:
        name = _SESSION_COUNTER[event_type]
        setattr(session, name, getattr(session, name) - 1)
    if session.events:
        return session
    shopper.open_sessions.remove(session)
    shopper.sessions -= 1
    shopper.session_ms -= session.last_ms - session.start_ms
    return None
