"""Batches learned in one go: what an earlier one tells of a shopper that a later one parts with.

In a batch of its own a shopper is learned, and then leaves; in one go it would leave first and then
come back. So what it did is told as the user's that it turned out to be, or not at all if it was
erased, or not for the purposes that it withdrew: just as its shard tells what happened within one batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from state.shopper import PERSONALIZATION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from state.messages import ShardOutput


def coalesce_batches(batches: Sequence[Sequence[ShardOutput]]) -> None:
    """Rewrite batches, in their order, for whoever left in a later one. Changes them in place."""
    heirs: dict[str, str] = {}
    declined: dict[str, int] = {}
    for visited in reversed(batches):
        for one in visited:
            if heirs:
                _reassign_events(one, heirs)
            if declined:
                _restrict_purposes(one, declined)
        for one in visited:
            heirs |= {name: heirs.get(user, user) for name, user, _ in one.merged}
            heirs |= {name: "" for name, _ in one.erased}
            for name, purposes, _ in one.consent_withdrawals:
                declined[name] = declined.get(name, 0) | purposes


def _reassign_events(visited: ShardOutput, heirs: dict[str, str]) -> None:
    visited.active = [one for one in visited.active if one[0] not in heirs]
    told = [(heirs.get(click[1], click[1]), click) for click in visited.interactions]
    visited.interactions = [(click[0], name, *click[2:]) for name, click in told if name]
    signals = [(heirs.get(one[1], one[1]), one) for one in visited.feedback]
    visited.feedback = [(one[0], name, *one[2:]) for name, one in signals if name]
    orders = [(heirs.get(order[0], order[0]), order) for order in visited.orders]
    repeats = [(heirs.get(one[0], one[0]), one) for one in visited.double_counted_orders]
    visited.double_counted_orders = [(name, *one[1:]) for name, one in repeats]
    visited.transitions_before_merge += [one for one in visited.transitions if heirs.get(one[0])]
    visited.transitions = [one for one in visited.transitions if one[0] not in heirs]
    visited.orders = [(name, *order[1:]) for name, order in orders if name]
    limited = [(heirs.get(one[1], one[1]), bits, one) for bits, one in visited.limited_interactions]
    visited.limited_interactions = [
        (bits, (one[0], name, *one[2:])) for name, bits, one in limited if name
    ]
    declined = [(heirs.get(one[0], one[0]), one) for one in visited.consent_withdrawals]
    visited.consent_withdrawals = [(name, *one[1:]) for name, one in declined if name]


def _restrict_purposes(visited: ShardOutput, declined: dict[str, int]) -> None:
    """What shoppers did before they withdrew purposes is not for these."""
    visited.limited_interactions = [
        (bits | declined.get(one[1], 0), one) for bits, one in visited.limited_interactions
    ] + [(declined[one[1]], one) for one in visited.interactions if one[1] in declined]
    visited.interactions = [one for one in visited.interactions if one[1] not in declined]
    visited.feedback = [
        one for one in visited.feedback if not declined.get(one[1], 0) & PERSONALIZATION
    ]
