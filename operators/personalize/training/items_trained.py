"""What the step `train_items` gives of one batch. Never stored."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.catalogue.item_cards import CatalogueEvent
    from operators.recommend.items.models import ModelChanges
    from operators.recommend.items.trainer import TrainedBatch
    from state.arrays import Rows
    from state.interactions import EventColumns
    from state.messages import BatchId, Write


@dataclass(slots=True)
class ItemsTrained:
    """The interactions of the batch as columns, and what was learned of them.

    `serves_ads` says of each interaction whether triggers may use it, None where all may be used.
    `removed` are items above the limit, which have no row after the batch: `after_removal` are the
    changes of the models by it. `writes` publish item lists and cards.
    """

    batch: BatchId
    sequence: int
    events: EventColumns
    serves_ads: Sequence[bool] | None
    trained: TrainedBatch
    has_changed_cards: bool
    catalogue_events: list[CatalogueEvent]
    removed: Rows
    after_removal: ModelChanges | None
    writes: list[Write]
    error_counts: dict[str, int] = field(default_factory=dict)

    @property
    def parts(self) -> int:
        """One message a batch."""
        return 1
