"""What a fold of plain events puts out, event by event: interactions, observations, decisions."""

from __future__ import annotations

from bisect import bisect_left
from itertools import compress
from operator import itemgetter
from typing import TYPE_CHECKING

import numpy as np

from operators.kernels import shopper_columns as c
from operators.shards.active_rows import written_before
from operators.shards.counted_events import count_event
from operators.shards.event_columns import type_flags
from operators.shards.interactions import FEEDBACK_TYPES, put_out_feedback
from operators.shoppers import amounts
from operators.shoppers.id_hashes import id_hash
from state.entries import Interaction, ItemUpdate, PlacedOrder
from state.kpis import KIND_BY_TYPE
from state.messages import ShopperObservation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.kernels.shopper_columns import Outputs
    from operators.segments.rules.folded_operations import FoldedOperations
    from operators.shards.event_columns import PlainEventColumns
    from operators.shards.shard_shoppers import ShardShoppers
    from state.events import Event

_IS_OTHER = type_flags("purchase", *FEEDBACK_TYPES)
"""Events that put out more than interactions."""
_HAS_FACT = type_flags(*KIND_BY_TYPE)
"""Events that the key figures count."""


class FoldedEvents:
    """The events of a batch that were folded. `put_out_before` is called as the slow path goes on."""

    def __init__(
        self,
        shoppers: ShardShoppers,
        events: Sequence[Event],
        names: Sequence[str],
        positions: Sequence[int],
        columns: PlainEventColumns,
        outputs: Outputs,
        operations: FoldedOperations | None,
    ) -> None:
        results, active, before, decided, features, observations, observed_features, _, sums = (
            outputs
        )
        totals = sums.tolist()
        self._shoppers = shoppers
        self._events = events
        self._names = names
        self._positions = positions
        self._cells = columns.events
        self._outcomes = results[:, c.OUTCOME]
        is_counted = self._outcomes == c.COUNTED
        of_counted = is_counted[columns.owners]
        self._owners = columns.owners[of_counted]
        self._items = [*compress(columns.item_list, of_counted)]
        self._categories = columns.items[of_counted, c.CATEGORY]
        is_other = is_counted & _IS_OTHER[self._cells[:, c.TYPE]]
        self._others: list[int] = np.flatnonzero(is_other).tolist()
        self._with_facts: list[int] = []
        if shoppers.config.counts_kpis:
            has_fact = is_counted & _HAS_FACT[self._cells[:, c.TYPE]]
            self._with_facts = np.flatnonzero(has_fact).tolist()
        self._sessions_ms: list[int] = results[:, c.SESSION_START_MS].tolist()
        self._active: list[list[int]] = active[: totals[c.ACTIVE_COUNT]].tolist()
        self._before = before
        self._decided: list[int] = decided[: totals[c.DECISION_COUNT]].tolist()
        self._features = features
        self._observations: list[list[int]] = observations[: totals[c.OBSERVATION_COUNT]].tolist()
        self._observed_features = observed_features
        self._operations = operations
        self._next = self._next_active = self._next_decided = self._next_observation = 0
        self._count(totals)

    @property
    def positions(self) -> set[int]:
        """The positions of the events that are done; the others are for the slow path."""
        return {*compress(self._positions, self._outcomes != c.LEFT)}

    def put_out_before(self, position: int) -> None:
        """Put out what events before a position of the batch say."""
        end = bisect_left(self._positions, position, self._next)
        if end > self._next:
            self._put_out(self._next, end)
            self._next = end

    def put_out_all(self) -> None:
        """Put out the rest."""
        self._put_out(self._next, len(self._events))
        self._next = len(self._events)

    def _count(self, sums: list[int]) -> None:
        totals = self._shoppers.totals
        totals.accepted += sums[c.ACCEPTED]
        totals.duplicates += sums[c.DUPLICATES]
        totals.late += sums[c.LATE_EVENTS]
        totals.shoppers += sums[c.NEW_SHOPPERS]
        totals.sessions_opened += sums[c.OPENED]
        totals.saturated += sums[c.SATURATED]

    def _put_out(self, begin: int, end: int) -> None:
        self._begin_shoppers(end)
        self._put_out_observations(end)
        self._put_out_decisions(end)
        self._put_out_items(begin, end)
        facts = self._with_facts
        for number in facts[bisect_left(facts, begin) : bisect_left(facts, end)]:
            event = self._events[number]
            count_event(
                self._shoppers,
                self._names[number],
                event,
                id_hash(event.event_id),
                self._positions[number],
            )
        if self._operations is not None and self._shoppers.rule_engine is not None:
            self._shoppers.rule_engine.log_folded(self._operations, end)
        for number in self._others[
            bisect_left(self._others, begin) : bisect_left(self._others, end)
        ]:
            event = self._events[number]
            if event.type == "purchase":
                self._put_out_order(number, event)
            else:
                put_out_feedback(
                    self._shoppers, self._names[number], event, self._positions[number]
                )

    def _begin_shoppers(self, end: int) -> None:
        """Note who was active with these events, and what Redis holds of them."""
        shoppers, active, first = self._shoppers, self._active, self._next_active
        stop = bisect_left(active, end, first, key=itemgetter(c.FIRST_EVENT))
        self._next_active = stop
        text_of = shoppers.rows.texts.text_of
        for (_, number, previous_ms), before in zip(
            active[first:stop], self._before[first:stop].tolist(), strict=True
        ):
            name = self._names[number]
            shoppers.active_before_ms[name] = previous_ms
            if previous_ms >= 0:
                shoppers.written_before[name] = written_before(before, text_of[before[c.CURRENCY]])

    def _put_out_items(self, begin: int, end: int) -> None:
        """Put out the items of events. They are made by `map`: a loop takes several times as long."""
        first, last = np.searchsorted(self._owners, (begin, end)).tolist()
        if first == last:
            return
        owners: list[int] = self._owners[first:last].tolist()
        items, shoppers = self._items[first:last], self._shoppers
        events = [*map(self._events.__getitem__, owners)]
        item_ids = [item.item_id for item in items]
        at_ms: list[int] = self._cells[self._owners[first:last], c.AT_MS].tolist()
        shoppers.output.interactions += map(
            Interaction,
            map(self._positions.__getitem__, owners),
            map(self._names.__getitem__, owners),
            item_ids,
            [event.type for event in events],
            at_ms,
            map(self._sessions_ms.__getitem__, owners),
            map(shoppers.rows.texts.text_of.__getitem__, self._categories[first:last].tolist()),
            [event.country or "" for event in events],
        )
        item_updates = shoppers.item_updates
        for item_id, place in dict(zip(item_ids, range(len(items)), strict=True)).items():
            currency = amounts.price_currency(events[place])
            item_updates[item_id] = ItemUpdate(at_ms[place], items[place], currency)

    def _put_out_order(self, number: int, event: Event) -> None:
        shoppers, name = self._shoppers, self._names[number]
        value_micros = int(self._cells[number, c.VALUE_MICROS])
        shoppers.output.orders.append(PlacedOrder(name, value_micros, event.event_ts))
        shoppers.rows.add_order(name, event, shoppers.config.order_retention_ms)

    def _put_out_observations(self, end: int) -> None:
        output = self._shoppers.output
        while self._next_observation < len(self._observations):
            place = self._next_observation
            number, known_ms, until_ms, has_features = self._observations[place]
            if number >= end:
                return
            event = self._events[number]
            is_order = event.type == "purchase"
            output.observations.append(
                ShopperObservation(
                    self._names[number],
                    event.event_ts,
                    known_ms,
                    int(self._cells[number, c.VALUE_MICROS]) if is_order else None,
                    "",
                    until_ms,
                    self._observed_features[place].tobytes() if has_features else b"",
                )
            )
            self._next_observation += 1

    def _put_out_decisions(self, end: int) -> None:
        """Put out decisions: the hash of the event, the watermark, the feature row."""
        begin = self._next_decided
        self._next_decided = stop = bisect_left(self._decided, end, begin)
        if begin == stop:
            return
        heads = self._cells[self._decided[begin:stop]][:, [c.HASH, c.REACHED_MS]]
        self._shoppers.output.decisions += [
            head.tobytes() + features.tobytes()
            for head, features in zip(heads, self._features[begin:stop], strict=True)
        ]
