"""Windows of a shopper, put right: an event that another shopper had too, a refund that came to more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.segments.rules import windows
from operators.segments.rules.features import ANY_EVENT
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
    """Take an event out of a shopper's windows where another's have it too, who is the same one.

    `at_ms` is when it was for the one and for the other, `amount` what an order was worth.
    """
    if shopper.rule_state is None or other.rule_state is None:
        return
    other_windows = other.rule_state.windows
    for key, window in shopper.rule_state.windows.items():
        kind = kinds.get(key)
        if kind is None or key not in other_windows:
            continue
        if event_type == "refund" and _is_net_value(kind):  # see `add_refund_difference`
            continue
        if event_type in kind.events.types or ANY_EVENT in kind.events.types:
            corrected = windows.remove_event(kind.form, window, other_windows[key], at_ms, amount)
            shopper.rule_state.windows[key] = corrected


def add_refund_difference(
    kinds: Mapping[int, WindowKind], state: RuleState, amount: int, at_ms: int, now_ms: int
) -> None:
    """Note that so much more was given back at a time than the refund that came then told."""
    packed = at_ms.to_bytes(windows.TIME_BYTES, "big")
    for key, kind in kinds.items():
        if _is_net_value(kind):
            window = state.windows.get(key, b"")
            state.windows[key] = windows.add_amount(window, packed, -amount, kind.within_ms, now_ms)


def _is_net_value(kind: WindowKind) -> bool:
    """Whether a window adds up orders less refunds, whatever they are of."""
    return kind.measured == "net value" and compile_event_test(kind.events) is None
