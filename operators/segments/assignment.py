"""Assigns each shopper to its cluster, RFM segment and lifecycle stage.

Active shoppers are assigned at once. For inactive shoppers `advance_time` assigns some with each
batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from operators.publish import profile_fields
from operators.publish.shop_stats import ShopStats
from operators.segments.lifecycle import Lifecycle
from operators.segments.membership_index import MembershipIndex
from operators.segments.rfm import Rfm
from operators.segments.rules.compiler import load_rules
from operators.shoppers.features import PURCHASE_COLUMNS, SEEN_COLUMNS
from operators.tables.table import TableState
from state.arrays import NO_ROW
from state.money import to_column
from state.resp import pack_str
from state.segments import (
    RFM_NAMES,
    STAGES,
    SegmentDefinition,
    cluster_of_segment,
    cluster_segment_id,
    lifecycle_definitions,
    lifecycle_segment_id,
    rfm_definitions,
    rfm_segment_id,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from operators.segments.lifecycle import StageTimeline
    from operators.segments.membership_columns import SegmentIndexes
    from operators.tables.table import Arrays, Table
    from state.arrays import Rows, Times
    from state.changes import Change
    from state.config import Settings
    from state.interactions import RowIndex
    from state.messages import Write


class SegmentAssignment(TableState):
    """The membership index, and the state of RFM and lifecycle; either is None where it is turned
    off.

    `definitions` are those of the segments of fixed kinds.
    """

    def __init__(self, settings: Settings) -> None:
        self.rfm = Rfm(settings.rfm) if settings.rfm.enabled else None
        self.lifecycle = Lifecycle(settings.lifecycle) if settings.lifecycle.enabled else None
        self.definitions: list[SegmentDefinition] = []
        if self.rfm is not None:
            self.definitions += rfm_definitions()
        if self.lifecycle is not None:
            self.definitions += lifecycle_definitions(msgspec.structs.asdict(settings.lifecycle))
        self.shop = ShopStats()
        rules = load_rules(settings)
        by_rule = [] if rules is None else [rule.id for rule in rules.rules]
        self.memberships = MembershipIndex([*(one.id for one in self.definitions), *by_rule])
        self._suffixes: dict[tuple[int, int], tuple[str, int]] = {}
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
        """Assign active shoppers by their feature rows. Call `MembershipIndex.mark_active`
        before."""
        at_ms = raw[:, SEEN_COLUMNS[1]].astype(np.int64)
        indexes = self.cluster_indexes(cluster)
        changes = self.memberships.assign("cluster", shoppers, rows, indexes, at_ms)
        if self.lifecycle is not None:
            times = raw[:, SEEN_COLUMNS].astype(np.int64)
            moves = self._replay_stages(shoppers, rows, times)
            self.lifecycle.update(rows, times)
            changes += _add_stage_changes(moves + self._update_stage(shoppers, rows, now_ms))
        if self.rfm is not None:
            self.rfm.update(rows, to_column(raw[:, PURCHASE_COLUMNS]))
            if self.rfm.refresh_quantiles(now_ms):
                self.rfm.rescore(rows)
            changes += self._assign_rfm(shoppers, rows, at_ms)
        return changes

    def cluster_indexes(self, clusters: NDArray[np.int64]) -> SegmentIndexes:
        """Return the registry index of each cluster; NO_ROW for NO_ROW."""
        more = int(clusters.max(initial=NO_ROW)) + 2 - len(self._cluster_indexes)
        if more > 0:
            self._cluster_indexes = np.append(
                self._cluster_indexes, np.full(more, NO_ROW, np.int16)
            )
        indexes = self._cluster_indexes[clusters]
        for cluster in sorted({*clusters[(indexes == NO_ROW) & (clusters != NO_ROW)].tolist()}):
            self._cluster_indexes[cluster] = self.memberships.registry.index_of(
                cluster_segment_id(cluster)
            )
            indexes = self._cluster_indexes[clusters]
        return indexes

    def advance_time(
        self, shoppers: Sequence[str], now_ms: int, *, last: bool = False
    ) -> tuple[list[Change], list[Write]]:
        """Advance event time for inactive shoppers; `shoppers` are all names, by row.

        Some with each batch, all with the `last` one of a recording. Returns the changes, and the
        writes of profile fields.
        """
        changes: list[Change] = []
        writes: list[Write] = []
        for rows in self._stage_changes_due(now_ms, last=last):
            names = [shoppers[row] for row in rows.tolist()]
            changes += self._assign_first_stage(names, rows, now_ms)
            changes += _add_stage_changes(self._update_stage(names, rows, now_ms))
            writes += self.profile_writes(shoppers, rows)
        for rows in () if self.rfm is None else self.rfm.advance(now_ms, last=last):
            names = [shoppers[row] for row in rows.tolist()]
            at_ms = np.maximum(now_ms, self.memberships.last_ms[rows])
            changes += self._assign_rfm(names, rows, at_ms)
            writes += self.profile_writes(shoppers, rows)
        return changes, writes

    def _stage_changes_due(self, now_ms: int, *, last: bool) -> Iterator[Rows]:
        """Yield the shoppers whose stage time alone changes: some of them, or all."""
        if self.lifecycle is not None:
            while len(rows := self.lifecycle.take_due(now_ms, self._next_change_ms)):
                yield rows
                if not last:
                    return

    def remove(self, row: int, shopper: str, at_ms: int) -> list[Change]:
        """Remove a shopper from all segments. `row` is NO_ROW for a shopper without a row."""
        if row != NO_ROW:
            self._clear_rows(np.array([row], np.int32))
        return self.memberships.remove_from_all(row, shopper, at_ms)

    def merge_or_erase(self, row: int, into: int) -> None:
        """Move what a removed shopper did to another row (`into`), or delete it (NO_ROW:
        erased)."""
        if not 0 <= row < self.memberships.rows:
            return
        self.shop.remove_active(int(self.memberships.last_ms[row]))
        self.memberships.merge_or_erase(row, into)
        self.remove_shoppers(np.array([row], np.int32))

    def remove_shoppers(self, rows: Rows) -> None:
        """Clear the rows of these shoppers, who were removed from all segments before."""
        self.memberships.remove_shoppers(rows)

    def profile_suffixes(self, rows: Rows) -> list[tuple[str, int]]:
        """Return the packed RFM and stage fields of each row's profile, and their number of
        arguments."""
        score = np.zeros(len(rows), np.int16) if self.rfm is None else self.rfm.scores(rows)
        stage = self.memberships.exclusive["lifecycle"].segment[rows]
        pairs = zip(score.tolist(), stage.tolist(), strict=True)
        return [self._suffixes.get(pair) or self._pack_suffix(*pair) for pair in pairs]

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
        return scalars | {f"shop/{key}": array for key, array in self.shop.scalars().items()}

    def restore(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Restore a state that `arrays` returned."""
        self.memberships.restore({name: one for name, one in arrays.items() if "/" not in name})
        self._index_segments()
        if self.lifecycle is not None:
            stored = _without_prefix(arrays, "lifecycle/")
            self.lifecycle.restore(stored)
            self.lifecycle.ensure_rows(self.memberships.rows)
            if not stored:  # stored by an older release, or by a run without stages
                self.lifecycle.backfill(self._last_seen_ms())
            live = self.lifecycle.live_rows()
            self.lifecycle.schedule(live, self._next_change_ms(live))
        if self.rfm is not None:
            self.rfm.restore(_without_prefix(arrays, "rfm/"))
            self.rfm.ensure_rows(self.memberships.rows)
        self.shop.restore(_without_prefix(arrays, "shop/"))

    def _last_seen_ms(self) -> Times:
        """Return each shopper's last activity, 0 for one that may have been removed.

        Releases without stages kept the time of merged and erased shoppers, and removed only their
        memberships: there, a shopper without a segment gets a stage with its next event.
        """
        last_ms = self.memberships.last_ms[: self.memberships.rows]
        if not self.memberships.is_from_older_release:
            return last_ms
        rows = np.arange(self.memberships.rows, dtype=np.int32)
        return np.where(self.memberships.are_in_any(rows), last_ms, 0)

    def _parts(self) -> dict[str, TableState]:
        parts = {"rfm": self.rfm, "lifecycle": self.lifecycle}
        return {name: part for name, part in parts.items() if part is not None}

    def _update_stage(self, shoppers: Sequence[str], rows: Rows, now_ms: int) -> list[Change]:
        """Assign shoppers to their stages."""
        assert self.lifecycle is not None
        reached_ms = np.maximum(now_ms, self.lifecycle.last_ms(rows))
        timelines = self.lifecycle.timelines(rows)
        moves = self._apply_stages(shoppers, rows, timelines, reached_ms)
        # A late event may have changed the timeline: the stage is corrected from now on.
        index = self._stage_indexes[timelines.stage_at(reached_ms)]
        moves += self.memberships.assign("lifecycle", shoppers, rows, index, reached_ms)
        self.lifecycle.schedule(rows, timelines.next_change_ms(*self._stage_since(rows)))
        return moves

    def _assign_first_stage(self, shoppers: Sequence[str], rows: Rows, now_ms: int) -> list[Change]:
        """Assign shoppers without a stage to theirs, without the stages they went through
        before."""
        assert self.lifecycle is not None
        without_stage = np.flatnonzero(
            self.memberships.exclusive["lifecycle"].segment[rows] == NO_ROW
        )
        rows, names = rows[without_stage], [shoppers[i] for i in without_stage.tolist()]
        reached_ms = np.maximum(now_ms, self.lifecycle.last_ms(rows))
        index = self._stage_indexes[self.lifecycle.timelines(rows).stage_at(reached_ms)]
        return self.memberships.assign("lifecycle", names, rows, index, reached_ms)

    def _next_change_ms(self, rows: Rows) -> Times:
        """Return when the stage of each changes, NEVER_MS for never."""
        assert self.lifecycle is not None
        return self.lifecycle.timelines(rows).next_change_ms(*self._stage_since(rows))

    def _stage_since(self, rows: Rows) -> tuple[Times, NDArray[np.int8]]:
        """Return the stage of each, and since when; NO_ROW and -1 for none."""
        column = self.memberships.exclusive["lifecycle"]
        stage = self._stage_of_index[column.segment[rows]]
        return np.where(stage == NO_ROW, -1, column.since_ms[rows]), stage

    def _replay_stages(self, shoppers: Sequence[str], rows: Rows, times: Times) -> list[Change]:
        """Apply the stages of returning shoppers during their absence."""
        assert self.lifecycle is not None
        back, timelines, returned_ms = self.lifecycle.re_engaged(rows, times)
        return self._apply_stages(
            [shoppers[i] for i in back.tolist()], rows[back], timelines, returned_ms - 1
        )

    def _apply_stages(
        self, shoppers: Sequence[str], rows: Rows, timelines: StageTimeline, until_ms: Times
    ) -> list[Change]:
        """Apply stages one after the other, each at its own time, from a shopper's current one
        on."""
        since_ms, _ = self._stage_since(rows)
        moves: list[Change] = []
        for stage, moving, at_ms in timelines.transitions_between(since_ms, until_ms):
            index = np.full(len(moving), self._stage_indexes[stage], np.int16)
            names = [shoppers[i] for i in moving.tolist()]
            moves += self.memberships.assign("lifecycle", names, rows[moving], index, at_ms)
        return moves

    def _assign_rfm(self, shoppers: Sequence[str], rows: Rows, at_ms: Times) -> list[Change]:
        assert self.rfm is not None
        return self.memberships.assign(
            "rfm", shoppers, rows, self._rfm_indexes[self.rfm.segment_indexes(rows)], at_ms
        )

    def profile_writes(self, shoppers: Sequence[str], rows: Rows) -> list[Write]:
        """Return the RFM and stage fields of profiles; `shoppers` are all names, by row."""
        return [
            write
            for row in rows.tolist()
            for write in profile_fields.set_fields(shoppers[row], self._profile_fields(row))
        ]

    def correct_profiles(self, changes: Iterable[Change], shoppers: RowIndex) -> list[Write]:
        """Write the profiles of shoppers again of whom a crashed run published what does not
        hold."""
        affected = sorted({shoppers.get(change.shopper) for change in changes} - {NO_ROW})
        writes = self.profile_writes(shoppers.ids, np.array(affected, np.int32))
        for row in affected:
            index = self.memberships.segment_of("cluster", row)
            if index == NO_ROW:
                writes.append(
                    profile_fields.remove_fields(shoppers.ids[row], profile_fields.CLUSTER_FIELDS)
                )
            else:
                fields = {profile_fields.CLUSTER: self.memberships.registry.ids[index]}
                writes += profile_fields.set_fields(shoppers.ids[row], fields)
        return writes

    def _profile_fields(self, row: int) -> dict[str, str]:
        fields: dict[str, str] = {}
        if self.rfm is not None:
            score = int(self.rfm.score[row]) if row < len(self.rfm.score) else 0
            fields[profile_fields.RFM] = str(score) if score else ""
        if self.lifecycle is not None:
            stage = self.memberships.segment_of("lifecycle", row)
            fields[profile_fields.STAGE] = self._stage_names.get(stage, "")
        return fields

    def _pack_suffix(self, score: int, stage: int) -> tuple[str, int]:
        text, count = "", 0
        if score:
            text, count = pack_str("rfm") + pack_str(str(score)), 2
        if stage != NO_ROW:
            text, count = text + pack_str("stage") + pack_str(self._stage_names[stage]), count + 2
        self._suffixes[score, stage] = text, count
        return text, count

    def _clear_rows(self, rows: Rows) -> None:
        if self.lifecycle is not None:
            self.lifecycle.remove_shoppers(rows)
        if self.rfm is not None:
            self.rfm.remove_shoppers(rows)

    def _index_segments(self) -> None:
        """Look up the registry indexes of the segments of fixed kinds and of clusters."""
        find = self.memberships.registry.find
        self._rfm_indexes = np.array(
            [*(find(rfm_segment_id(name)) for name in RFM_NAMES), NO_ROW], np.int16
        )
        self._stage_indexes = np.array(
            [find(lifecycle_segment_id(name)) for name in STAGES], np.int16
        )
        # By place; the last one stands for NO_ROW.
        self._stage_of_index = np.full(len(self.memberships.registry) + 1, NO_ROW, np.int8)
        if self.lifecycle is not None:
            self._stage_of_index[self._stage_indexes] = range(len(STAGES))
        self._stage_names = {find(lifecycle_segment_id(name)): name for name in STAGES}
        numbers = (
            (cluster_of_segment(sid), index) for index, sid in self.memberships.registry.active()
        )
        clusters = {number: index for number, index in numbers if number is not None}
        # By number; the last one stands for NO_ROW.
        self._cluster_indexes = np.full(max(clusters, default=NO_ROW) + 2, NO_ROW, np.int16)
        self._cluster_indexes[list(clusters)] = list(clusters.values())
        self._suffixes.clear()


def _without_prefix(
    arrays: Mapping[str, NDArray[np.generic]], prefix: str
) -> dict[str, NDArray[np.generic]]:
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def _add_stage_changes(moves: Sequence[Change]) -> list[Change]:
    """Return the changes, with a "stage" change after each move from one stage to another."""
    changes: list[Change] = []
    left = ""
    for move in moves:
        changes.append(move)
        if move.kind == "enter" and left == move.shopper:
            changes.append(move._replace(kind="stage"))
        left = move.shopper if move.kind == "leave" else ""
    return changes
