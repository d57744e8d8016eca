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
from operators.shoppers.profile import add_apart
from state.events import EventType
from state.money import add
from state.shopper import RuleState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from operators.segments.rules.windows_needed import Kind
    from state.shopper import Order, Session, Shopper

MARK_BYTES = orders.MARK_BYTES
_TYPES: tuple[str, ...] = get_args(EventType)
"""By their number in `Shopper.seen_at`."""
_BITS = 5
NUMBER_OF = {name: number for number, name in enumerate(_TYPES)}
_TIME = Struct(">Q")
_COUNTED = {
    "item_view": "views",
    "cart_add": "carts",
    "cart_remove": "cart_removes",
    "search": "searches",
    "wishlist_add": "wishlists",
}
_OF_SESSION = {"item_view": "views", "cart_add": "carts", "purchase": "purchases"}


class Repeat(NamedTuple):
    """An order that had been counted twice: what the copy that is taken back was worth, its time."""

    worth_micros: int
    at_ms: int


def when_and_what(at_ms: int, kind: str) -> bytes:
    """What is remembered of an event beside its mark."""
    return (at_ms << _BITS | NUMBER_OF[kind]).to_bytes(8, "big")


def settle(
    shopper: Shopper, other: Shopper, kinds: Mapping[int, Kind], now_ms: int
) -> tuple[list[Repeat], int]:
    """Take out of either what both counted, and make their orders one; before all else is merged.

    Gives the orders that had been counted twice, and how many events.
    """
    corrections = _settle_orders(shopper, other, kinds, now_ms)
    events = _settle_events(shopper, other, kinds)
    for one in (shopper, other):
        one.seen_at = one.seen_at.rjust(len(one.seen), b"\0")
    return corrections, len(corrections) + events


def _settle_orders(
    shopper: Shopper, other: Shopper, kinds: Mapping[int, Kind], now_ms: int
) -> list[Repeat]:
    """Make the orders of both those of one; which of them had been counted twice."""
    fewer, more = sorted((other.orders, shopper.orders), key=len)
    found: list[Repeat] = []
    for mark, order in fewer.items():
        if mark not in more:
            more[mark] = order
            continue
        own, foreign = shopper.orders[mark], other.orders[mark]
        one, merged = orders.united(own, foreign)
        more[mark] = one
        if own.has_come and foreign.has_come:
            is_own = (one.at_ms, one.worth_micros) != (own.at_ms, own.worth_micros)
            lost, side, kept = (own, shopper, other) if is_own else (foreign, other, shopper)
            worth = _take_back(side, lost)
            corrections.drop(kinds, side, kept, "purchase", (lost.at_ms, one.at_ms), worth)
            found.append(Repeat(worth, lost.at_ms))
        counted = [own, foreign] if merged else [min((own, foreign), key=orders.came_first)]
        change = orders.give(shopper, one, counted)
        shopper.refunds += orders.refunds_of(one) - sum(map(orders.refunds_of, (own, foreign)))
        if change and kinds:
            state = shopper.rules = shopper.rules or RuleState()
            corrections.give_back(kinds, state, change, max(own.at_ms, foreign.at_ms), now_ms)
    shopper.orders, other.orders = more, {}
    if found:
        last_ms = max(order.at_ms for order in more.values() if order.has_come)
        shopper.last_purchase_ms, other.last_purchase_ms = last_ms, 0
    return found


def _take_back(shopper: Shopper, order: Order) -> int:
    """Take an order out of what its shopper counts; what it was worth in the shop's currency."""
    worth = max(order.worth_micros, 0)
    shopper.purchases -= 1
    shopper.units = add(shopper.units, -order.units)
    session = _take_out(shopper, "purchase", order.at_ms)
    if session is not None:
        session.cart_micros = add(session.cart_micros, order.goods_micros)
    if order.currency:
        shopper.apart_orders -= 1
        add_apart(shopper, order.currency, -worth)
        return 0
    shopper.revenue_micros = add(shopper.revenue_micros, -worth)
    return worth


def _settle_events(shopper: Shopper, other: Shopper, kinds: Mapping[int, Kind]) -> int:
    """Take out of the other shopper the events that both have, and forget that it had them."""
    if not shopper.seen or not other.seen:
        return 0
    own = {mark for mark, _ in _marks(shopper)}
    kept: list[bytes] = []
    for mark, at in _marks(other):
        if mark not in own:
            kept.append(mark + at)
            continue
        (packed,) = _TIME.unpack(at)
        kind, at_ms = _TYPES[packed & (1 << _BITS) - 1], packed >> _BITS
        if packed and kind != "purchase":  # orders were settled by their own ids
            if kind in _COUNTED:
                name = _COUNTED[kind]
                setattr(other, name, getattr(other, name) - 1)
            _take_out(other, kind, at_ms)
            corrections.drop(kinds, other, shopper, kind, (at_ms, at_ms), None)
    count = len(other.seen) // MARK_BYTES - len(kept)
    other.seen = b"".join(one[:MARK_BYTES] for one in kept)
    other.seen_at = b"".join(one[MARK_BYTES:] for one in kept)
    return count


def _marks(shopper: Shopper) -> Iterator[tuple[bytes, bytes]]:
    """The remembered events: mark, and when and what it was, 0 where that is not known."""
    seen = shopper.seen
    at = shopper.seen_at.rjust(len(seen), b"\0")
    for n in range(0, len(seen), MARK_BYTES):
        yield seen[n : n + MARK_BYTES], at[n : n + MARK_BYTES]


def _take_out(shopper: Shopper, kind: str, at_ms: int) -> Session | None:
    """Take an event out of what its shopper and its session count; the session, if it still goes on."""
    shopper.events -= 1
    shopper.session_events -= 1
    for session in shopper.open:
        if session.start_ms <= at_ms <= session.last_ms:
            break
    else:
        return None
    session.events -= 1
    if kind in _OF_SESSION:
        name = _OF_SESSION[kind]
        setattr(session, name, getattr(session, name) - 1)
    if session.events:
        return session
    shopper.open.remove(session)
    shopper.sessions -= 1
    shopper.session_ms -= session.last_ms - session.start_ms
    return None
