"""Assigns each shopper to its cluster, RFM segment and lifecycle stage.

Active shoppers are assigned at once. For inactive shoppers `advance_time` assigns some with each batch.
The prefixes of the stored arrays are stored names: do not change them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.segments.kinds import KINDS
from operators.segments.membership_index import MembershipIndex
from operators.segments.rfm import Rfm
from operators.segments.rules.compiler import load_rules
from operators.segments.stage_assignment import StageAssignment
from operators.shoppers.features import PURCHASE_COLUMNS, SEEN_COLUMNS
from operators.tables.table import TableState, strip_prefix
from state.arrays import NO_ROW
from state.money import to_column
from state.profile_fields import CLUSTER, CLUSTER_FIELDS, RFM, STAGE, ProfileUpdate
from state.segments import (
    RFM_NAMES,
    STAGES,
    SegmentDefinition,
    cluster_of_segment,
    cluster_segment_id,
    lifecycle_segment_id,
    rfm_segment_id,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from operators.segments.segment_registry import SegmentIndexes
    from operators.tables.table import Arrays, Table
    from state.arrays import Rows
    from state.changes import Change
    from state.config import Settings
    from state.interactions import RowIndex


class SegmentAssignment(TableState):
    """The membership index, and the state of RFM and stages; either is None where it is turned off.

    `definitions` are those of the segments of fixed kinds.
    """

    def __init__(self, settings: Settings) -> None:
        self.definitions: list[SegmentDefinition] = [
            definition
            for kind in KINDS
            if kind.columns is not None and kind.is_enabled(settings)
            for definition in kind.definitions(settings)
        ]
        rules = load_rules(settings)
        rule_ids = [] if rules is None else [rule.id for rule in rules.rules]
        self.memberships = MembershipIndex([*(one.id for one in self.definitions), *rule_ids])
        self.rfm = Rfm(settings.rfm) if settings.rfm.enabled else None
        self.stages = (
            StageAssignment(settings.lifecycle, self.memberships)
            if settings.lifecycle.enabled
            else None
        )
        self._cluster_indexes: SegmentIndexes = np.empty(0, np.int16)
        self._index_segments()

    def assign_active(
        self,
        shoppers: Sequence[str],
        rows: Rows,
        raw: NDArray[np.float64],
        cluster: NDArray[np.int64],
        now_ms: int,
    ) -> list[Change]:
        """Assign active shoppers by their feature rows. Call `MembershipIndex.mark_active` before."""
        at_ms = raw[:, SEEN_COLUMNS[1]].astype(np.int64)
        indexes = self.cluster_indexes(cluster)
        changes = self.memberships.assign("cluster", shoppers, rows, indexes, at_ms)
        if self.stages is not None:
            times = raw[:, SEEN_COLUMNS].astype(np.int64)
            changes += self.stages.assign_active(shoppers, rows, times, now_ms)
        if self.rfm is not None:
            self.rfm.update(rows, to_column(raw[:, PURCHASE_COLUMNS]))
            if self.rfm.refresh_quantiles(now_ms):
                self.rfm.rescore(rows)
            changes += self._assign_rfm(self.rfm, shoppers, rows, at_ms)
        return changes

    def advance_time(
        self, names: Sequence[str], now_ms: int, *, last: bool = False
    ) -> tuple[list[Change], list[ProfileUpdate]]:
        """Advance event time for inactive shoppers; `names` are by row.

        Some with each batch, all with the `last` one of a recording. Returns the changes, and the new
        fields of the profiles.
        """
        changes: list[Change] = []
        updates: list[ProfileUpdate] = []
        if self.stages is not None:
            for rows, stage_changes in self.stages.advance_time(names, now_ms, last=last):
                changes += stage_changes
                updates += self.profile_updates(names, rows)
        if self.rfm is not None:
            for rows in self.rfm.advance(now_ms, last=last):
                shoppers = [names[row] for row in rows.tolist()]
                at_ms = np.maximum(now_ms, self.memberships.last_ms[rows])
                changes += self._assign_rfm(self.rfm, shoppers, rows, at_ms)
                updates += self.profile_updates(names, rows)
        return changes, updates

    def cluster_indexes(self, clusters: NDArray[np.int64]) -> SegmentIndexes:
        """Return the registry index of each cluster; NO_ROW for NO_ROW."""
        more = int(clusters.max(initial=NO_ROW)) + 2 - len(self._cluster_indexes)
        if more > 0:
            unknown = np.full(more, NO_ROW, np.int16)
            self._cluster_indexes = np.append(self._cluster_indexes, unknown)
        indexes = self._cluster_indexes[clusters]
        for cluster in sorted({*clusters[(indexes == NO_ROW) & (clusters != NO_ROW)].tolist()}):
            index = self.memberships.registry.index_of(cluster_segment_id(cluster))
            self._cluster_indexes[cluster] = index
            indexes = self._cluster_indexes[clusters]
        return indexes

    def remove(self, row: int, shopper: str, at_ms: int) -> list[Change]:
        """Remove a shopper from all segments. `row` is NO_ROW for a shopper without a row."""
        if row != NO_ROW:
            rows = np.array([row], np.int32)
            if self.stages is not None:
                self.stages.lifecycle.remove_shoppers(rows)
            if self.rfm is not None:
                self.rfm.remove_shoppers(rows)
        return self.memberships.remove_from_all(row, shopper, at_ms)

    def merge(self, row: int, into: int) -> None:
        """Move what a removed shopper did to another row (`into`), or delete it (NO_ROW: erased)."""
        if 0 <= row < self.memberships.rows:
            self.memberships.merge(row, into)
            self.remove_shoppers(np.array([row], np.int32))

    def remove_shoppers(self, rows: Rows) -> None:
        """Clear the rows of these shoppers, who were removed from all segments before."""
        self.memberships.remove_shoppers(rows)

    def rfm_and_stages(self, rows: Rows) -> list[tuple[int, str]]:
        """Return the RFM score of each row, 0 for none, and its stage, "" for none."""
        score = np.zeros(len(rows), np.int16) if self.rfm is None else self.rfm.scores(rows)
        stage = self.memberships.exclusive["lifecycle"].segment[rows]
        names = self._stage_names
        return [
            (rfm, names.get(index, ""))
            for rfm, index in zip(score.tolist(), stage.tolist(), strict=True)
        ]

    def profile_updates(self, names: Sequence[str], rows: Rows) -> list[ProfileUpdate]:
        """Return the RFM and stage fields of profiles; `names` are by row."""
        return [ProfileUpdate(names[row], self._profile_fields(row)) for row in rows.tolist()]

    def corrected_profiles(
        self, changes: Iterable[Change], shoppers: RowIndex
    ) -> list[ProfileUpdate]:
        """Return the fields of profiles of whose shoppers a crashed run published what does not hold."""
        affected = sorted({shoppers.get(change.shopper) for change in changes} - {NO_ROW})
        updates = self.profile_updates(shoppers.ids, np.array(affected, np.int32))
        for row in affected:
            index = self.memberships.segment_of("cluster", row)
            fields = dict.fromkeys(CLUSTER_FIELDS, "")
            if index != NO_ROW:
                fields = {CLUSTER: self.memberships.registry.ids[index]}
            updates.append(ProfileUpdate(shoppers.ids[row], fields))
        return updates

    def tables(self) -> Sequence[Table]:
        """The tables of all parts."""
        return [
            *self.memberships.tables(),
            *(
                table.prefixed(f"{name}/")
                for name, part in self._parts().items()
                for table in part.tables()
            ),
        ]

    def scalars(self) -> Arrays:
        """The scalars of all parts."""
        scalars = dict(self.memberships.scalars())
        for name, part in self._parts().items():
            scalars |= {f"{name}/{key}": array for key, array in part.scalars().items()}
        return scalars

    def restore(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Restore a state that `arrays` returned."""
        self.memberships.restore({name: one for name, one in arrays.items() if "/" not in name})
        self._index_segments()
        if self.stages is not None:
            self.stages.restore_lifecycle(strip_prefix("lifecycle/", arrays))
        if self.rfm is not None:
            self.rfm.restore(strip_prefix("rfm/", arrays))
            self.rfm.ensure_rows(self.memberships.rows)

    def _parts(self) -> dict[str, TableState]:
        """The stored parts, by their stored names."""
        lifecycle = None if self.stages is None else self.stages.lifecycle
        parts = {"rfm": self.rfm, "lifecycle": lifecycle}
        return {name: part for name, part in parts.items() if part is not None}

    def _assign_rfm(
        self, rfm: Rfm, shoppers: Sequence[str], rows: Rows, at_ms: NDArray[np.int64]
    ) -> list[Change]:
        indexes = self._rfm_indexes[rfm.segment_indexes(rows)]
        return self.memberships.assign("rfm", shoppers, rows, indexes, at_ms)

    def _profile_fields(self, row: int) -> dict[str, str]:
        fields: dict[str, str] = {}
        if self.rfm is not None:
            score = int(self.rfm.score[row]) if row < len(self.rfm.score) else 0
            fields[RFM] = str(score) if score else ""
        if self.stages is not None:
            stage = self.memberships.segment_of("lifecycle", row)
            fields[STAGE] = self._stage_names.get(stage, "")
        return fields

    def _index_segments(self) -> None:
        """Look up the registry indexes of the segments of fixed kinds and of clusters."""
        registry = self.memberships.registry
        rfm = [registry.find(rfm_segment_id(name)) for name in RFM_NAMES]
        self._rfm_indexes = np.array([*rfm, NO_ROW], np.int16)
        self._stage_names = {registry.find(lifecycle_segment_id(name)): name for name in STAGES}
        numbers = ((cluster_of_segment(sid), index) for index, sid in registry.active())
        clusters = {number: index for number, index in numbers if number is not None}
        # By number; the last one stands for NO_ROW.
        self._cluster_indexes = np.full(max(clusters, default=NO_ROW) + 2, NO_ROW, np.int16)
        self._cluster_indexes[list(clusters)] = list(clusters.values())
