"""The items of the synthetic shop."""

from __future__ import annotations

import numpy as np

from state.events import Item

KINDS = (
    ("mug", "kitchen", 12.0),
    ("teapot", "kitchen", 34.0),
    ("lamp", "living", 59.0),
    ("cushion", "living", 22.0),
    ("notebook", "office", 9.0),
    ("pen", "office", 5.0),
    ("scarf", "clothing", 29.0),
    ("jacket", "clothing", 119.0),
    ("kite", "toys", 19.0),
    ("puzzle", "toys", 16.0),
)
"""What the shop sells: noun, department, usual price. Each kind is related to the next one."""

COLOURS = ("Blue", "Red", "Green", "Yellow", "White", "Black", "Grey", "Orange", "Pink")
PATTERNS = (
    "",
    "striped",
    "dotted",
    "checked",
    "plain",
    "floral",
    "quilted",
    "speckled",
    "woven",
    "marbled",
)
BRANDS = ("Budget Bee", "Middleton", "Grand & Son")
"""By tier: the cheap, the usual and the expensive third of every kind."""

TIER_PRICES = (0.6, 1.0, 2.2)
CATALOGUE = "catalogue"
"""The anonymous id of the events that describe items."""


def build_catalogue(items: int, seed: int = 7) -> tuple[Item, ...]:
    """The shop's items, most popular first.

    >>> item = build_catalogue(500)[420]; item.item_id, item.name, item.category, item.brand
    ('mug-0042', 'Grey plain mug', ('kitchen', 'mug'), 'Budget Bee')
    """
    price_factors = np.random.default_rng(seed).lognormal(0.0, 0.15, items)
    return tuple(_item(row, float(price_factors[row])) for row in range(items))


def _item(row: int, price_factor: float) -> Item:
    noun, department, price = KINDS[row % len(KINDS)]
    number = row // len(KINDS)
    tier = number % len(BRANDS)
    variant, colour = divmod(number, len(COLOURS))
    series, pattern = divmod(variant, len(PATTERNS))
    words = (COLOURS[colour], PATTERNS[pattern], noun, f"No. {series + 1}" if series else "")
    return Item(
        f"{noun}-{number:04d}",
        category=(department, noun),
        brand=BRANDS[tier],
        name=" ".join(filter(None, words)),
        price=round(price * TIER_PRICES[tier] * price_factor, 2),
    )
