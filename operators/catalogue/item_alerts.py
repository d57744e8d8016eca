"""Turns catalogue events (back in stock, price drop) into changes for the shoppers who viewed the item.

Triggers on a shopper's own behaviour (an abandoned cart, three views) are rules in segments.yaml.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from state.arrays import NO_ROW
from state.changes import Change
from state.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from operators.catalogue.item_cards import CatalogueEvent
    from operators.catalogue.recent_views import RecentViews
    from state.config import Triggers
    from state.interactions import RowIndex


def triggered_changes(
    events: Iterable[CatalogueEvent],
    settings: Triggers,
    items: RowIndex,
    shoppers: RowIndex,
    recent_views: RecentViews,
    is_known: Callable[[int], bool],
) -> list[Change]:
    """One change for each event and each shopper who viewed the item before and did not buy it.

    The most recent viewers come first. `is_known` says of a shopper's row whether its id is a user's.
    """
    events_with_rows = [(event, items.get(event.item)) for event in events]
    events_with_rows = [(event, row) for event, row in events_with_rows if row != NO_ROW]
    if not events_with_rows:
        return []
    views = recent_views.lookup(np.array([row for _, row in events_with_rows], np.int32))
    changes: list[Change] = []
    for (name, item, at_ms), row in events_with_rows:
        after_ms = at_ms - settings.days * DAY_MS
        viewers = views.viewers_of(row, after_ms, at_ms, settings.shoppers_max)
        for viewer in viewers.tolist():
            shopper = shoppers.ids[viewer]
            if shopper:
                changes.append(Change("trigger", shopper, name, at_ms, is_known(viewer), item))
    return changes
