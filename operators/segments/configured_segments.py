"""The segments that a run has: where they come from, and which of them are configured.

Read by retirement: a segment in the registry that is not configured retires.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from operators.segments.kinds import KINDS
from state.segments import cluster_segment_id

if TYPE_CHECKING:
    from operators.segments.clusters.replica import ClusterReplica
    from operators.segments.membership_index import MembershipIndex
    from operators.segments.propensity.replica import PropensityReplica
    from state.config import Settings
    from state.segments import SegmentDefinition


@dataclass(frozen=True, slots=True)
class ConfiguredSegments:
    """What decides which segments there are. `fixed_ids`: the segments of RFM, lifecycle and rules of
    this run; `built_in`: those of all fixed kinds, turned on or not."""

    memberships: MembershipIndex
    clusters: ClusterReplica
    propensity: PropensityReplica
    fixed_ids: frozenset[str]
    built_in: tuple[SegmentDefinition, ...]

    def configured_ids(self) -> set[str]:
        """Return the segments of this run."""
        propensity = {one.id for one in self.propensity.definitions}
        clusters = {cluster_segment_id(number) for number in self.clusters.numbers}
        return {*self.fixed_ids, *propensity, *clusters}


def built_in_definitions(settings: Settings) -> tuple[SegmentDefinition, ...]:
    """Return the segments of all kinds, whether they are enabled or not."""
    return tuple(one for kind in KINDS for one in kind.definitions(settings))
