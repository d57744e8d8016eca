"""The keys of the configuration that `penstock tune` searches, and their ranges.

Only keys that decide how good lists are: not what a shop wants (own brands, category caps, diversity),
and not what costs memory or time. To add one: a line here. The ranges include the defaults.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

EVENT_TYPES = ("item_view", "wishlist_add", "cart_add", "purchase")
"""The keys of `lists.weights`."""


class Range(NamedTuple):
    """From `low` to `high`, evenly by ratio. `whole`: integers only. `event_type`: searched only if it
    occurs."""

    low: float
    high: float
    whole: bool = False
    event_type: str = ""


SEARCH_SPACE: Mapping[str, Range] = {
    "lists.popularity_half_life_hours": Range(0.5, 720.0),
    "lists.covisitation_half_life_days": Range(0.5, 365.0),
    "lists.blend_memory_events": Range(1000, 200_000, whole=True),
    "lists.weights.wishlist_add": Range(0.5, 10.0, event_type="wishlist_add"),
    "lists.weights.cart_add": Range(0.5, 10.0, event_type="cart_add"),
    "lists.weights.purchase": Range(0.5, 20.0, event_type="purchase"),
    "lists.rules.already_bought.wait_min": Range(5, 1440, whole=True, event_type="purchase"),
    "lists.rules.already_bought.again_min": Range(0.02, 0.5, event_type="purchase"),
}
