"""Publishes what is not one shopper's own: item lists, the shop's statistics, aggregates, counters."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from operators.events.event_clock import EventClock
    from operators.events.processing_errors import ProcessingErrors
    from operators.personalize.eviction import Evicted
    from operators.publish.aggregates import Aggregates
    from operators.publish.counters import Counters
    from operators.publish.shop_stats import ShopStats
    from state.interactions import RowIndex
    from state.messages import Write


class Aggregated(NamedTuple):
    """The whole batch, and what to write last."""

    evicted: Evicted
    writes: list[Write]


class Aggregation:
    """Counts the batch, and publishes aggregates when they are due."""

    def __init__(
        self,
        items: RowIndex,
        shop: ShopStats,
        counters: Counters,
        aggregates: Aggregates,
        clock: EventClock,
        errors: ProcessingErrors,
        *,
        recent_events: int,
    ) -> None:
        self._items = items
        self._shop = shop
        self._counters = counters
        self._aggregates = aggregates
        self._clock = clock
        self._errors = errors
        self._recent_events = recent_events

    def aggregate(self, evicted: Evicted) -> Aggregated:
        """Count what the batch led to, then publish the counts.

        Order 10: lists written and segment changes are counted first: the statistics of the shop and
        the counters below publish them. Both come with the argument.
        """
        listed = evicted.listed
        resolved = listed.learned.segmented.resolved
        batch, interactions = resolved.removed.batch, resolved.interactions
        counters, clock = self._counters, self._clock
        isolate, call_or_default = self._errors.isolate, self._errors.call_or_default
        counters.lists_written += listed.lists_written
        counters.segment_changes += sum(
            change.kind in ("enter", "leave") for change in evicted.changes
        )
        writes = batch.items.writes
        with isolate("shop"):
            self._shop.count_batch(
                batch.outputs, np.frombuffer(batch.received_ms, np.int64), interactions, counters
            )
            writes += self._shop.recent_event_writes(
                batch.outputs, self._recent_events, clock.reporting_time_ms
            )
        if self._aggregates.take_due(
            clock.reporting_time_ms, live=batch.is_live, last=batch.is_last
        ):
            writes += call_or_default(
                "figures",
                [],
                self._aggregates.writes,
                clock.newest_event_ms,
                clock.reporting_time_ms,
                max(self._shop.last_received_ms, clock.event_time_ms),
                batch.watermark_ms,
                last=batch.is_last,
            )
        writes.append(counters.meta_write(batch.watermark_ms, len(self._items.row_by_id)))
        return Aggregated(evicted, writes)
