"""What differs between the rules of this run and those that a snapshot was stored under."""

from __future__ import annotations

from typing import TYPE_CHECKING

from state.snapshots import ShardRulesState

if TYPE_CHECKING:
    from operators.segments.rules.compiler import RuleSet
    from state.shopper import RuleState


def changed_bits(rules: RuleSet, stored: ShardRulesState) -> int:
    """The rules that are new or mean something else, as a set of bits."""
    bits = 0
    for n, rule in enumerate(rules.compiled_rules):
        if stored.digests.get(rule.id) != rule.digest:
            bits |= rules.bits_for(n)
    return bits


def updated_state(rules: RuleSet, stored: ShardRulesState, clock_ms: int) -> ShardRulesState:
    """What is stored from now on: these rules, and since when each window is full."""
    windows = {
        key: _filled_since(stored.windows.get(key), entries_max, clock_ms)
        for key, entries_max in rules.windows_needed().items()
    }
    return ShardRulesState(rules.digests, windows)


def drop_unused(rules: RuleSet, state: RuleState) -> None:
    """Drop what no rule of this run needs from what is kept of a shopper."""
    state.windows = {
        key: window for key, window in state.windows.items() if key in rules.window_kinds
    }
    state.latest_context = {
        key: text for key, text in state.latest_context.items() if key in rules.latest_text_bits
    }
    digests = set(rules.digests.values())
    state.next_check_ms_by_rule = {
        key: ms for key, ms in state.next_check_ms_by_rule.items() if key in digests
    }
    state.next_check_ms = min(state.next_check_ms_by_rule.values(), default=0)


def _filled_since(
    stored: tuple[int, int] | None, entries_max: int, clock_ms: int
) -> tuple[int, int]:
    """Since when a window is full; one that kept fewer entries may have lost some that are needed."""
    if stored is None:
        return clock_ms, entries_max
    since_ms, stored_entries = stored
    return (since_ms if stored_entries >= entries_max else clock_ms), entries_max
