"""A recommender with its own trainer of items: two steps of the flow as one, for evaluation, tests."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Self

from operators.recommend.factory import build_components, build_trainer
from operators.recommend.recommender import Recommender

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.recommend.candidates.base import CandidateLearner
    from state.config_lists import Lists
    from state.interactions import EventColumns, Interactions


class StandaloneRecommender(Recommender):
    """Trains items and makes lists. `other_learners` are those of `build_components`, unused so far."""

    def __init__(
        self,
        lists: Lists | None = None,
        *,
        other_learners: Sequence[CandidateLearner] | None = None,
    ) -> None:
        self.trainer = build_trainer(lists, other_learners=deepcopy(other_learners))
        super().__init__(build_components(lists, other_learners=other_learners))

    @classmethod
    def from_config(cls, lists: Lists) -> Self:
        """The recommender that a configuration asks for."""
        return cls(lists)

    def learn(self, events: EventColumns) -> Interactions | None:
        """Learn a batch. None if it has no clicks."""
        trained = self.trainer.train(events)
        self.write_replica(trained.before)
        batch = self.evaluate(events, trained.item, trained.context)
        self.write_replica(trained.changes)
        self.learn_batch(events, batch)
        return batch if len(batch) else None

    def update_replica(self) -> None:
        """Bring the replica up to the trainer: after a restore, or a removal of items."""
        self.components.replica.write(self.trainer.models.take_changes())
