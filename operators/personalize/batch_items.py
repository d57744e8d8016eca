"""What was trained of the items of a batch, or of several live batches that came at once, as one.

Each batch was trained in its own step. So interactions of shoppers who are removed in a later one become
those of the user that they were merged into, are dropped if they were erased, and limited to the
purposes that they do not withdraw, as `coalesce` does with all else.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from operators.personalize.coalesce import LaterRemovals
from operators.tables.array_ops import isin_rows
from state.arrays import NO_ROW
from state.interactions import EventColumns
from state.shopper import PERSONALIZATION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.catalogue.item_cards import CatalogueEvent
    from operators.personalize.training.items_trained import ItemsTrained
    from state.arrays import Rows
    from state.messages import ShardOutput, Write


@dataclass(frozen=True, slots=True)
class BatchItems:
    """The interactions with the rows and contexts that they were trained with, and what else was found.

    `updates` are the messages of the trainer in their order, each of one batch.
    """

    updates: Sequence[ItemsTrained]
    events: EventColumns
    serves_ads: Sequence[bool] | None
    item: Rows
    context: Rows
    sold_out: Rows
    restocked: Rows

    @property
    def has_changed_cards(self) -> bool:
        """Whether any card of an item changed."""
        return any(update.has_changed_cards for update in self.updates)

    @property
    def catalogue_events(self) -> list[CatalogueEvent]:
        """What happened to items."""
        return list(chain.from_iterable(update.catalogue_events for update in self.updates))

    @property
    def writes(self) -> list[Write]:
        """The commands that publish item lists and cards."""
        return list(chain.from_iterable(update.writes for update in self.updates))


def batch_items(
    batches: Sequence[Sequence[ShardOutput]], updates: Sequence[ItemsTrained]
) -> BatchItems:
    """The trained items of whole batches, given with the coalesced outputs of shards in each."""
    if len(updates) == 1:
        (only,) = updates
        trained = only.trained
        return BatchItems(
            updates,
            only.events,
            only.serves_ads,
            trained.item,
            trained.context,
            trained.sold_out,
            trained.restocked,
        )
    later = LaterRemovals()
    gone = np.empty(0, np.int32)
    parts: list[tuple[EventColumns, list[bool], Rows, Rows]] = []
    for outputs, update in zip(reversed(batches), reversed(updates), strict=True):
        if update is not updates[-1]:
            # The row of an item that was removed after this batch may be another's in a later one.
            gone = np.concatenate([gone, update.removed])
        parts.append(_without_removed(update, later, gone))
        for output in outputs:
            later.add(output)
    events, serves_ads, item, context = zip(*reversed(parts), strict=True)
    sold_out, restocked = _stock_changes(updates)
    return BatchItems(
        updates,
        _concatenated(events),
        list(chain.from_iterable(serves_ads)),
        np.concatenate(item),
        np.concatenate(context),
        sold_out,
        restocked,
    )


def _without_removed(
    update: ItemsTrained, later: LaterRemovals, gone: Rows
) -> tuple[EventColumns, list[bool], Rows, Rows]:
    """The interactions of one batch, as what later batches removed leaves them."""
    events, trained = update.events, update.trained
    shoppers = [later.target(name) for name in events.shoppers]
    withdrawn = [later.withdrawn.get(name, 0) for name in shoppers]
    is_kept = ~isin_rows(trained.item, gone)
    is_kept &= np.array([name != "" for name in shoppers], np.bool_)
    is_kept &= np.array([not purposes & PERSONALIZATION for purposes in withdrawn], np.bool_)
    kept = np.flatnonzero(is_kept)
    serves_ads = update.serves_ads or [True] * len(shoppers)
    return (
        _chosen(events, shoppers, kept),
        [serves_ads[index] and not withdrawn[index] for index in kept.tolist()],
        trained.item[kept],
        np.where(isin_rows(trained.context[kept], gone), NO_ROW, trained.context[kept]),
    )


def _chosen(events: EventColumns, shoppers: list[str], kept: NDArray[np.intp]) -> EventColumns:
    rows = kept.tolist()
    return EventColumns(
        [shoppers[row] for row in rows],
        [events.items[row] for row in rows],
        [events.kinds[row] for row in rows],
        [events.weights[row] for row in rows],
        [events.at_ms[row] for row in rows],
        [events.session_start_ms[row] for row in rows],
        [events.categories[row] for row in rows],
        [],
        countries=[events.countries[row] for row in rows],
    )


def _concatenated(columns: Sequence[EventColumns]) -> EventColumns:
    def joined(name: str) -> list[Any]:
        return list(chain.from_iterable(getattr(one, name) for one in columns))

    return EventColumns(
        joined("shoppers"),
        joined("items"),
        joined("kinds"),
        joined("weights"),
        joined("at_ms"),
        joined("session_start_ms"),
        joined("categories"),
        [],
        countries=joined("countries"),
    )


def _stock_changes(updates: Sequence[ItemsTrained]) -> tuple[Rows, Rows]:
    """Of several changes of an item the last one counts; an item that was removed has none."""
    is_sold_out: dict[int, bool] = {}
    for update in updates:
        is_sold_out |= dict.fromkeys(update.trained.sold_out.tolist(), True)
        is_sold_out |= dict.fromkeys(update.trained.restocked.tolist(), False)
        if update is not updates[-1]:
            for row in update.removed.tolist():
                is_sold_out.pop(row, None)
    return (
        np.array([row for row, flag in is_sold_out.items() if flag], np.int32),
        np.array([row for row, flag in is_sold_out.items() if not flag], np.int32),
    )
