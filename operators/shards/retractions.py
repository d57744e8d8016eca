"""Takes back what a batch has put out about shoppers that were taken out of the shard since.

An erased shopper's output is dropped; that of a transferred shopper goes along to the shard of its user.
Each removal is noted with the lengths of the output lists. One pass at the end applies all of them, so a
batch with many removals costs no more than its length. What a shopper of the same id does later in the
batch stays.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from msgspec.structs import replace

from state.entries import Feedback, Interaction, LimitedInteraction, PlacedOrder

if TYPE_CHECKING:
    from collections.abc import Callable

    from state.messages import ShardOutput, StateTransfer

E = TypeVar("E", Interaction, Feedback, PlacedOrder)


class _Removal(NamedTuple):
    """The lengths of the output lists when a shopper was taken out, by list as below.

    Entries before that go to its user with `transfer`; without one they are dropped. The first
    `observations` are dropped in any case.
    """

    lengths: tuple[int, int, int, int]
    observations: int
    transfer: StateTransfer | None


_INTERACTIONS, _FEEDBACK, _ORDERS, _LIMITED = range(4)
"""The lists, as positions in `_Removal.lengths`."""


class Retractions:
    """The shoppers that were taken out in this batch, each with its removals in order of time."""

    def __init__(self) -> None:
        self._by_shopper: dict[str, list[_Removal]] = {}

    def __bool__(self) -> bool:
        return bool(self._by_shopper)

    def add(self, output: ShardOutput, shopper_id: str, transfer: StateTransfer | None) -> None:
        """Note that a shopper is taken out now. Observations of a transferred shopper stay."""
        removals = self._by_shopper.setdefault(shopper_id, [])
        observations = len(output.observations)
        if transfer is not None:
            observations = removals[-1].observations if removals else 0
        lengths = (
            len(output.interactions),
            len(output.feedback),
            len(output.orders),
            len(output.limited_interactions),
        )
        removals.append(_Removal(lengths, observations, transfer))

    def apply(self, output: ShardOutput) -> None:
        """Take back from the output what was put out before the removals noted until now."""
        output.interactions = self._split(
            output.interactions, _INTERACTIONS, lambda transfer: transfer.interactions
        )
        output.feedback = self._split(
            output.feedback, _FEEDBACK, lambda transfer: transfer.feedback
        )
        output.orders = self._split(output.orders, _ORDERS, lambda transfer: transfer.orders)
        output.limited_interactions = self._split_limited(output.limited_interactions)
        dropped: dict[str, int] = {
            shopper_id: removals[-1].observations
            for shopper_id, removals in self._by_shopper.items()
        }
        output.observations = [
            observation
            for index, observation in enumerate(output.observations)
            if index >= dropped.get(observation.shopper, 0)
            and index >= dropped.get(observation.merged_into, 0)
        ]
        self._by_shopper.clear()

    def _split(
        self, entries: list[E], column: int, transferred: Callable[[StateTransfer], list[E]]
    ) -> list[E]:
        """The entries that stay; those of a transferred shopper go along as the user's."""
        staying: list[E] = []
        for index, entry in enumerate(entries):
            removal = self._removal_after(entry.shopper, column, index)
            if removal is None:
                staying.append(entry)
            elif (transfer := removal.transfer) is not None:
                transferred(transfer).append(replace(entry, shopper=transfer.shopper))
        return staying

    def _split_limited(self, entries: list[LimitedInteraction]) -> list[LimitedInteraction]:
        staying: list[LimitedInteraction] = []
        for index, entry in enumerate(entries):
            removal = self._removal_after(entry.interaction.shopper, _LIMITED, index)
            if removal is None:
                staying.append(entry)
            elif (transfer := removal.transfer) is not None:
                interaction = replace(entry.interaction, shopper=transfer.shopper)
                transfer.limited_interactions.append(LimitedInteraction(entry.refused, interaction))
        return staying

    def _removal_after(self, shopper_id: str, column: int, index: int) -> _Removal | None:
        """The first removal of a shopper after an entry; None if it stayed from then on."""
        removals = self._by_shopper.get(shopper_id)
        if removals is None:
            return None
        # Removals are in order of time: an entry before one of them is before all later ones.
        first = bisect_right(removals, index, key=lambda removal: removal.lengths[column])
        return removals[first] if first < len(removals) else None
