"""Two shoppers who turn out to be one: what both had counted counts once from then on.

That is orders of the same id, under whatever event ids they came, and events of the same id. Of an
order the copy that happened first stays. The other one is taken out of what its shopper counted, of its
running session and of the windows of rules, before the two are added up. What it said of tastes stays,
and so do what a cart was worth and the mean of prices that were looked at.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, NamedTuple, get_args

from operators.segments.rules import window_corrections as corrections
from operators.shoppers import orders
from operators.shoppers.profile import add_unconverted
from state.events import EventType
from state.money import add
from state.shopper import RuleState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from operators.segments.rules.windows_needed import WindowKind
    from state.shopper import Order, Session, Shopper

HASH_BYTES = orders.HASH_BYTES
_EVENT_TYPES: tuple[str, ...] = get_args(EventType)
"""By their number in `Shopper.seen_at`."""
_TYPE_BITS = 5
TYPE_NUMBER = {name: number for number, name in enumerate(_EVENT_TYPES)}
_TIME = Struct(">Q")
_SHOPPER_COUNTER = {
    "item_view": "views",
    "cart_add": "carts",
    "cart_remove": "cart_removes",
    "search": "searches",
    "wishlist_add": "wishlists",
}
_SESSION_COUNTER = {"item_view": "views", "cart_add": "carts", "purchase": "purchases"}


class DuplicateOrder(NamedTuple):
    """An order that had been counted twice: what the copy that is taken back was worth, its time."""

    value_micros: int
    at_ms: int


def pack_time_and_type(at_ms: int, event_type: str) -> bytes:
    """What is remembered of an event beside its mark."""
    return (at_ms << _TYPE_BITS | TYPE_NUMBER[event_type]).to_bytes(8, "big")


def remove_duplicates(
    shopper: Shopper, other: Shopper, kinds: Mapping[int, WindowKind], now_ms: int
) -> tuple[list[DuplicateOrder], int]:
    """Take out of either what both counted, and make their orders one; before all else is merged.

    Gives the orders that had been counted twice, and how many events.
    """
    corrections = _merge_orders(shopper, other, kinds, now_ms)
    event_count = _remove_duplicate_events(shopper, other, kinds)
    for one in (shopper, other):
        one.recent_event_details = one.recent_event_details.rjust(
            len(one.recent_event_hashes), b"\0"
        )
    return corrections, len(corrections) + event_count


def _merge_orders(
    shopper: Shopper, other: Shopper, kinds: Mapping[int, WindowKind], now_ms: int
) -> list[DuplicateOrder]:
    """Make the orders of both those of one; which of them had been counted twice."""
    fewer, more = sorted((other.orders, shopper.orders), key=len)
    duplicates: list[DuplicateOrder] = []
    for order_hash, order in fewer.items():
        if order_hash not in more:
            more[order_hash] = order
            continue
        own, foreign = shopper.orders[order_hash], other.orders[order_hash]
        merged_order, counted_twice = orders.merge_orders(own, foreign)
        more[order_hash] = merged_order
        if own.has_arrived and foreign.has_arrived:
            is_own = (merged_order.at_ms, merged_order.value_micros) != (
                own.at_ms,
                own.value_micros,
            )
            removed, removed_from, remaining = (
                (own, shopper, other) if is_own else (foreign, other, shopper)
            )
            worth = _subtract_order(removed_from, removed)
            corrections.remove_repeated_event(
                kinds,
                removed_from,
                remaining,
                "purchase",
                (removed.at_ms, merged_order.at_ms),
                worth,
            )
            duplicates.append(DuplicateOrder(worth, removed.at_ms))
        already_counted = (
            [own, foreign] if counted_twice else [min((own, foreign), key=orders.precedence_key)]
        )
        refunded_more = orders.apply_refunds(shopper, merged_order, already_counted)
        shopper.refunds += orders.refund_count(merged_order) - sum(
            map(orders.refund_count, (own, foreign))
        )
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


def _subtract_order(shopper: Shopper, order: Order) -> int:
    """Take an order out of what its shopper counts; what it was worth in the shop's currency."""
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
    """Take out of the other shopper the events that both have, and forget that it had them."""
    if not shopper.recent_event_hashes or not other.recent_event_hashes:
        return 0
    own_hashes = {event_hash for event_hash, _ in _remembered_events(shopper)}
    kept: list[bytes] = []
    for mark, time_and_type in _remembered_events(other):
        if mark not in own_hashes:
            kept.append(mark + time_and_type)
            continue
        (packed,) = _TIME.unpack(time_and_type)
        event_type, at_ms = _EVENT_TYPES[packed & (1 << _TYPE_BITS) - 1], packed >> _TYPE_BITS
        if packed and event_type != "purchase":  # orders were settled by their own ids
            if event_type in _SHOPPER_COUNTER:
                name = _SHOPPER_COUNTER[event_type]
                setattr(other, name, getattr(other, name) - 1)
            _subtract_event(other, event_type, at_ms)
            corrections.remove_repeated_event(
                kinds, other, shopper, event_type, (at_ms, at_ms), None
            )
    count = len(other.recent_event_hashes) // HASH_BYTES - len(kept)
    other.recent_event_hashes = b"".join(one[:HASH_BYTES] for one in kept)
    other.recent_event_details = b"".join(one[HASH_BYTES:] for one in kept)
    return count


def _remembered_events(shopper: Shopper) -> Iterator[tuple[bytes, bytes]]:
    """The remembered events: mark, and when and what it was, 0 where that is not known."""
    seen = shopper.recent_event_hashes
    times = shopper.recent_event_details.rjust(len(seen), b"\0")
    for start in range(0, len(seen), HASH_BYTES):
        yield seen[start : start + HASH_BYTES], times[start : start + HASH_BYTES]


def _subtract_event(shopper: Shopper, event_type: str, at_ms: int) -> Session | None:
    """Take an event out of what its shopper and its session count; the session, if it still goes on."""
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
