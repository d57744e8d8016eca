"""Puts the results of the steps together: one message for the sinks and the metrics."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from state.messages import BatchOutput

if TYPE_CHECKING:
    from operators.events.processing_errors import ProcessingErrors
    from operators.personalize.aggregation import Aggregated
    from operators.personalize.batch import Batch
    from operators.publish.counters import Counters
    from operators.recommend.recommender import Recommender
    from operators.segments.changes import ChangeLog


def batch_output(
    aggregated: Aggregated,
    change_log: ChangeLog,
    counters: Counters,
    recommender: Recommender,
    errors: ProcessingErrors,
) -> BatchOutput:
    """The output of a batch that went through all steps.

    Order 13: each result has its own field, and the sink writes the fields in their order. So what a
    freshness metric covers does not depend on where in this function a line stands.
    Order 14: the change log comes last, since every step adds changes, but is written first: a run that
    takes over from a crashed one undoes changes by the stream. The field says so, not the position.
    """
    evicted = aggregated.evicted
    listed = evicted.listed
    segmented = listed.learned.segmented
    removed = segmented.resolved.removed
    batch = removed.batch
    return BatchOutput(
        changes=change_log.writes(evicted.changes),
        shards=list(batch.shard_writes),
        removals=removed.writes,
        profiles=segmented.profiles,
        memberships=segmented.memberships,
        lists=listed.writes,
        # Order 11: after the profiles. EXPIRE of a key that does not exist does nothing.
        expiries=list(batch.expiry_writes),
        evictions=evicted.writes,
        aggregates=[
            *aggregated.writes,
            *(write for clusters in batch.clusters for write in clusters.writes),
            *(write for propensity in batch.propensity for write in propensity.writes),
        ],
        received_ms=batch.received_ms,
        watermark_ms=batch.watermark_ms,
        counter_deltas=counters.take_deltas(),
        online_metrics=recommender.components.online_evaluation.take_deltas(),
        drift_count=sum(trained.drift_count for trained in batch.clusters),
        explored=recommender.components.exploration.take_deltas(),
        error_counts=_error_counts(errors, batch),
        erased_shoppers=[name for name, _ in batch.erased],
    )


def _error_counts(errors: ProcessingErrors, batch: Batch) -> dict[str, int]:
    """How often what raised, in this step, in the shards and in the steps that train."""
    counts = Counter(errors.take_counts())
    for output in batch.outputs:
        counts.update(output.error_counts)
    for clusters in batch.clusters:
        counts.update(clusters.error_counts)
    for propensity in batch.propensity:
        counts.update(propensity.error_counts)
    for update in batch.items.updates:
        counts.update(update.error_counts)
    return dict(counts)
