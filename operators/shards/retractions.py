"""Takes back what a batch has put out about shoppers that were taken out of the shard since.

An erased shopper's output is dropped; that of a transferred shopper goes along to the shard of its user.
Each removal is noted with the lengths of the output lists. One pass at the end applies all of them, so a
batch with many removals costs no more than its length. What a shopper of the same id does later in the
batch stays.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from state.messages import LimitedInteraction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from state.messages import ShardOutput, StateTransfer


class Retraction(NamedTuple):
    """The lengths of the output lists when a shopper was taken out.

    Entries before that go to its user with `transfer`; without one they are dropped.
    """

    interactions: int
    feedback: int
    orders: int
    limited: int
    observations: int
    transfer: StateTransfer | None


NO_RETRACTION = Retraction(0, 0, 0, 0, 0, None)
INTERACTION_COLUMN, FEEDBACK_COLUMN, ORDER_COLUMN, LIMITED_COLUMN, OBSERVATION_COLUMN = range(5)


class Retractions:
    """The shoppers that were taken out in this batch, each with its removals in order of time."""

    def __init__(self) -> None:
        self._by_shopper: dict[str, list[Retraction]] = {}

    def __bool__(self) -> bool:
        return bool(self._by_shopper)

    def add(self, output: ShardOutput, shopper_id: str, transfer: StateTransfer | None) -> None:
        """Note that a shopper is taken out now. Observations of a transferred shopper stay."""
        retractions = self._by_shopper.setdefault(shopper_id, [])
        counts = (
            len(output.interactions),
            len(output.feedback),
            len(output.orders),
            len(output.limited_interactions),
        )
        observation_count = (
            len(output.observations)
            if transfer is None
            else (retractions[-1] if retractions else NO_RETRACTION).observations
        )
        retractions.append(Retraction(*counts, observation_count, transfer))

    def apply(self, output: ShardOutput) -> None:
        """Take back from the output what was put out before the removals noted until now."""
        interactions: list[Any] = []
        for entry, transfer in self._split(
            output.interactions, INTERACTION_COLUMN, lambda one: one.shopper, interactions
        ):
            transfer.interactions.append(replace(entry, shopper=transfer.shopper))
        feedback: list[Any] = []
        for entry, transfer in self._split(
            output.feedback, FEEDBACK_COLUMN, lambda one: one.shopper, feedback
        ):
            transfer.feedback.append(replace(entry, shopper=transfer.shopper))
        orders: list[Any] = []
        for entry, transfer in self._split(
            output.orders, ORDER_COLUMN, lambda one: one.shopper, orders
        ):
            transfer.orders.append(replace(entry, shopper=transfer.shopper))
        limited: list[Any] = []
        for entry, transfer in self._split(
            output.limited_interactions,
            LIMITED_COLUMN,
            lambda one: one.interaction.shopper,
            limited,
        ):
            interaction = replace(entry.interaction, shopper=transfer.shopper)
            transfer.limited_interactions.append(LimitedInteraction(entry.refused, interaction))
        output.interactions, output.feedback, output.orders, output.limited_interactions = (
            interactions,
            feedback,
            orders,
            limited,
        )
        observation_counts: dict[str | None, int] = {
            shopper_id: cuts[-1].observations for shopper_id, cuts in self._by_shopper.items()
        }
        output.observations = [
            one
            for n, one in enumerate(output.observations)
            if n
            >= max(
                observation_counts.get(one.shopper, 0), observation_counts.get(one.merged_into, 0)
            )
        ]
        self._by_shopper.clear()

    def _split(
        self, messages: Sequence[Any], column: int, name_of: Callable[[Any], str], kept: list[Any]
    ) -> Iterator[tuple[Any, StateTransfer]]:
        """Yields the entries that go with a transfer; adds those that stay to `kept`."""
        for index, message in enumerate(messages):
            retractions = self._by_shopper.get(name_of(message), ())
            # Removals are in order of time: an entry before one of them is before all later ones.
            first = bisect_right(retractions, index, key=lambda cut: cut[column])
            if first == len(retractions):
                kept.append(message)
            elif (transfer := retractions[first].transfer) is not None:
                yield message, transfer
