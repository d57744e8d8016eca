"""Preview: the size that a rule would have if it went live now, from the stored shoppers."""

from __future__ import annotations

from hashlib import blake2b
from heapq import nsmallest
from typing import TYPE_CHECKING

import msgspec

from operators.segments.rules.explain import ConditionResult, explain
from state.shopper import RuleState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from operators.segments.rules.rule import Rule
    from state.shopper import Shopper
    from state.snapshots import ShardRulesState

    StoredRow = tuple[str, Shopper, int]
    """A shopper's id, its state, and the watermark of its shard (ms)."""

EXAMPLES = 10
Z_95 = 1.96


class Preview(msgspec.Struct):
    """`size` is exact where all `shoppers` were `evaluated`; else `low` to `high` holds it with 95 %.

    `enter` and `leave` compare with the live segment, scaled up where not all were evaluated.
    `missing_windows` are the events that the rule counts and of which too few are kept yet.
    """

    shoppers: int
    evaluated: int
    size: int
    low: int
    high: int
    enter: int
    leave: int
    missing_windows: list[str]
    examples: list[tuple[str, list[ConditionResult]]]


def preview(
    rule: Rule, rows: Iterable[StoredRow], shoppers: int, stored: ShardRulesState, *, gap_ms: int
) -> Preview:
    """Evaluate a rule for these rows, which are all or some of so many shoppers."""
    evaluate = rule.when.compile(gap_ms)
    evaluated = members = enter = leave = 0
    members_found: list[StoredRow] = []
    for shopper_id, shopper, clock_ms in rows:
        evaluated += 1
        state = shopper.rule_state or RuleState()
        is_member = evaluate(shopper_id, shopper, state, max(clock_ms, shopper.last_ms)) > 0
        was_member = rule.id in state.members
        members += is_member
        enter += is_member and not was_member
        leave += was_member and not is_member
        if is_member:
            members_found.append((shopper_id, shopper, clock_ms))
            if len(members_found) > 100 * EXAMPLES:
                members_found = nsmallest(EXAMPLES, members_found, key=_hash_order)
    share_low, share_high = wilson_interval(members, evaluated)
    share = shoppers / evaluated if evaluated else 0.0
    examples = [
        (
            shopper_id,
            explain(rule, shopper_id, shopper, max(clock_ms, shopper.last_ms), gap_ms=gap_ms),
        )
        for shopper_id, shopper, clock_ms in nsmallest(EXAMPLES, members_found, key=_hash_order)
    ]
    is_exact = evaluated == shoppers
    return Preview(
        shoppers,
        evaluated,
        round(members * share),
        members if is_exact else round(share_low * shoppers),
        members if is_exact else round(share_high * shoppers),
        round(enter * share),
        round(leave * share),
        missing_windows(rule, stored),
        examples,
    )


def missing_windows(rule: Rule, stored: ShardRulesState) -> list[str]:
    """The events that a rule counts and of which none or too few are kept: they count from now on."""
    return sorted(
        {
            use.kind.events.describe()
            for use in rule.when.windows_used()
            if stored.windows.get(use.kind.key, (0, -1))[1] < use.kind.entries_max
        }
    )


def wilson_interval(hits: int, tries: int) -> tuple[float, float]:
    """The interval of 95 % for a share, after Wilson, J. Am. Stat. Assoc. 22 (1927).

    >>> [round(end, 3) for end in wilson_interval(5, 100)]
    [0.022, 0.112]
    """
    if not tries:
        return 0.0, 1.0
    share, z2 = hits / tries, Z_95**2
    middle = share + z2 / (2 * tries)
    half = Z_95 * (share * (1 - share) / tries + z2 / (4 * tries**2)) ** 0.5
    return (middle - half) / (1 + z2 / tries), (middle + half) / (1 + z2 / tries)


def _hash_order(row: StoredRow) -> bytes:
    """A key for an order that does not depend on what shoppers do, the same every time."""
    return blake2b(row[0].encode(), digest_size=8).digest()
