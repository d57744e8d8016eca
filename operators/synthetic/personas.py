"""The kinds of shoppers of the synthetic shop. The flow does not see them; clusters should find them."""

from __future__ import annotations

from typing import NamedTuple


class Persona(NamedTuple):
    """How one kind of shopper behaves."""

    name: str
    shopper_share: float
    views_mean: float
    """Items viewed in a session, on average."""
    search_probability: float
    cart_add_probability: float
    cart_remove_probability: float
    order_probability: float
    """Of a session with items in the cart."""
    tier: int | None
    """The only tier they buy, if any."""
    account_probability: float
    activity: float
    """How often they visit, relative to the others."""


PERSONAS = (
    Persona("passer-by", 0.40, 1.6, 0.10, 0.02, 0.05, 0.30, None, 0.05, 0.5),
    Persona("browser", 0.30, 9.0, 0.15, 0.04, 0.15, 0.25, None, 0.40, 1.0),
    Persona("bargain hunter", 0.18, 6.0, 0.70, 0.25, 0.35, 0.45, 0, 0.60, 1.5),
    Persona("loyal buyer", 0.12, 4.0, 0.30, 0.45, 0.05, 0.85, 2, 1.00, 2.5),
)


def persona_of(shopper: int) -> Persona:
    """The persona of the shopper with this number.

    >>> persona_of(0).name, persona_of(1).name
    ('browser', 'passer-by')
    """
    # The golden ratio spreads any run of numbers evenly over the shares.
    position = (shopper + 1) * 0.6180339887498949 % 1.0
    for persona in PERSONAS:
        position -= persona.shopper_share
        if position < 0:
            return persona
    return PERSONAS[-1]
