"""What a shopper, an event or a batch costs grows with what is in it, not with its square.

Counted in steps of the interpreter, which no other work on the machine can change: twice as much takes
about twice as many. A square would take four times as many.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from state.events import Item
from tests.streams import GAP_MS, Flow, event

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from state.events import Event

MOST = 2.6
"""Times as many steps for twice as much: a little more than twice, for what is sorted."""
MUG = Item("mug", category=("mugs",), price=9.0)


def steps(do: Callable[[], Any]) -> int:
    """How many steps of the interpreter something takes, those of comprehensions too."""
    count = 0

    def trace(frame: FrameType, what: str, _: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += what == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        do()
    finally:
        sys.settrace(before)
    return count


def view(n: int, at_ms: int, device: str | None = "ann", user: str | None = None) -> Event:
    return event("item_view", f"v{n}", at_ms, device, user, items=(MUG,))


def orders(n: int) -> list[Event]:
    return [
        event("purchase", k, k * 1000, items=(MUG,), order_id=f"o{k}", value=9.0) for k in range(n)
    ]


def items(n: int) -> list[Event]:
    many = tuple(Item(f"i{k}", category=("mugs",), price=1.0) for k in range(n))
    return [event("purchase", 1, 0, items=many, order_id="o")]


def categories(n: int) -> list[Event]:
    return [
        event("item_view", k, k * 1000, items=(Item(f"i{k}", category=(f"c{k}",)),))
        for k in range(n)
    ]


def sessions(n: int) -> list[Event]:
    return [view(k, k * (GAP_MS + 1)) for k in range(n)]


def sessions_out_of_order(n: int) -> list[Event]:
    """Every second event comes after the one that follows it."""
    return [view(k, (k ^ 1) * 60_000) for k in range(n)]


def devices(n: int) -> list[Event]:
    """Each looked, then identified as the same user."""
    looks = [view(k, k * 1000, f"d{k}") for k in range(n)]
    return looks + [view(n + k, (n + k) * 1000, f"d{k}", "ann") for k in range(n)]


MANY = tuple(Item(f"i{k}", category=("mugs",), price=1.0) for k in range(40))


def moves(n: int) -> list[Event]:
    """Each device looked at many items, then identified as a user of its own."""
    looks = [event("item_view", f"v{k}", k * 1000, f"d{k}", items=MANY) for k in range(n)]
    return looks + [view(n + k, (n + k) * 1000, f"d{k}", f"u{k}") for k in range(n)]


def erasures_after_looks(n: int) -> list[Event]:
    looks = [event("item_view", f"v{k}", k * 1000, f"d{k}", items=MANY) for k in range(n)]
    return looks + [event("erase", n + k, (n + k) * 1000, f"d{k}") for k in range(n)]


def erasures(n: int) -> list[Event]:
    looks = [view(k, k * 1000, f"d{k}") for k in range(n)]
    return looks + [event("erase", n + k, (n + k) * 1000, f"d{k}") for k in range(n)]


def refunds(n: int) -> list[Event]:
    return orders(n) + [
        event("refund", n + k, (n + k) * 1000, order_id=f"o{k}", items=()) for k in range(n)
    ]


@pytest.mark.parametrize(
    "made",
    [
        orders,
        items,
        categories,
        sessions,
        sessions_out_of_order,
        devices,
        moves,
        erasures,
        erasures_after_looks,
        refunds,
    ],
    ids=lambda made: made.__name__,
)
def test_twice_as_much_costs_about_twice_as_much(made: Callable[[int], list[Event]]) -> None:
    def cost(n: int) -> int:
        flow, stream = Flow(), made(n)
        flow.feed([view(10_000, 0, "eve")])
        return steps(lambda: flow.feed(stream))

    small, large = cost(100), cost(200)
    assert large < MOST * small, (small, large)
