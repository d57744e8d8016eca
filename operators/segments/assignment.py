"""Where each shopper stands: cluster, RFM and lifecycle decided, and applied to the audience.

Whoever was active is decided at once; for the others time passes in `advance`, some at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from operators.publish import profile_fields
from operators.publish.shop_stats import Shop
from operators.segments.lifecycle import Lifecycle
from operators.segments.membership_index import Audience
from operators.segments.rfm import Rfm
from operators.segments.rules.compiler import rule_segments
from operators.shoppers.features import BOUGHT, SEEN
from operators.tables.table import Kept
from state.interactions import NOBODY
from state.money import column
from state.resp import bulk
from state.segments import (
    RFM_NAMES,
    STAGES,
    Definition,
    cluster_id,
    cluster_number,
    lifecycle_definitions,
    lifecycle_id,
    rfm_definitions,
    rfm_id,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from operators.segments.changes import Change
    from operators.segments.lifecycle import Steps
    from operators.segments.membership_columns import Segments
    from operators.tables.table import Arrays, Table
    from state.config import Settings
    from state.interactions import Rows, Times, Vocabulary
    from state.messages import Write


class Standing(Kept):
    """The audience, and what RFM and the lifecycle know of it; either is None where turned off.

    `definitions` are those of the segments that are always the same.
    """

    def __init__(self, settings: Settings) -> None:
        self.rfm = Rfm(settings.rfm) if settings.rfm.enabled else None
        self.lifecycle = Lifecycle(settings.lifecycle) if settings.lifecycle.enabled else None
        self.definitions: list[Definition] = []
        if self.rfm is not None:
            self.definitions += rfm_definitions()
        if self.lifecycle is not None:
            self.definitions += lifecycle_definitions(msgspec.structs.asdict(settings.lifecycle))
        self.shop = Shop()
        rules = rule_segments(settings)
        by_rule = [] if rules is None else [rule.id for rule in rules.rules]
        self.audience = Audience([*(one.id for one in self.definitions), *by_rule])
        self._tails: dict[tuple[int, int], tuple[str, int]] = {}
        self._clusters: Segments = np.empty(0, np.int16)
        self._find_places()

    def see(
        self,
        shoppers: Sequence[str],
        rows: Rows,
        raw: NDArray[np.float64],
        cluster: NDArray[np.int64],
        now_ms: int,
    ) -> list[Change]:
        """Decide for shoppers who were active, by their feature rows; `audience.see` comes first."""
        at_ms = raw[:, SEEN[1]].astype(np.int64)
        places = self.cluster_places(cluster)
        changes = self.audience.put("cluster", shoppers, rows, places, at_ms)
        if self.lifecycle is not None:
            times = raw[:, SEEN].astype(np.int64)
            moves = self._return(shoppers, rows, times)
            self.lifecycle.see(rows, times)
            changes += _with_stages(moves + self._live(shoppers, rows, now_ms))
        if self.rfm is not None:
            self.rfm.see(rows, column(raw[:, BOUGHT]))
            if self.rfm.round(now_ms):
                self.rfm.rate(rows)
            changes += self._rate(shoppers, rows, at_ms)
        return changes

    def cluster_places(self, clusters: NDArray[np.int64]) -> Segments:
        """Where the segments of clusters stand in the roster; NOBODY for NOBODY."""
        more = int(clusters.max(initial=NOBODY)) + 2 - len(self._clusters)
        if more > 0:
            self._clusters = np.append(self._clusters, np.full(more, NOBODY, np.int16))
        found = self._clusters[clusters]
        for cluster in sorted({*clusters[(found == NOBODY) & (clusters != NOBODY)].tolist()}):
            self._clusters[cluster] = self.audience.roster.place(cluster_id(cluster))
            found = self._clusters[clusters]
        return found

    def advance(
        self, shoppers: Sequence[str], now_ms: int, *, last: bool = False
    ) -> tuple[list[Change], list[Write]]:
        """Let time pass for those who are not active; `shoppers` are all names, by row.

        Some with each batch, all with the `last` one of a recording. Who moved, and what changes of
        their profiles.
        """
        changes: list[Change] = []
        writes: list[Write] = []
        for rows in self._due(now_ms, last=last):
            names = [shoppers[row] for row in rows.tolist()]
            changes += self._place(names, rows, now_ms)
            changes += _with_stages(self._live(names, rows, now_ms))
            writes += self.profiles(shoppers, rows)
        for rows in () if self.rfm is None else self.rfm.advance(now_ms, last=last):
            names = [shoppers[row] for row in rows.tolist()]
            at_ms = np.maximum(now_ms, self.audience.last_ms[rows])
            changes += self._rate(names, rows, at_ms)
            writes += self.profiles(shoppers, rows)
        return changes, writes

    def _due(self, now_ms: int, *, last: bool) -> Iterator[Rows]:
        """Shoppers whose stage time alone changes: some of them, or all."""
        if self.lifecycle is not None:
            while len(rows := self.lifecycle.due(now_ms, self._next_ms)):
                yield rows
                if not last:
                    return

    def drop(self, row: int, shopper: str, at_ms: int) -> list[Change]:
        """Take a shopper that is no more out of all segments; `row` is NOBODY for one never seen."""
        if row != NOBODY:
            self._forget(np.array([row], np.int32))
        return self.audience.drop(row, shopper, at_ms)

    def leave(self, row: int, heir: int) -> None:
        """A shopper who was dropped is no more; what was bought counts for the heir, if there is one."""
        if not 0 <= row < self.audience.rows:
            return
        self.shop.leave(int(self.audience.last_ms[row]))
        self.audience.leave(row, heir)
        self.forget(np.array([row], np.int32))

    def forget(self, rows: Rows) -> None:
        """These shoppers, who were dropped before, were never seen."""
        self.audience.forget(rows)

    def tails(self, rows: Rows) -> list[tuple[str, int]]:
        """What a profile says of RFM and stage, packed, and of how many arguments; for each row."""
        score = np.zeros(len(rows), np.int16) if self.rfm is None else self.rfm.scores(rows)
        stage = self.audience.dimensions["lifecycle"].segment[rows]
        pairs = zip(score.tolist(), stage.tolist(), strict=True)
        return [self._tails.get(pair) or self._tail(*pair) for pair in pairs]

    def tables(self) -> Sequence[Table]:
        """Those of all parts."""
        return [
            *self.audience.tables(),
            *(
                table.named(f"{name}/")
                for name, part in self._parts().items()
                for table in part.tables()
            ),
        ]

    def small(self) -> Arrays:
        """What is small of all parts."""
        small = dict(self.audience.small())
        for name, part in self._parts().items():
            small |= {f"{name}/{key}": array for key, array in part.small().items()}
        return small | {f"shop/{key}": array for key, array in self.shop.small().items()}

    def restore(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over a state that `arrays` gave."""
        self.audience.restore({name: one for name, one in arrays.items() if "/" not in name})
        self._find_places()
        if self.lifecycle is not None:
            stored = _part(arrays, "lifecycle/")
            self.lifecycle.restore(stored)
            self.lifecycle.reach(self.audience.rows)
            if not stored:  # by an older release, or by a run without stages
                self.lifecycle.know(self._seen_ms())
            live = self.lifecycle.live()
            self.lifecycle.wait(live, self._next_ms(live))
        if self.rfm is not None:
            self.rfm.restore(_part(arrays, "rfm/"))
            self.rfm.reach(self.audience.rows)
        self.shop.restore(_part(arrays, "shop/"))

    def _seen_ms(self) -> Times:
        """When each shopper was seen last, 0 for one that may be no more.

        Releases that knew no stages kept that of shoppers who were merged or erased, and took only
        their memberships: whoever is in no segment there gets a stage with the next event.
        """
        last_ms = self.audience.last_ms[: self.audience.rows]
        if not self.audience.is_older:
            return last_ms
        rows = np.arange(self.audience.rows, dtype=np.int32)
        return np.where(self.audience.are_anywhere(rows), last_ms, 0)

    def _parts(self) -> dict[str, Kept]:
        parts = {"rfm": self.rfm, "lifecycle": self.lifecycle}
        return {name: part for name, part in parts.items() if part is not None}

    def _live(self, shoppers: Sequence[str], rows: Rows, now_ms: int) -> list[Change]:
        """Put shoppers into their stages."""
        assert self.lifecycle is not None
        reached_ms = np.maximum(now_ms, self.lifecycle.last_ms(rows))
        steps = self.lifecycle.steps(rows)
        moves = self._step(shoppers, rows, steps, reached_ms)
        # What came late may have changed what was: it is put right from now on.
        place = self._stages[steps.stage(reached_ms)]
        moves += self.audience.put("lifecycle", shoppers, rows, place, reached_ms)
        self.lifecycle.wait(rows, steps.next_ms(*self._stand(rows)))
        return moves

    def _place(self, shoppers: Sequence[str], rows: Rows, now_ms: int) -> list[Change]:
        """Put those who are in no stage into theirs; which they went through before is not told."""
        assert self.lifecycle is not None
        nowhere = np.flatnonzero(self.audience.dimensions["lifecycle"].segment[rows] == NOBODY)
        rows, names = rows[nowhere], [shoppers[i] for i in nowhere.tolist()]
        reached_ms = np.maximum(now_ms, self.lifecycle.last_ms(rows))
        place = self._stages[self.lifecycle.steps(rows).stage(reached_ms)]
        return self.audience.put("lifecycle", names, rows, place, reached_ms)

    def _next_ms(self, rows: Rows) -> Times:
        """When the stage of each changes, NEVER_MS for never."""
        assert self.lifecycle is not None
        return self.lifecycle.steps(rows).next_ms(*self._stand(rows))

    def _stand(self, rows: Rows) -> tuple[Times, NDArray[np.int8]]:
        """Since when each is in which stage; -1 and NOBODY for none."""
        dimension = self.audience.dimensions["lifecycle"]
        stage = self._stage_at[dimension.segment[rows]]
        return np.where(stage == NOBODY, -1, dimension.since_ms[rows]), stage

    def _return(self, shoppers: Sequence[str], rows: Rows, times: Times) -> list[Change]:
        """What shoppers who come back became before they did."""
        assert self.lifecycle is not None
        back, steps, returned_ms = self.lifecycle.returned(rows, times)
        return self._step([shoppers[i] for i in back.tolist()], rows[back], steps, returned_ms - 1)

    def _step(
        self, shoppers: Sequence[str], rows: Rows, steps: Steps, until_ms: Times
    ) -> list[Change]:
        """Stages one after the other, each at its own time, from the one that a shopper is in."""
        since_ms, _ = self._stand(rows)
        moves: list[Change] = []
        for stage, who, at_ms in steps.between(since_ms, until_ms):
            place = np.full(len(who), self._stages[stage], np.int16)
            names = [shoppers[i] for i in who.tolist()]
            moves += self.audience.put("lifecycle", names, rows[who], place, at_ms)
        return moves

    def _rate(self, shoppers: Sequence[str], rows: Rows, at_ms: Times) -> list[Change]:
        assert self.rfm is not None
        return self.audience.put("rfm", shoppers, rows, self._names[self.rfm.places(rows)], at_ms)

    def profiles(self, shoppers: Sequence[str], rows: Rows) -> list[Write]:
        """What the profiles of shoppers say of RFM and stage now; `shoppers` are all names, by row."""
        return [
            write
            for row in rows.tolist()
            for write in profile_fields.changed(shoppers[row], self._fields(row))
        ]

    def put_right(self, changes: Iterable[Change], shoppers: Vocabulary) -> list[Write]:
        """Profiles of shoppers of whom a run that was lost told what does not hold."""
        found = sorted({shoppers.find(change.shopper) for change in changes} - {NOBODY})
        writes = self.profiles(shoppers.ids, np.array(found, np.int32))
        for row in found:
            place = self.audience.segment_of("cluster", row)
            if place == NOBODY:
                writes.append(
                    profile_fields.forgotten(shoppers.ids[row], profile_fields.OF_CLUSTER)
                )
            else:
                said = {profile_fields.CLUSTER: self.audience.roster.ids[place]}
                writes += profile_fields.changed(shoppers.ids[row], said)
        return writes

    def _fields(self, row: int) -> dict[str, str]:
        fields: dict[str, str] = {}
        if self.rfm is not None:
            score = int(self.rfm.score[row]) if row < len(self.rfm.score) else 0
            fields[profile_fields.RFM] = str(score) if score else ""
        if self.lifecycle is not None:
            stage = self.audience.segment_of("lifecycle", row)
            fields[profile_fields.STAGE] = self._stage_names.get(stage, "")
        return fields

    def _tail(self, score: int, stage: int) -> tuple[str, int]:
        text, count = "", 0
        if score:
            text, count = bulk("rfm") + bulk(str(score)), 2
        if stage != NOBODY:
            text, count = text + bulk("stage") + bulk(self._stage_names[stage]), count + 2
        self._tails[score, stage] = text, count
        return text, count

    def _forget(self, rows: Rows) -> None:
        if self.lifecycle is not None:
            self.lifecycle.forget(rows)
        if self.rfm is not None:
            self.rfm.forget(rows)

    def _find_places(self) -> None:
        """Where the fixed segments stand in the roster."""
        find = self.audience.roster.find
        self._names = np.array([*(find(rfm_id(name)) for name in RFM_NAMES), NOBODY], np.int16)
        self._stages = np.array([find(lifecycle_id(name)) for name in STAGES], np.int16)
        # By place; the last one stands for NOBODY.
        self._stage_at = np.full(len(self.audience.roster) + 1, NOBODY, np.int8)
        if self.lifecycle is not None:
            self._stage_at[self._stages] = range(len(STAGES))
        self._stage_names = {find(lifecycle_id(name)): name for name in STAGES}
        numbers = ((cluster_number(sid), place) for place, sid in self.audience.roster.living())
        clusters = {number: place for number, place in numbers if number is not None}
        # By number; the last one stands for NOBODY.
        self._clusters = np.full(max(clusters, default=NOBODY) + 2, NOBODY, np.int16)
        self._clusters[list(clusters)] = list(clusters.values())
        self._tails.clear()


def _part(arrays: Mapping[str, NDArray[np.generic]], prefix: str) -> dict[str, NDArray[np.generic]]:
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def _with_stages(moves: Sequence[Change]) -> list[Change]:
    """Moves from stage to stage, told as that too."""
    changes: list[Change] = []
    left = ""
    for move in moves:
        changes.append(move)
        if move.kind == "enter" and left == move.shopper:
            changes.append(move._replace(kind="stage"))
        left = move.shopper if move.kind == "leave" else ""
    return changes
