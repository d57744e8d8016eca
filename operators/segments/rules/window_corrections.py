"""Windows of a shopper, put right: an event that another shopper had too, a refund that came to more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.segments.rules import windows
from operators.segments.rules.features import ANY
from operators.segments.rules.filters import event_test

if TYPE_CHECKING:
    from collections.abc import Mapping

    from operators.segments.rules.windows_needed import Kind
    from state.shopper import RuleState, Shopper


def drop(
    kinds: Mapping[int, Kind],
    shopper: Shopper,
    keeper: Shopper,
    event_type: str,
    at_ms: tuple[int, int],
    worth: int | None,
) -> None:
    """Take an event out of a shopper's windows where another's have it too, who is the same one.

    `at_ms` is when it was for the one and for the other, `worth` what an order was worth.
    """
    if shopper.rules is None or keeper.rules is None:
        return
    kept = keeper.rules.windows
    for key, window in shopper.rules.windows.items():
        kind = kinds.get(key)
        if kind is None or key not in kept:
            continue
        if event_type == "refund" and _is_net(kind):  # put right with its order: `give_back`
            continue
        if event_type in kind.events.types or ANY in kind.events.types:
            found = windows.without(kind.form, window, kept[key], at_ms, worth)
            shopper.rules.windows[key] = found


def give_back(
    kinds: Mapping[int, Kind], state: RuleState, amount: int, at_ms: int, now_ms: int
) -> None:
    """Note that so much more was given back at a time than the refund that came then told."""
    packed = at_ms.to_bytes(windows.TIME_BYTES, "big")
    for key, kind in kinds.items():
        if _is_net(kind):
            window = state.windows.get(key, b"")
            state.windows[key] = windows.add_amount(window, packed, -amount, kind.within_ms, now_ms)


def _is_net(kind: Kind) -> bool:
    """Whether a window adds up orders less refunds, whatever they are of."""
    return kind.what == "net value" and event_test(kind.events) is None
