"""What a rule would come to if it went live now, from shoppers as they are stored."""

from __future__ import annotations

from hashlib import blake2b
from heapq import nsmallest
from typing import TYPE_CHECKING

import msgspec

from operators.segments.rules.conditions import condition
from operators.segments.rules.describe import events_in_words
from operators.segments.rules.explain import Reason, why
from operators.segments.rules.windows_needed import uses_in
from state.shopper import RuleState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from operators.segments.rules.ast import Rule
    from state.shopper import Shopper
    from state.snapshots import RulesState

    Seen = tuple[str, Shopper, int]
    """A shopper's id, what is known of it, and how far event time has come for everybody (ms)."""

EXAMPLES = 10
Z_95 = 1.96


class Preview(msgspec.Struct):
    """`size` is exact where all `shoppers` were `looked_at`, else between `low` and `high` for 95 %.

    `enter` and `leave` are against the segment as it is live, in proportion where not all were looked
    at. `not_kept` are the events that the rule counts and of which nothing is kept yet.
    """

    shoppers: int
    looked_at: int
    size: int
    low: int
    high: int
    enter: int
    leave: int
    not_kept: list[str]
    examples: list[tuple[str, list[Reason]]]


def preview(
    rule: Rule, seen: Iterable[Seen], shoppers: int, kept: RulesState, *, gap_ms: int
) -> Preview:
    """Ask a rule of all that is stored of some or all of so many shoppers."""
    asked = condition(rule.when, gap_ms)
    looked_at = members = enter = leave = 0
    found: list[Seen] = []
    for name, shopper, clock_ms in seen:
        looked_at += 1
        state = shopper.rules or RuleState()
        is_member = asked(name, shopper, state, max(clock_ms, shopper.last_ms)) > 0
        was_member = rule.id in state.members
        members += is_member
        enter += is_member and not was_member
        leave += was_member and not is_member
        if is_member:
            found.append((name, shopper, clock_ms))
            if len(found) > 100 * EXAMPLES:
                found = nsmallest(EXAMPLES, found, key=_by_chance)
    low, high = wilson(members, looked_at)
    share = shoppers / looked_at if looked_at else 0.0
    examples = [
        (name, why(rule, name, shopper, max(clock_ms, shopper.last_ms), gap_ms=gap_ms))
        for name, shopper, clock_ms in nsmallest(EXAMPLES, found, key=_by_chance)
    ]
    is_whole = looked_at == shoppers
    return Preview(
        shoppers,
        looked_at,
        round(members * share),
        members if is_whole else round(low * shoppers),
        members if is_whole else round(high * shoppers),
        round(enter * share),
        round(leave * share),
        not_kept(rule, kept),
        examples,
    )


def not_kept(rule: Rule, kept: RulesState) -> list[str]:
    """The events a rule counts that are not kept, or too few of them: they count from now on."""
    return sorted(
        {
            events_in_words(use.kind.events)
            for use in uses_in(rule.when)
            if kept.windows.get(use.kind.key, (0, -1))[1] < use.kind.most
        }
    )


def wilson(hits: int, tries: int) -> tuple[float, float]:
    """The interval of 95 % for a share, after Wilson, J. Am. Stat. Assoc. 22 (1927).

    >>> [round(end, 3) for end in wilson(5, 100)]
    [0.022, 0.112]
    """
    if not tries:
        return 0.0, 1.0
    share, z2 = hits / tries, Z_95**2
    middle = share + z2 / (2 * tries)
    half = Z_95 * (share * (1 - share) / tries + z2 / (4 * tries**2)) ** 0.5
    return (middle - half) / (1 + z2 / tries), (middle + half) / (1 + z2 / tries)


def _by_chance(seen: Seen) -> bytes:
    """An order that has nothing to do with what shoppers are like, the same every time."""
    return blake2b(seen[0].encode(), digest_size=8).digest()
