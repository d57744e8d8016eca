"""Assigns shoppers to lifecycle stages: active ones with their events, inactive ones as time passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.segments.lifecycle import Lifecycle
from state.arrays import NO_ROW
from state.segments import STAGES, lifecycle_segment_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from operators.segments.lifecycle import StageTimeline
    from operators.segments.membership_index import MembershipIndex
    from state import config
    from state.arrays import Rows, Times
    from state.changes import Change


class StageAssignment:
    """Applies the stages that `lifecycle` computes to the memberships."""

    def __init__(self, spans: config.Lifecycle, memberships: MembershipIndex) -> None:
        self.lifecycle = Lifecycle(spans)
        self._memberships = memberships
        self._index_stages()

    def assign_active(
        self, shoppers: Sequence[str], rows: Rows, times: Times, now_ms: int
    ) -> list[Change]:
        """Assign active shoppers by their times (ms): first, last, away, returned, int64[n, 4]."""
        changes = self._replay_absence(shoppers, rows, times)
        self.lifecycle.update(rows, times)
        return _add_stage_changes(changes + self._update_stage(shoppers, rows, now_ms))

    def advance_time(
        self, names: Sequence[str], now_ms: int, *, last: bool
    ) -> Iterator[tuple[Rows, list[Change]]]:
        """Yield the rows whose stage time alone changes, with their changes: some of them, with `last`
        all. `names` are by row."""
        while len(rows := self.lifecycle.take_due(now_ms, self._next_change_ms)):
            shoppers = [names[row] for row in rows.tolist()]
            changes = self._assign_first_stage(shoppers, rows, now_ms)
            changes += _add_stage_changes(self._update_stage(shoppers, rows, now_ms))
            yield rows, changes
            if not last:
                return

    def restore_lifecycle(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Restore the state of the lifecycle, and schedule all changes; the memberships come first."""
        self._index_stages()
        self.lifecycle.restore(arrays)
        self.lifecycle.ensure_rows(self._memberships.rows)
        if not arrays:  # stored by an older release, or by a run without stages
            self.lifecycle.backfill(self._last_seen_ms())
        rows = self.lifecycle.live_rows()
        self.lifecycle.schedule(rows, self._next_change_ms(rows))

    def _index_stages(self) -> None:
        registry = self._memberships.registry
        stages = [registry.find(lifecycle_segment_id(name)) for name in STAGES]
        self._stage_indexes = np.array(stages, np.int16)
        # By segment index; the last one stands for NO_ROW.
        self._stage_of_index = np.full(len(registry) + 1, NO_ROW, np.int8)
        self._stage_of_index[self._stage_indexes] = range(len(STAGES))

    def _last_seen_ms(self) -> Times:
        """Return each shopper's last activity, 0 for one that may have been removed.

        Releases without stages kept the time of merged and erased shoppers, and removed only their
        memberships: there, a shopper without a segment gets a stage with its next event.
        """
        memberships = self._memberships
        last_ms = memberships.last_ms[: memberships.rows]
        if not memberships.is_from_older_release:
            return last_ms
        rows = np.arange(memberships.rows, dtype=np.int32)
        return np.where(memberships.are_in_any(rows), last_ms, 0)

    def _update_stage(self, shoppers: Sequence[str], rows: Rows, now_ms: int) -> list[Change]:
        reached_ms = np.maximum(now_ms, self.lifecycle.last_ms(rows))
        timelines = self.lifecycle.timelines(rows)
        changes = self._apply_stages(shoppers, rows, timelines, reached_ms)
        # A late event may have changed the timeline: the stage is corrected from now on.
        index = self._stage_indexes[timelines.stage_at(reached_ms)]
        changes += self._memberships.assign("lifecycle", shoppers, rows, index, reached_ms)
        self.lifecycle.schedule(rows, timelines.next_change_ms(*self._stage_since(rows)))
        return changes

    def _assign_first_stage(self, shoppers: Sequence[str], rows: Rows, now_ms: int) -> list[Change]:
        """Assign shoppers without a stage to theirs, without the stages they went through before."""
        segment = self._memberships.exclusive["lifecycle"].segment
        without_stage = np.flatnonzero(segment[rows] == NO_ROW)
        rows, names = rows[without_stage], [shoppers[i] for i in without_stage.tolist()]
        reached_ms = np.maximum(now_ms, self.lifecycle.last_ms(rows))
        index = self._stage_indexes[self.lifecycle.timelines(rows).stage_at(reached_ms)]
        return self._memberships.assign("lifecycle", names, rows, index, reached_ms)

    def _replay_absence(self, shoppers: Sequence[str], rows: Rows, times: Times) -> list[Change]:
        """Apply the stages that returning shoppers went through during their absence."""
        returning, timelines, returned_ms = self.lifecycle.re_engaged(rows, times)
        if not len(returning):
            return []
        names = [shoppers[i] for i in returning.tolist()]
        return self._apply_stages(names, rows[returning], timelines, returned_ms - 1)

    def _apply_stages(
        self, shoppers: Sequence[str], rows: Rows, timelines: StageTimeline, until_ms: Times
    ) -> list[Change]:
        """Apply stages one after the other, each at its own time, from a shopper's current one on."""
        since_ms, _ = self._stage_since(rows)
        changes: list[Change] = []
        for stage, moving, at_ms in timelines.transitions_between(since_ms, until_ms):
            index = np.full(len(moving), self._stage_indexes[stage], np.int16)
            names = [shoppers[i] for i in moving.tolist()]
            changes += self._memberships.assign("lifecycle", names, rows[moving], index, at_ms)
        return changes

    def _next_change_ms(self, rows: Rows) -> Times:
        """Return when the stage of each changes, NEVER_MS for never."""
        return self.lifecycle.timelines(rows).next_change_ms(*self._stage_since(rows))

    def _stage_since(self, rows: Rows) -> tuple[Times, NDArray[np.int8]]:
        """Return since when each is in which stage; -1 and NO_ROW for none."""
        column = self._memberships.exclusive["lifecycle"]
        stage = self._stage_of_index[column.segment[rows]]
        return np.where(stage == NO_ROW, -1, column.since_ms[rows]), stage


def _add_stage_changes(changes: Sequence[Change]) -> list[Change]:
    """Return the changes, with a "stage" change after each move from one stage to another."""
    result: list[Change] = []
    left = ""
    for change in changes:
        result.append(change)
        if change.kind == "enter" and left == change.shopper:
            result.append(change._replace(kind="stage"))
        left = change.shopper if change.kind == "leave" else ""
    return result
