"""Corrections of a shopper's windows: an event that two shoppers have, a refund that gave back more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.segments.rules import windows
from operators.segments.rules.filters import compile_event_test

if TYPE_CHECKING:
    from collections.abc import Mapping

    from operators.segments.rules.windows_needed import WindowKind
    from state.shopper import RuleState, Shopper


def remove_repeated_event(
    kinds: Mapping[int, WindowKind],
    shopper: Shopper,
    other: Shopper,
    event_type: str,
    at_ms: tuple[int, int],
    amount: int | None,
) -> None:
    """Remove an event from a shopper's windows where those of another, who is the same person, have
    it too.

    `at_ms` is its time with the one and with the other, `amount` what an order was worth.
    """
    if shopper.rule_state is None or other.rule_state is None:
        return
    other_windows = other.rule_state.windows
    for key, window in shopper.rule_state.windows.items():
        kind = kinds.get(key)
        if kind is None or key not in other_windows:
            continue
        # Windows of net value are corrected with the order: `add_refund_difference`.
        if event_type == "refund" and _is_net_value(kind):
            continue
        if kind.events.takes(event_type):
            corrected = windows.remove_event(kind.form, window, other_windows[key], at_ms, amount)
            shopper.rule_state.windows[key] = corrected


def add_refund_difference(
    kinds: Mapping[int, WindowKind], state: RuleState, amount: int, at_ms: int, now_ms: int
) -> None:
    """Subtract what a refund at this time gave back beyond the amount that it was counted with."""
    packed = at_ms.to_bytes(windows.TIME_BYTES, "big")
    for key, kind in kinds.items():
        if _is_net_value(kind):
            window = state.windows.get(key, b"")
            state.windows[key] = windows.add_amount(window, packed, -amount, kind.within_ms, now_ms)


def _is_net_value(kind: WindowKind) -> bool:
    """Whether a window adds up orders less refunds, of all items."""
    return kind.measured == "net value" and compile_event_test(kind.events) is None
