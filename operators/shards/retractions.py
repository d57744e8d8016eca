"""What a batch told of shoppers who are no more: not told, or told by the shard of their user.

Who leaves is noted with how much was told by then; one pass at the end sorts it out, so that a batch
in which many leave costs what is in it. What a shopper of the same name does later in the batch stays.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from state.messages import ShardOutput, StateTransfer


class Retraction(NamedTuple):
    """So much of each list was told of a shopper before it left; to a user with `transfer`, or for
    good."""

    interactions: int
    feedback: int
    orders: int
    limited: int
    observations: int
    transfer: StateTransfer | None


NO_RETRACTION = Retraction(0, 0, 0, 0, 0, None)
INTERACTION_COLUMN, FEEDBACK_COLUMN, ORDER_COLUMN, LIMITED_COLUMN, OBSERVATION_COLUMN = range(5)


class Retractions:
    """Who left in the batch at hand, in order."""

    def __init__(self) -> None:
        self._by_shopper: dict[str, list[Retraction]] = {}

    def __bool__(self) -> bool:
        return bool(self._by_shopper)

    def add(self, output: ShardOutput, shopper_id: str, transfer: StateTransfer | None) -> None:
        """A shopper leaves now. What models heard of one that moves stays."""
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
        """Sort out what was told until now."""
        interactions: list[Any] = []
        for entry, transfer in self._split(
            output.interactions, INTERACTION_COLUMN, lambda one: one[1], interactions
        ):
            transfer.interactions.append((entry[0], transfer.shopper, *entry[2:]))
        feedback: list[Any] = []
        for entry, transfer in self._split(
            output.feedback, FEEDBACK_COLUMN, lambda one: one[1], feedback
        ):
            transfer.feedback.append((entry[0], transfer.shopper, *entry[2:]))
        orders: list[Any] = []
        for entry, transfer in self._split(output.orders, ORDER_COLUMN, lambda one: one[0], orders):
            transfer.orders.append((transfer.shopper, *entry[1:]))
        limited: list[Any] = []
        for (bits, entry), transfer in self._split(
            output.limited_interactions, LIMITED_COLUMN, lambda one: one[1][1], limited
        ):
            transfer.limited_interactions.append((bits, (entry[0], transfer.shopper, *entry[2:])))
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
        """What goes with a move; what stays is added to `kept`."""
        for index, message in enumerate(messages):
            retractions = self._by_shopper.get(name_of(message), ())
            # In time order, so that what was told before one that left was told before all after it.
            first = bisect_right(retractions, index, key=lambda cut: cut[column])
            if first == len(retractions):
                kept.append(message)
            elif (transfer := retractions[first].transfer) is not None:
                yield message, transfer
