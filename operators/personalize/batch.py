"""The batch that the personalization step takes in: whole, coalesced, as columns, frozen.

Change freely: columns may be added. The order of entries may not change: shoppers and items that are
new get their rows in the order in which events were read, so the stored state depends on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, TypeVar

from operators.personalize.batch_items import batch_items
from operators.personalize.coalesce import coalesce_batches
from operators.publish.profiles import add_changes
from operators.shards.sharding import canonical_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from operators.personalize.batch_items import BatchItems
    from operators.personalize.training.items_trained import ItemsTrained
    from state.entries import (
        ActiveShopper,
        ConsentWithdrawal,
        Feedback,
        MergedShopper,
        PlacedOrder,
        Transition,
    )
    from state.messages import ShardOutput, Write
    from state.training import ClustersTrained, PropensityTrained

T = TypeVar("T")

_POSITION = attrgetter("position")
_SHOPPER = attrgetter("shopper")


@dataclass(frozen=True, slots=True)
class Batch:
    """What all shards made of one batch, or of several live batches that came at once.

    `watermark_ms` is how far the source had come after it. `active` has the newest entry of each
    shopper. `items` are the interactions, and what was trained of them; `clusters` and `propensity`
    what was trained of each batch. `shard_writes` go to Redis before anything that this step writes,
    `expiry_writes` after the profiles.
    """

    outputs: Sequence[ShardOutput]
    watermark_ms: int
    is_last: bool
    is_live: bool
    received_ms: bytes
    active: Sequence[ActiveShopper]
    items: BatchItems
    feedback: Sequence[Feedback]
    transitions: Sequence[Transition]
    transitions_before_merge: Sequence[Transition]
    merged: Sequence[MergedShopper]
    erased: Sequence[tuple[str, int]]
    evicted: Sequence[tuple[str, int]]
    consent_withdrawals: Sequence[ConsentWithdrawal]
    orders: Sequence[PlacedOrder]
    double_counted_orders: Sequence[PlacedOrder]
    shard_writes: Sequence[Write]
    expiry_writes: Sequence[Write]
    clusters: Sequence[ClustersTrained]
    propensity: Sequence[PropensityTrained]

    @classmethod
    def from_outputs(
        cls,
        batches: Sequence[Sequence[ShardOutput]],
        items: Sequence[ItemsTrained],
        clusters: Sequence[ClustersTrained] = (),
        propensity: Sequence[PropensityTrained] = (),
    ) -> Batch:
        """The columns of whole batches, in their order, with what was trained of each."""
        # Order 1: coalescing comes before anything reads the entries of shoppers. This is the only
        # way to a `Batch`, so no step can see them as they were before.
        coalesced = coalesce_batches(batches)
        outputs = list(chain.from_iterable(coalesced))
        users = {one.anonymous_id: one.shopper for output in outputs for one in output.merged}
        return cls(
            outputs=outputs,
            watermark_ms=max(output.watermark_ms for output in outputs),
            is_last=any(output.last for output in outputs),
            is_live=outputs[0].batch.live,
            received_ms=b"".join(output.received_ms for output in outputs),
            active=_active_shoppers(outputs),
            items=batch_items(coalesced, items),
            feedback=_in_order(
                ([output.feedback for output in batch] for batch in coalesced), _POSITION
            ),
            transitions=_by_shopper(outputs, lambda output: output.transitions),
            transitions_before_merge=_by_shopper(
                outputs,
                lambda output: output.transitions_before_merge,
                # They come from the shard of the user.
                lambda entry: users.get(entry.shopper, entry.shopper),
            ),
            merged=_by_shopper(outputs, lambda output: output.merged),
            erased=_by_shopper(outputs, lambda output: output.erased, itemgetter(0)),
            evicted=_by_shopper(outputs, lambda output: output.evicted, itemgetter(0)),
            consent_withdrawals=_by_shopper(outputs, lambda output: output.consent_withdrawals),
            orders=_by_shopper(outputs, lambda output: output.orders),
            double_counted_orders=_by_shopper(outputs, lambda output: output.double_counted_orders),
            shard_writes=list(chain.from_iterable(map(_shard_writes, coalesced))),
            expiry_writes=[write for output in outputs for write in output.expiry_writes],
            clusters=clusters,
            propensity=propensity,
        )


def _active_shoppers(outputs: Iterable[ShardOutput]) -> list[ActiveShopper]:
    """The newest entry of each shopper, in an order that does not depend on the number of shards.

    If it has only what changed, it gets what earlier ones wrote.
    """
    newest: dict[str, ActiveShopper] = {}
    for output in outputs:
        for row in output.active:
            earlier = newest.get(row.shopper)
            newest[row.shopper] = (
                row if earlier is None or row.is_whole else add_changes(earlier, row)
            )
    return [newest[shopper] for shopper in sorted(newest, key=canonical_order)]


def _in_order(batches: Iterable[Iterable[Sequence[T]]], key: Callable[[T], int]) -> list[T]:
    """The entries of all shards, batch by batch, each batch sorted by `key`."""
    return [entry for lists in batches for entry in sorted(chain.from_iterable(lists), key=key)]


def _by_shopper(
    outputs: Iterable[ShardOutput],
    entries_of: Callable[[ShardOutput], Sequence[T]],
    shopper_of: Callable[[T], str] = _SHOPPER,
) -> list[T]:
    """The entries of all shards, in an order that does not depend on the number of shards."""
    entries = list(chain.from_iterable(map(entries_of, outputs)))
    return sorted(entries, key=lambda entry: canonical_order(shopper_of(entry)))


def _shard_writes(outputs: Sequence[ShardOutput]) -> Iterator[Write]:
    """The Redis commands of the shards of one batch, removals first: a shopper who was erased in one
    shard may be back in another one, which knows only the newer shopper."""
    yield from chain.from_iterable(output.removal_writes for output in outputs)
    yield from chain.from_iterable(output.writes for output in outputs)
