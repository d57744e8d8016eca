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

    from state.messages import Visited


def told_as_one(batches: Sequence[Sequence[Visited]]) -> None:
    """Rewrite batches, in their order, for whoever left in a later one. Changes them in place."""
    heirs: dict[str, str] = {}
    declined: dict[str, int] = {}
    for visited in reversed(batches):
        for one in visited:
            if heirs:
                _rewrite(one, heirs)
            if declined:
                _limit(one, declined)
        for one in visited:
            heirs |= {name: heirs.get(user, user) for name, user, _ in one.moved}
            heirs |= {name: "" for name, _ in one.erased}
            for name, purposes, _ in one.declined:
                declined[name] = declined.get(name, 0) | purposes


def _rewrite(visited: Visited, heirs: dict[str, str]) -> None:
    visited.active = [one for one in visited.active if one[0] not in heirs]
    told = [(heirs.get(click[1], click[1]), click) for click in visited.clicks]
    visited.clicks = [(click[0], name, *click[2:]) for name, click in told if name]
    signals = [(heirs.get(one[1], one[1]), one) for one in visited.signals]
    visited.signals = [(one[0], name, *one[2:]) for name, one in signals if name]
    orders = [(heirs.get(order[0], order[0]), order) for order in visited.orders]
    repeats = [(heirs.get(one[0], one[0]), one) for one in visited.repeats]
    visited.repeats = [(name, *one[1:]) for name, one in repeats]
    visited.former += [one for one in visited.transitions if heirs.get(one[0])]
    visited.transitions = [one for one in visited.transitions if one[0] not in heirs]
    visited.orders = [(name, *order[1:]) for name, order in orders if name]
    limited = [(heirs.get(one[1], one[1]), bits, one) for bits, one in visited.limited]
    visited.limited = [(bits, (one[0], name, *one[2:])) for name, bits, one in limited if name]
    declined = [(heirs.get(one[0], one[0]), one) for one in visited.declined]
    visited.declined = [(name, *one[1:]) for name, one in declined if name]


def _limit(visited: Visited, declined: dict[str, int]) -> None:
    """What shoppers did before they withdrew purposes is not for these."""
    visited.limited = [(bits | declined.get(one[1], 0), one) for bits, one in visited.limited] + [
        (declined[one[1]], one) for one in visited.clicks if one[1] in declined
    ]
    visited.clicks = [one for one in visited.clicks if one[1] not in declined]
    visited.signals = [
        one for one in visited.signals if not declined.get(one[1], 0) & PERSONALIZATION
    ]
