"""Training and personalization as the flow joins them, without Bytewax: shards' parts in, writes out."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from operators.personalize.step import PersonalizeStep
from operators.personalize.training.clusters import ClusterTrainer, features_of
from operators.personalize.training.item_events import item_events_of
from operators.personalize.training.items import ItemTraining
from operators.personalize.training.propensity import PropensityTrainer, propensity_events_of
from operators.shards.sharding import sortable_parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.personalize.state import PersonalizationState
    from operators.segments.changes import OrphanedChangesReader
    from state.config import Settings
    from state.journal import Journals
    from state.messages import BatchOutput, ShardPart


class Snapshots(NamedTuple):
    """The snapshots of the steps at one moment."""

    personalize: bytes
    clusters: bytes
    items: bytes
    propensity: bytes


class Personalization:
    """The steps that see all of a batch, each with its state."""

    def __init__(
        self,
        settings: Settings,
        snapshots: Snapshots | None = None,
        journals: Journals | None = None,
        *,
        orphaned_changes: OrphanedChangesReader | None = None,
    ) -> None:
        self._shards = settings.sessions.shards
        personalize, clusters, items, propensity = snapshots or (None, None, None, None)
        self.step = PersonalizeStep(
            settings, personalize, journals, orphaned_changes=orphaned_changes
        )
        self.clusters = ClusterTrainer(settings, clusters, journals)
        self.items = ItemTraining(settings, items, journals)
        self.propensity = PropensityTrainer(settings, propensity, journals)

    @property
    def state(self) -> PersonalizationState:
        return self.step.state

    @property
    def row_count(self) -> int:
        return self.step.row_count

    def process_batch(self, parts: Sequence[ShardPart]) -> list[BatchOutput]:
        shards = self._shards
        sortable = [one for part in parts for one in sortable_parts(part, shards)]
        clusters = self.clusters.process_batch([features_of(part) for part in sortable])
        items = self.items.process_batch([item_events_of(part) for part in sortable])
        propensity = self.propensity.process_batch(
            [propensity_events_of(part) for part in sortable]
        )
        return self.step.process_batch([*parts, *clusters, *items, *propensity])

    def snapshot(self) -> Snapshots:
        return Snapshots(
            self.step.snapshot(),
            self.clusters.snapshot(),
            self.items.snapshot(),
            self.propensity.snapshot(),
        )
