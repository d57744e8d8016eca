"""Writes the lists of the shoppers of a batch, and makes lists anew that hold what sold out."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from operators.publish.shopper_lists import fill_empty_lists, write_lists
from operators.publish.stockouts import shopper_stockout_writes

if TYPE_CHECKING:
    from operators.events.event_clock import EventClock
    from operators.events.processing_errors import ProcessingErrors
    from operators.personalize.learning import Learned
    from operators.recommend.recommender import Recommender
    from state.config_lists import OutOfStock
    from state.messages import Write


class Listed(NamedTuple):
    """The learned batch and the lists to write; `lists_written` are those of active shoppers."""

    learned: Learned
    writes: list[Write]
    lists_written: int


class Listing:
    """Makes lists by what is known after the batch."""

    def __init__(
        self,
        recommender: Recommender,
        out_of_stock: OutOfStock,
        clock: EventClock,
        errors: ProcessingErrors,
    ) -> None:
        self._recommender = recommender
        self._out_of_stock = out_of_stock
        self._clock = clock
        self._errors = errors

    def write(self, learned: Learned) -> Listed:
        """Lists of the active shoppers, of items that sold out, and of shoppers who had an empty one."""
        resolved = learned.segmented.resolved
        batch, now_ms = resolved.removed.batch, self._clock.newest_event_ms
        active, items = batch.active, batch.items
        call_or_default, recommender = self._errors.call_or_default, self._recommender
        writes: list[Write] = []
        lists_written = 0
        if active:
            lists_written = call_or_default(
                "lists", 0, write_lists, recommender, active, now_ms, writes
            )
        writes += call_or_default(
            "sold_out",
            [],
            shopper_stockout_writes,
            recommender,
            items.sold_out,
            items.restocked,
            self._out_of_stock,
            now_ms,
            self._clock.reporting_time_ms,
        )
        if items.has_changed_cards:
            writes += call_or_default("lists", [], fill_empty_lists, recommender, now_ms)
        return Listed(learned, writes, lists_written)
