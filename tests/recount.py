"""What segments are worth, recounted from nothing but events and change streams: the definition itself.

Slow and plain. It works on persons: who signs in was the same person before, under another id.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from state.times import DAY_MS, MINUTE_MS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from state.events import Event

MILLIONTHS = 1_000_000
LATELY_MS = 5 * MINUTE_MS


class Order(NamedTuple):
    """Which person ordered, when, for how much (millionths)."""

    who: str
    at_ms: int
    micros: int


class Stay(NamedTuple):
    """Who was in which segment since when and until when; None: still."""

    who: str
    segment: str
    since_ms: int
    left_ms: int | None

    def holds_before(self, at_ms: int) -> bool:
        return self.since_ms < at_ms and (self.left_ms is None or at_ms <= self.left_ms)

    def holds_after(self, at_ms: int) -> bool:
        return self.since_ms <= at_ms and (self.left_ms is None or at_ms < self.left_ms)

    def holds_since(self, after_ms: int) -> bool:
        return self.left_ms is None or max(self.since_ms, after_ms) < self.left_ms


def stays(changes: Iterable[Any]) -> list[Stay]:
    """All of them, in the order of the stream."""
    open_: dict[tuple[str, str], int] = {}
    found = []
    for change in changes:
        pair, at_ms = (change["shopper"], change["segment"]), int(change["event_ts"])
        if change["kind"] == "enter":
            assert pair not in open_, change
            open_[pair] = at_ms
        elif change["kind"] == "leave":
            found.append(Stay(*pair, open_.pop(pair), at_ms))
    return found + [Stay(*pair, since_ms, None) for pair, since_ms in open_.items()]


def orders(arrived: Sequence[Event]) -> tuple[list[Order], dict[str, str], dict[str, int]]:
    """Orders, each once; whose each device became; when each person was seen last."""
    links: dict[str, str] = {}
    counted: set[tuple[str, str | None]] = set()
    found, seen = [], list[tuple[str, int]]()
    for event in (one for one in arrived if one.type != "item"):
        device, user = event.anonymous_id, event.user_id
        if device is not None and user is not None:
            links.setdefault(device, user)
        name = user or links.get(device or "", device or "")
        seen.append((name, event.event_ts))
        if event.type == "purchase" and (name, event.order_id) not in counted:
            counted.add((name, event.order_id))
            micros = sum(
                round(item.price * MILLIONTHS) * item.quantity for item in event.items if item.price
            )
            if event.value is not None:
                micros = round(event.value * MILLIONTHS)
            found.append(Order(name, event.event_ts, int(micros)))
    found = [order._replace(who=links.get(order.who, order.who)) for order in found]
    last_ms: dict[str, int] = defaultdict(int)
    for name, at_ms in seen:
        person = links.get(name, name)
        last_ms[person] = max(last_ms[person], at_ms)
    return found, links, last_ms


def figures(
    arrived: Sequence[Event], changes: Sequence[Any], now_ms: int
) -> dict[str, dict[str, str]]:
    """The figures of each segment at a time, and under "" those of the shop, as Redis says them."""
    found, links, last_ms = orders(arrived)
    all_stays = stays(changes)
    since_ms = now_ms - DAY_MS
    lately = [order for order in found if order.at_ms > since_ms]
    here = {who for who, at_ms in last_ms.items() if at_ms > since_ms}
    told = {}
    for sid in {stay.segment for stay in all_stays}:
        mine = [s._replace(who=links.get(s.who, s.who)) for s in all_stays if s.segment == sid]
        before = [
            o for o in lately if any(s.who == o.who and s.holds_before(o.at_ms) for s in mine)
        ]
        after = [o for o in lately if any(s.who == o.who and s.holds_after(o.at_ms) for s in mine)]
        people = {stay.who for stay in mine if stay.holds_since(since_ms)}
        told[sid] = worth(before, people & here) | {
            "orders_after_1d": str(len(after)),
            "revenue_after_1d": money(after),
            "entered_5m": str(sum(stay.since_ms > now_ms - LATELY_MS for stay in mine)),
            "left_5m": str(sum((s.left_ms or 0) > now_ms - LATELY_MS for s in mine)),
            "size": str(sum(stay.left_ms is None for stay in mine)),
        }
    told[""] = worth(lately, here)
    return told


def worth(ordered: Sequence[Order], people: set[str]) -> dict[str, str]:
    micros = sum(order.micros for order in ordered)
    buyers = {order.who for order in ordered}
    assert buyers <= people
    return {
        "orders_1d": str(len(ordered)),
        "revenue_1d": money(ordered),
        "aov_1d": f"{micros / max(1, len(ordered)) / MILLIONTHS:.2f}",
        "buyers_1d": str(len(buyers)),
        "shoppers_1d": str(len(people)),
        "conversion_1d": f"{len(buyers) / max(1, len(people)):.4f}",
    }


def money(ordered: Sequence[Order]) -> str:
    return f"{sum(order.micros for order in ordered) / MILLIONTHS:.2f}"
