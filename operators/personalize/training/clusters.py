"""The step `train_clusters`: feature rows of active shoppers in, the cluster of each out.

It learns from the shoppers of a batch and assigns them, so that any estimator may be used: nothing of
it has to be sent. With the assignments go the changes that personalization must know (ended clusters,
new names) and the report of the clusters when it is due. Every batch gives exactly one message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.events.event_clock import EventClock
from operators.events.processing_errors import ProcessingErrors
from operators.publish.models import ClusterReport
from operators.publish.report_timer import ReportTimer
from operators.segments.clusters.model import ClusterModel
from operators.shards.sharding import canonical_order
from operators.shoppers.consent import personalized_indexes
from operators.shoppers.features import FEATURES, LAST_MS_COLUMN, feature_matrix, feature_rows
from operators.tables.barrier import Barrier
from operators.tables.table_store import LoadedTables, Tables, TableStore
from state.arrays import NO_ROW
from state.snapshots import CLUSTERS_CODEC, ClustersState, pack_arrays, unpack_arrays
from state.training import ClusterFeatures, ClustersTrained

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from state.config import Settings
    from state.journal import Journals
    from state.messages import ShardPart, Write

STEP_ID = "train_clusters"
JOURNAL = "clusters"  # stored


class ClusterTrainer:
    """The clusters, their names and versions, and how far the step has come. Changes its state in place.

    `accepted` is the number of counted events by shard: the report says of how many it is.
    """

    def __init__(
        self, settings: Settings, snapshot: bytes | None = None, journals: Journals | None = None
    ) -> None:
        clusters = settings.clusters
        self.errors = ProcessingErrors(STEP_ID)
        self.clusters = ClusterModel(
            clusters.k_range,
            len(FEATURES),
            half_life_points=clusters.half_life_points or None,
            seed=clusters.seed,
            radius=clusters.radius if clusters.algorithm == "dbstream" else None,
            estimator=clusters.estimator,
            drift_detector=clusters.drift_detector,
            errors=self.errors,
        )
        self._barrier: Barrier[ClusterFeatures] = Barrier(STEP_ID, settings.sessions.shards)
        self._clock = EventClock(settings.sessions.allowed_lateness_ms)
        self._table_store = TableStore(journals, JOURNAL)
        state = ClustersState() if snapshot is None else CLUSTERS_CODEC.decode(snapshot)
        self.definitions = state.definitions
        self._accepted = state.accepted
        self._batches = state.batches
        self._timer = ReportTimer(
            batch_numbers=self._batches,
            batch_events=settings.source.batch_events,
            every_ms=settings.lists.figures_every_ms,
            last_ms=state.report_ms,
        )
        self._is_first = True
        self._has_reported = False
        if snapshot is not None:
            self._restore(state)
        self._report = ClusterReport(self.clusters, self.definitions)

    def process_batch(self, messages: Sequence[ClusterFeatures]) -> list[ClustersTrained]:
        """Take in features of shards; one message for each batch that is whole now."""
        return [
            self._train(sorted(parts, key=lambda part: part.shard))
            for message in messages
            for parts in self._barrier.add(message)
        ]

    def _train(self, parts: list[ClusterFeatures]) -> ClustersTrained:
        batch = parts[0].batch
        for batch_id in (batch, *batch.joined):
            self._batches[batch_id.partition] = batch_id.number + 1
        for part in parts:
            for shard, accepted in part.accepted.items():
                self._accepted[shard] = max(self._accepted.get(shard, 0), accepted)
        trained = ClustersTrained(batch, parts[0].sequence)
        self._clock.advance(max(part.watermark_ms for part in parts))
        found = {
            shopper: (refused, features)
            for part in parts
            for shopper, refused, features in zip(
                part.shoppers, part.refused, part.features, strict=True
            )
        }
        active = {shopper: found[shopper] for shopper in sorted(found, key=canonical_order)}
        if active:
            with self.errors.isolate("clusters"):
                labels, distances = self._learn_and_assign(*zip(*active.values(), strict=True))
                trained.shoppers = [*active]
                trained.labels, trained.distances = labels.tobytes(), distances.tobytes()
        trained.retired, self.clusters.retired = [*self.clusters.retired.items()], {}
        last = any(part.last for part in parts)
        if self._timer.take_due(
            self._clock.reporting_time_ms,
            live=batch.live,
            first=not self._has_reported,
            last=last,
        ):
            self._has_reported = True
            trained.writes = self.errors.call_or_default(
                "figures", [], self._report_due, trained, last=last
            )
        if self._is_first:
            trained.renamed, self._is_first = self.current_definitions(), False
        trained.numbers, trained.next_id = self.clusters.numbers, self.clusters.next_id
        trained.drift_count = self.clusters.drift_detector.take_deltas()
        trained.error_counts = self.errors.take_counts()
        return trained

    def current_definitions(self) -> dict[int, tuple[str, int]]:
        """Name and version of each current cluster that has a name."""
        current = self.clusters.numbers
        return {n: definition for n, definition in self.definitions.items() if n in current}

    def _learn_and_assign(
        self, refused: Sequence[int], features: Sequence[bytes]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Learn the shoppers who do not refuse it; the clusters of these, and distances of all."""
        raw = feature_rows(features)
        self._clock.observe(int(raw[:, LAST_MS_COLUMN].max()))
        used = personalized_indexes(refused)
        matrix = feature_matrix(raw)
        self.clusters.learn(matrix[used])
        labels, distances = self.clusters.assign(matrix)
        if len(used) < len(labels):
            labels[np.setdiff1d(np.arange(len(labels)), used)] = NO_ROW
        return labels, distances

    def _report_due(self, trained: ClustersTrained, *, last: bool) -> list[Write]:
        trained.renamed = self._rename()
        return self.report_writes(last=last)

    def report_writes(self, *, last: bool) -> list[Write]:
        """The metrics of the clusters, and now and then, or with the last batch, their descriptions."""
        events = sum(self._accepted.values())
        return self._report.writes(events, self._clock.newest_event_ms, last=last)

    def _rename(self) -> dict[int, tuple[str, int]]:
        """Name the clusters anew by what sets them apart; those whose name changed."""
        former = {cluster: name for cluster, (name, _) in self.definitions.items()}
        names = self.clusters.name_clusters(FEATURES, former)
        renamed = {
            cluster: (name, self.definitions[cluster][1] if cluster in former else 1)
            for cluster, name in names.items()
            if former.get(cluster) != name
        }
        for cluster in former.keys() - names.keys():
            del self.definitions[cluster]
        self.definitions.update(renamed)
        return renamed

    @property
    def row_count(self) -> int:
        """How many clusters there are."""
        return len(self.clusters.numbers)

    def on_epoch_end(self) -> None:
        """Raises BarrierError where a batch is not whole."""
        self._barrier.check_empty()

    def snapshot(self) -> bytes:
        """The state as versioned bytes. Raises BarrierError where a batch is not whole."""
        self._barrier.check_empty()
        journal = self._table_store.store(Tables({"clusters": self.clusters}))
        arrays = self.clusters.arrays() if journal is None else self.clusters.scalars()
        return CLUSTERS_CODEC.encode(
            ClustersState(
                pack_arrays(arrays),
                self.definitions,
                self._accepted,
                self._clock.newest_event_ms,
                self._clock.event_time_ms,
                self._timer.last_ms,
                journal,
                self._batches,
            )
        )

    def _restore(self, state: ClustersState) -> None:
        loaded = LoadedTables({"clusters": unpack_arrays(state.clusters)})
        self._table_store.load(state.journal, loaded)
        self.clusters.restore(loaded.arrays["clusters"])
        self._clock.newest_event_ms, self._clock.event_time_ms = state.newest_ms, state.clock_ms


def features_of(part: ShardPart) -> ClusterFeatures:
    """What the clusters learn from of shards' part of a batch."""
    outputs = part.outputs
    active = [row for output in outputs for row in output.active]
    return ClusterFeatures(
        part.batch,
        part.sequence,
        part.shard,
        max(output.watermark_ms for output in outputs),
        any(output.last for output in outputs),
        [row.shopper for row in active],
        [row.refused for row in active],
        [row.features for row in active],
        {shard: totals.accepted for output in outputs for shard, totals in output.totals.items()},
        part.parts,
    )
