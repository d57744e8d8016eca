"""Removal from a recommender alone, as `operators.personalize.removal` does it for the whole state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.personalize import removal
from state.arrays import NO_ROW

if TYPE_CHECKING:
    from operators.recommend.standalone import StandaloneRecommender
    from state.arrays import Rows


def merge(recommender: StandaloneRecommender, name: str, user: str = "") -> None:
    """A shopper turned out to be a user, or was erased."""
    recommender.trainer.shoppers.merge(name, user)
    into = recommender.shoppers.get_or_add(user) if user else NO_ROW
    row = recommender.shoppers.get(name)
    if row != NO_ROW:
        removal.merge(recommender.components.removable_parts(), row, into)


def remove_shoppers(recommender: StandaloneRecommender, rows: Rows) -> None:
    recommender.trainer.shoppers.remove([recommender.shoppers.ids[row] for row in rows.tolist()])
    removal.remove_shoppers(recommender.components.removable_parts(), recommender.shoppers, rows)


def remove_items(recommender: StandaloneRecommender, rows: Rows) -> None:
    recommender.trainer.remove_items(rows)
    removal.remove_items(recommender.components.removable_parts(), rows)
    recommender.update_replica()
