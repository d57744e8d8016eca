"""The step that sees every shopper: it takes batches that are whole through removal, segments, lists.

A barrier waits until all shards have handed in their part of a batch, and the steps that train what
they made of it, so that batches are processed whole and in one order.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from operators.personalize.aggregation import Aggregation
from operators.personalize.batch import Batch
from operators.personalize.compensation import compensate
from operators.personalize.eviction import Eviction
from operators.personalize.interactions import InteractionResolver, Resolved
from operators.personalize.learning import Learning
from operators.personalize.listing import Listing
from operators.personalize.output import batch_output
from operators.personalize.removal import Removal, removable_parts
from operators.personalize.segmentation import Segmentation
from operators.personalize.shopper_state import ShopperState
from operators.personalize.state import PersonalizationState
from operators.personalize.training.item_events import no_interactions
from operators.personalize.training.items_trained import ItemsTrained
from operators.tables.barrier import Barrier
from state.messages import ShardPart
from state.training import ClustersTrained, PropensityTrained

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.segments.changes import OrphanedChangesReader
    from state.changes import Change
    from state.config import Settings
    from state.journal import Journals
    from state.messages import BatchOutput, ShardOutput

STEP_ID = "personalize"
TRAINERS = 3
"""How many steps that train send a message of each batch."""

Trained = ItemsTrained | ClustersTrained | PropensityTrained
PersonalizeInput = ShardPart | Trained


class WholeBatch(NamedTuple):
    """All messages of one batch: the outputs of shards in their order, and what was trained of it."""

    outputs: list[ShardOutput]
    items: ItemsTrained
    clusters: ClustersTrained
    propensity: PropensityTrained

    @classmethod
    def from_messages(cls, messages: Sequence[PersonalizeInput]) -> WholeBatch:
        """The messages of a batch that is whole, in any order."""
        parts = [message for message in messages if isinstance(message, ShardPart)]
        [items] = [message for message in messages if isinstance(message, ItemsTrained)]
        [clusters] = [message for message in messages if isinstance(message, ClustersTrained)]
        [propensity] = [message for message in messages if isinstance(message, PropensityTrained)]
        outputs = [output for part in parts for output in part.outputs]
        outputs.sort(key=lambda output: output.shard)
        return cls(outputs, items, clusters, propensity)


class PersonalizeStep:
    """The state, and the steps that a batch goes through. Changes the state in place.

    What grows is stored in `journals`; without any, a snapshot holds it all. `orphaned_changes` reads,
    in a live run, what former runs left in Redis.
    """

    def __init__(
        self,
        settings: Settings,
        snapshot: bytes | None = None,
        journals: Journals | None = None,
        *,
        orphaned_changes: OrphanedChangesReader | None = None,
    ) -> None:
        self.state = PersonalizationState(settings, snapshot, journals)
        self._barrier: Barrier[PersonalizeInput] = Barrier(
            STEP_ID, settings.sessions.shards + TRAINERS
        )
        self._orphaned: list[Change] = []
        already_published: frozenset[Change] = frozenset()
        if orphaned_changes is not None:
            log = self.state.change_log
            self._orphaned, log.ids, already_published = orphaned_changes.orphans_after(log.ids)
        self._build_steps(settings, already_published)

    def _build_steps(self, settings: Settings, already_published: frozenset[Change]) -> None:
        """Give each step the parts of the state that it uses."""
        state = self.state
        recommender, clock, errors = state.recommender, state.clock, state.errors
        shopper_state = ShopperState(
            recommender,
            state.assignment,
            state.recent_views,
            state.shop,
        )
        self._removal = Removal(shopper_state, clock, errors)
        self._eviction = Eviction(shopper_state, settings.state, clock, errors)
        self._resolver = InteractionResolver(recommender.shoppers, state.memberships, clock)
        self._segmentation = Segmentation(
            recommender.shoppers,
            state.assignment,
            state.retirement,
            state.shop,
            clock,
            errors,
        )
        self._learning = Learning(
            recommender,
            state.memberships,
            state.recent_views,
            errors,
            removable_parts(shopper_state, clock),
            triggers=settings.triggers,
            already_published=already_published,
        )
        self._listing = Listing(recommender, settings.lists.rules.out_of_stock, clock, errors)
        self._aggregation = Aggregation(
            recommender.items,
            state.shop,
            state.counters,
            state.aggregates,
            clock,
            errors,
            recent_events=settings.serving.recent_events,
        )

    def process_batch(self, messages: Sequence[PersonalizeInput]) -> list[BatchOutput]:
        """Take in shards' parts and what was trained; the output of each batch that is whole now.

        Live batches that are whole at once are processed as one: half of what a small batch costs does
        not depend on what is in it. Recorded ones are not, so that a replay gives the same each time.
        """
        outputs: list[BatchOutput] = []
        live: list[WholeBatch] = []
        for arrived in chain.from_iterable(map(self._barrier.add, messages)):
            batch = arrived[0].batch
            for batch_id in (batch, *batch.joined):
                self.state.batches[batch_id.partition] = batch_id.number + 1
            whole = WholeBatch.from_messages(arrived)
            if batch.live:
                live.append(whole)
            else:
                outputs.append(self._process([whole]))
        if live:
            outputs.append(self._process(live))
        return outputs

    def _process(self, batches: Sequence[WholeBatch]) -> BatchOutput:
        """Take whole batches through all steps in one go, in their order.

        Each step takes the result of the one before: the types are the order. An order within a step
        is a comment there that begins with `Order`; each has a test
        (tests/operators/personalize/test_order.py).
        """
        state = self.state
        shoppers = state.recommender.shoppers
        for whole in batches:
            for output in whole.outputs:
                state.counters.update(output)
            state.clusters.apply(whole.clusters)
            state.propensity.apply(whole.propensity)
            state.recommender.write_replica(whole.items.trained.before)
        batch = Batch.from_outputs(
            [whole.outputs for whole in batches],
            [whole.items for whole in batches],
            [whole.clusters for whole in batches],
            [whole.propensity for whole in batches],
        )
        state.is_last_batch = batch.is_last
        orphaned, self._orphaned = self._orphaned, []
        compensated = compensate(orphaned, state.assignment, shoppers)
        state.clock.advance(batch.watermark_ms)
        removed = self._removal.remove(batch, compensated)
        state.journal_names_erased |= removed.has_erased
        resolved = state.errors.call_or_default(
            "clicks",
            Resolved(removed, no_interactions(), None),
            self._resolver.resolve,
            removed,
        )
        segmented = self._segmentation.segment(resolved)
        learned = self._learning.learn(segmented)
        listed = self._listing.write(learned)
        evicted = self._eviction.evict(listed)
        aggregated = self._aggregation.aggregate(evicted)
        return batch_output(
            aggregated,
            state.change_log,
            state.counters,
            state.recommender,
            state.errors,
        )

    @property
    def row_count(self) -> int:
        """How many shoppers have a row."""
        return self.state.row_count

    def on_epoch_end(self) -> None:
        """Raises BarrierError where a batch is not whole."""
        self._barrier.check_empty()

    def snapshot(self) -> bytes:
        """The state as versioned bytes. Raises BarrierError where a batch is not whole."""
        self._barrier.check_empty()
        return self.state.snapshot()
