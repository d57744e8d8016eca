"""Configuration of lists: what is learned, how lists are evaluated, which rules apply.

Results depend on every key here. To add a key: a field with a default, and a line in `config.yaml`.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from state.config_types import HalfLife, NotNegative, Positive, Section, Share


class Weights(Section, frozen=True):
    """Weight of one event for the taste of a shopper."""

    item_view: float = 1.0
    wishlist_add: float = 2.0
    cart_add: float = 3.0
    purchase: float = 5.0


class Served(Section, frozen=True):
    """Online evaluation: published lists are compared with the next click."""

    share: Share = 0.125
    shoppers_max: Positive = 20_000
    half_life_hours: HalfLife = 24.0


class AlreadyBought(Section, frozen=True):
    """The rule that removes items which the shopper has bought."""

    enabled: bool = True
    wait_min: NotNegative = 60
    again_min: Share = 0.1
    pairs_max: Positive = 1_000_000


class OutOfStock(Section, frozen=True):
    """The rule that removes items which are not available."""

    enabled: bool = True
    rewrite_max: NotNegative = 2000


class OwnBrand(Section, frozen=True):
    """The rule that moves items of some brands up."""

    brands: tuple[str, ...] = ()
    boost: Annotated[float, msgspec.Meta(ge=1)] = 1.5


class Diversity(Section, frozen=True):
    """The rule that separates similar items."""

    weight: Share = 0.0


class CategoryCap(Section, frozen=True):
    """The rule that limits the items of one category at the top of a list."""

    most: NotNegative = 0
    among: Positive = 10


class ListRules(Section, frozen=True):
    """Business rules, applied to each list in this order."""

    already_bought: AlreadyBought = AlreadyBought()
    out_of_stock: OutOfStock = OutOfStock()
    own_brand: OwnBrand = OwnBrand()
    diversity: Diversity = Diversity()
    category_cap: CategoryCap = CategoryCap()


class Exploration(Section, frozen=True):
    """Tests the choice of a single learner at one position of some lists."""

    share: Share = 0.0
    position: Positive = 12
    seed: NotNegative = 7


class Lists(Section, frozen=True):
    """Top-k lists of shoppers, items and scopes."""

    k: Annotated[int, msgspec.Meta(gt=0, le=100)] = 20
    allow_repeats: bool = True
    figures_every_ms: Positive = 1000
    popularity_half_life_hours: HalfLife = 24.0
    covisitation_half_life_days: HalfLife = 30.0
    blend_memory_events: Positive = 10_000
    ranking_threads: Positive = 2
    weights: Weights = Weights()
    served: Served = Served()
    rules: ListRules = ListRules()
    exploration: Exploration = Exploration()

    def __post_init__(self) -> None:
        """Refuse an explored position outside the list, or one that the category cap covers."""
        position, cap = self.exploration.position, self.rules.category_cap
        if self.exploration.share and position > self.k:
            raise ValueError("exploration.position must be at most k")
        if self.exploration.share and cap.most and position <= cap.among:
            raise ValueError("exploration.position must be above rules.category_cap.among")
