"""Folds the plain events of a batch in one compiled call, and puts out what they say, event by event.

An event is plain if it does not more than count (`event_columns.is_plain`). A shopper whose events of a
batch are all plain is folded here; the events of all others take the slow path (`processor`), with the
same result. What the fold puts out goes into the output before what a later event of the slow path does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.events.processing_errors import FATAL_ERRORS
from operators.kernels import fold as kernels
from operators.kernels import shopper_columns as c
from operators.segments.propensity.decision_times import TICK_MS
from operators.shards.event_columns import event_columns
from operators.shards.folded_events import FoldedEvents
from operators.shards.rule_fold import RuleFold
from operators.shoppers.id_hashes import HASH_BYTES, id_hash
from state.arrays import NO_ROW

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from operators.kernels.shopper_columns import Outputs
    from operators.shards.event_columns import PlainEventColumns
    from operators.shards.shard_shoppers import ShardShoppers
    from state.events import Event

EVENTS_MIN, EVENTS_MIN_WITH_RULES = 48, 16
"""Fewer plain events than this take the slow path: a fold of them would cost as much or more. With
segment rules each event of the slow path costs twice as much."""
_NO_COLUMNS = np.empty(0, np.int64)


class PlainFold:
    """Folds batches of plain events into the table of a shard."""

    def __init__(self, shoppers: ShardShoppers) -> None:
        config = shoppers.config
        self._shoppers = shoppers
        self._is_possible = not config.consent_policy.denies_by_default
        self._settings = np.zeros(c.SETTINGS, np.int64)
        self._settings[c.GAP_MS] = config.gap_ms
        self._settings[c.HASHES_MAX] = config.event_hash_bytes_max // HASH_BYTES
        self._settings[c.AFFINITIES_MAX] = config.affinities.counts_max
        self._settings[c.SAMPLE_OF_256] = config.sample_of_256
        self._settings[c.DECISION_TICKS] = config.decision_ticks
        self._settings[c.TICK_MS] = TICK_MS
        self._settings[c.IDLE_MS] = config.idle_ms
        self._settings[c.KNOWN_IDLE_MS] = config.known_idle_ms
        self._settings[c.ABSENCE_MS] = config.absence_ms
        self._settings[c.LATENESS_MS] = config.lateness_ms
        engine = shoppers.rule_engine
        self._rules = (
            None if engine is None else RuleFold(engine, shoppers.rows, config.lateness_ms)
        )
        self._reals = np.array([config.affinities.half_life_ms, 2.0])

    def is_worthwhile(self, events: int) -> bool:
        """Whether so many events can be folded, and should be."""
        events_min = EVENTS_MIN if self._rules is None else EVENTS_MIN_WITH_RULES
        return self._is_possible and events >= events_min

    def fold(
        self,
        events: Sequence[Event],
        names: Sequence[str],
        positions: Sequence[int],
        watermarks_ms: Sequence[int],
        known_names: Container[str],
    ) -> FoldedEvents | None:
        """Fold the events that can be, of these plain ones by shoppers who have no others."""
        shoppers = self._shoppers
        if not self.is_worthwhile(len(events)):
            return None
        additions: Sequence[Sequence[int]] = ()
        if self._rules is not None:
            try:
                additions = self._rules.additions_of(events)
            except FATAL_ERRORS:
                raise
            except Exception:
                # A bug: the slow path isolates the event with which it raises.
                return None
        rows = self._rows(events, names, known_names)
        folded = [number for number, name in enumerate(names) if rows[name] >= 0]
        if len(folded) < len(events):
            events = [events[number] for number in folded]
            names = [names[number] for number in folded]
            positions = [positions[number] for number in folded]
            watermarks_ms = [watermarks_ms[number] for number in folded]
            additions = [additions[number] for number in folded] if additions else ()
        if not events:
            return None
        columns = event_columns(
            events,
            [rows[name] for name in names],
            watermarks_ms,
            None if shoppers.is_single_partition else shoppers.output.watermark_ms,
            shoppers.rows.texts,
        )
        shoppers.rows.watch_sessions(min(watermarks_ms))
        outputs = self._run(columns)
        operations = None
        if self._rules is not None:
            operations = self._rules.operations_of(
                events, names, additions, columns.events, outputs
            )
        return FoldedEvents(shoppers, events, names, positions, columns, outputs, operations)

    def _rows(
        self, events: Sequence[Event], names: Sequence[str], known_names: Container[str]
    ) -> dict[str, int]:
        """The rows of shoppers; NO_ROW for those whose events take the slow path."""
        table, rows = self._shoppers.rows, dict.fromkeys(names, NO_ROW)
        slow = self._with_known_orders(events, names)
        plain = [
            name
            for name in rows
            if name not in slow and table.is_plain(name, known=name in known_names)
        ]
        loaded = plain if self._rules is None else self._rules.load_all(plain)
        for name in loaded:
            # If a bug has put a wrong value into it, the slow path isolates what that leads to.
            try:
                rows[name] = table.row_for(name, known=name in known_names)
            except FATAL_ERRORS:
                raise
            except Exception:
                rows[name] = NO_ROW
        return rows

    def _with_known_orders(self, events: Sequence[Event], names: Sequence[str]) -> set[str]:
        """The shoppers with an order that was seen before: a duplicate, or one with refunds."""
        placed: set[tuple[str, bytes]] = set()
        found: set[str] = set()
        for event, name in zip(events, names, strict=True):
            if event.type == "purchase" and event.order_id is not None:
                order_hash = id_hash(event.order_id)
                if (name, order_hash) in placed or self._shoppers.rows.has_order(name, order_hash):
                    found.add(name)
                placed.add((name, order_hash))
        return found

    def _run(self, columns: PlainEventColumns) -> Outputs:
        table, settings, count = self._shoppers.rows, self._settings, len(columns.events)
        rule_columns = _NO_COLUMNS if self._rules is None else self._rules.columns
        settings[c.BATCH] += 1
        decided = count if settings[c.SAMPLE_OF_256] else 0
        observed = count if settings[c.DECISION_TICKS] else 0
        outputs = (
            np.zeros((count, c.RESULT_COLUMNS), np.int64),
            np.empty((count, 3), np.int64),
            np.empty((count, c.BEFORE_COLUMNS), np.int64),
            np.empty(decided, np.int64),
            np.empty((decided, c.FEATURE_COLUMNS)),
            np.empty((observed, 4), np.int64),
            np.empty((observed, c.FEATURE_COLUMNS)),
            np.empty((count, len(rule_columns)), np.int64),
            np.zeros(c.TOTALS, np.int64),
        )
        start = 0
        while start != kernels.ALL_DONE:
            start = kernels.fold_events(
                table.arrays,
                columns.events,
                columns.items,
                settings,
                self._reals,
                rule_columns,
                outputs,
                start,
            )
            if start != kernels.ALL_DONE:
                table.grow_pool(int(outputs[-1][c.LACKING_POOL]))
        return outputs
