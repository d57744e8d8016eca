"""Restores a standalone recommender from another one, as the flow restores its two steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from operators.recommend.components import RecommenderComponents
    from operators.recommend.items.trainer import ItemTrainer
    from operators.recommend.standalone import StandaloneRecommender


def parts_of(
    recommender: StandaloneRecommender,
) -> tuple[RecommenderComponents | ItemTrainer, RecommenderComponents | ItemTrainer]:
    return recommender.components, recommender.trainer


def ids_of(part: RecommenderComponents | ItemTrainer) -> dict[str, list[str]]:
    return {name: row_index.ids for name, row_index in part.row_indexes().items()}


def restore(recommender: StandaloneRecommender, restored: StandaloneRecommender) -> None:
    for part, empty in zip(parts_of(recommender), parts_of(restored), strict=True):
        empty.restore(part.arrays())
        empty.restore_ids(ids_of(part))
    restored.trainer.restore_cards({})
    restored.update_replica()


def assert_same_state(one: StandaloneRecommender, other: StandaloneRecommender) -> None:
    for part, again in zip(parts_of(one), parts_of(other), strict=True):
        assert ids_of(part) == ids_of(again)
        arrays, copied = part.arrays(), again.arrays()
        assert arrays.keys() == copied.keys()
        assert all(array.tobytes() == copied[name].tobytes() for name, array in arrays.items())
