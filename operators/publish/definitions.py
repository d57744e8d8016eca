"""The definitions of the segments of this run: published whole once, then where they change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from state import keys
from state.segments import cluster_definition, cluster_segment_id, definition_writes

if TYPE_CHECKING:
    from operators.segments.assignment import SegmentAssignment
    from operators.segments.clusters.replica import ClusterReplica
    from operators.segments.propensity.replica import PropensityReplica
    from operators.segments.rules.versions import RuleVersions
    from state.messages import Write
    from state.segments import SegmentDefinition


class Definitions:
    """`are_published` is not stored: whether Redis is sure to hold all definitions."""

    def __init__(
        self,
        clusters: ClusterReplica,
        assignment: SegmentAssignment,
        propensity: PropensityReplica,
        rule_versions: RuleVersions,
    ) -> None:
        self.are_published = False
        self._clusters = clusters
        self._assignment = assignment
        self._propensity = propensity
        self._rule_versions = rule_versions

    def writes(self, now_ms: int) -> list[Write]:
        """All definitions, if they are not published; else those that changed."""
        renamed = self._clusters.take_renamed()
        writes: list[Write] = []
        if not self.are_published:
            writes += self._all(now_ms)
            self.are_published = True
        changed = [*_cluster_definitions(renamed), *self._propensity.changed_definitions()]
        return writes + definition_writes(changed, now_ms)

    def cluster_times(self, now_ms: int) -> list[Write]:
        """The time of definition of clusters, where Redis does not hold one."""
        ids = map(cluster_segment_id, self._clusters.definitions)
        return [("HSETNX", keys.definition_key(sid), "updated_ms", now_ms) for sid in ids]

    def _all(self, now_ms: int) -> list[Write]:
        writes = self._rule_versions.detect_changes(now_ms, self._assignment.memberships.size_of)
        fixed = [*self._assignment.definitions, *self._propensity.definitions]
        writes += definition_writes([*_cluster_definitions(self._clusters.definitions), *fixed])
        writes += [("HSETNX", keys.definition_key(one.id), "updated_ms", now_ms) for one in fixed]
        return writes + self._rule_versions.definitions()


def _cluster_definitions(defined: dict[int, tuple[str, int]]) -> list[SegmentDefinition]:
    return [cluster_definition(cluster, *one) for cluster, one in sorted(defined.items())]
