"""Coalesces live batches: what a shopper did before a later batch removes it is reassigned or dropped.

Each in its own step, a batch is learned first, and the shopper is removed with the next one. In one
step the shopper would be removed first and come back with what it did. So its entries become those of
the user that it was merged into, are dropped if it was erased, and are limited to the purposes that it
does not withdraw: the shards do the same within one batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from state.entries import LimitedInteraction
from state.shopper import PERSONALIZATION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from state.messages import ShardOutput


class LaterRemovals:
    """What later batches remove: `merged_into` names the user that a shopper was merged into, "" where
    it was erased; `withdrawn` the purposes that a shopper withdraws, as bits."""

    def __init__(self) -> None:
        self.merged_into: dict[str, str] = {}
        self.withdrawn: dict[str, int] = {}

    def target(self, name: str) -> str:
        """Whose entries those of a shopper become; "" for nobody's."""
        return self.merged_into.get(name, name)

    def add(self, output: ShardOutput) -> None:
        """Add what the batch of this output removes. Later batches come first."""
        self.merged_into |= {
            merge.anonymous_id: self.target(merge.shopper) for merge in output.merged
        }
        self.merged_into |= {name: "" for name, _ in output.erased}
        for withdrawal in output.consent_withdrawals:
            purposes = self.withdrawn.get(withdrawal.shopper, 0) | withdrawal.purposes
            self.withdrawn[withdrawal.shopper] = purposes


def coalesce_batches(batches: Sequence[Sequence[ShardOutput]]) -> list[Sequence[ShardOutput]]:
    """The batches in their order, as they are to be processed in one step."""
    if len(batches) == 1:
        return list(batches)
    later = LaterRemovals()
    coalesced: list[Sequence[ShardOutput]] = []
    for outputs in reversed(batches):
        rewritten = list(outputs)
        if later.merged_into:
            rewritten = [_reassign(output, later.merged_into) for output in rewritten]
        if later.withdrawn:
            rewritten = [_restrict_purposes(output, later.withdrawn) for output in rewritten]
        for output in rewritten:
            later.add(output)
        coalesced.append(rewritten)
    return coalesced[::-1]


def _reassign(output: ShardOutput, merged_into: dict[str, str]) -> ShardOutput:
    """The output with entries of merged shoppers under the user's id, without those of erased ones."""

    def target(name: str) -> str:
        return merged_into.get(name, name)

    return replace(
        output,
        active=[row for row in output.active if row.shopper not in merged_into],
        interactions=[
            replace(entry, shopper=name)
            for entry in output.interactions
            if (name := target(entry.shopper))
        ],
        feedback=[
            replace(entry, shopper=name)
            for entry in output.feedback
            if (name := target(entry.shopper))
        ],
        orders=[
            replace(order, shopper=name)
            for order in output.orders
            if (name := target(order.shopper))
        ],
        # Sums of the shop, which an erased shopper stays part of, are corrected too.
        double_counted_orders=[
            replace(order, shopper=target(order.shopper)) for order in output.double_counted_orders
        ],
        transitions_before_merge=[
            *output.transitions_before_merge,
            *(entry for entry in output.transitions if merged_into.get(entry.shopper)),
        ],
        transitions=[entry for entry in output.transitions if entry.shopper not in merged_into],
        limited_interactions=[
            LimitedInteraction(entry.refused, replace(entry.interaction, shopper=name))
            for entry in output.limited_interactions
            if (name := target(entry.interaction.shopper))
        ],
        consent_withdrawals=[
            replace(entry, shopper=name)
            for entry in output.consent_withdrawals
            if (name := target(entry.shopper))
        ],
    )


def _restrict_purposes(output: ShardOutput, withdrawn: dict[str, int]) -> ShardOutput:
    """The output in which entries are not for purposes that their shoppers withdraw later."""
    limited = [
        LimitedInteraction(
            entry.refused | withdrawn.get(entry.interaction.shopper, 0), entry.interaction
        )
        for entry in output.limited_interactions
    ]
    limited += [
        LimitedInteraction(withdrawn[entry.shopper], entry)
        for entry in output.interactions
        if entry.shopper in withdrawn
    ]
    return replace(
        output,
        limited_interactions=limited,
        interactions=[entry for entry in output.interactions if entry.shopper not in withdrawn],
        feedback=[
            entry
            for entry in output.feedback
            if not withdrawn.get(entry.shopper, 0) & PERSONALIZATION
        ],
    )
