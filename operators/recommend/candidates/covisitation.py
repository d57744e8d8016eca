"""Order-aware co-visitation: what shoppers viewed after, and before, the items of the session.

The constants were chosen with `python -m benchmarks.recommend`: change them only with its figures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.kernels.ranking import partners
from operators.kernels.ranking.learning import transitions
from operators.recommend.candidates.neighbours import top_neighbours
from operators.tables.table import Table, TableState
from operators.tables.top_partners import TopPartners
from state.interactions import empty_lists
from state.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.catalogue.item_features import Flags
    from operators.tables.replication import Replicated
    from operators.tables.table import Arrays
    from state.arrays import Rows
    from state.interactions import Interactions, ListRequests, ScoredLists


class Covisitation(TableState):
    """Item-to-item transitions inside sessions, counted with decay.

    Each of the last `reach` different items of the session gains the event's weight divided by its
    distance as "then came this one", and this one gains `backward_weight` times that as "came
    from". An item
    looked at twice in a row leads to itself: repeats are a third of all next clicks.
    Sequential rules as in Ludewig and Jannach, "Evaluation of session-based recommendation
    algorithms", UMUAI 2018 (SR), made incremental, with the way back added.

    A list is the sum of the transition shares of the context items, the newest counting most, each
    further one `position_decay` times the one before.
    """

    name = "covisitation"
    is_reranker = False

    def __init__(
        self,
        *,
        width: int = 64,
        half_life_ms: int = 30 * DAY_MS,
        context_items: int = 4,
        backward_weight: float = 0.5,
        position_decay: float = 0.4,
    ) -> None:
        self.table = TopPartners(width, half_life_ms)
        self.context_items = context_items
        self.backward_weight = backward_weight
        self.position_decay = position_decay

    def learn_many(self, batch: Interactions) -> None:
        """Learn a batch, in order of arrival."""
        length = min(self.context_items, batch.context.shape[1])
        has_context = (batch.context[:, :length] >= 0).any(axis=1)
        if not has_context.any():
            return
        self.table.encode_scale(batch.at_ms[has_context])
        most = 2 * len(batch) * length
        row, item, gain = (
            np.empty(most, np.int32),
            np.empty(most, np.int32),
            np.empty(most, np.float32),
        )
        count = transitions(
            batch.context,
            length,
            batch.item,
            batch.weight,
            self.table.clock.encode_scale(batch.at_ms),
            np.float32(self.backward_weight),
            row,
            item,
            gain,
        )
        self.table.add_encoded(row[:count], item[:count], gain[:count])

    def candidates(self, requests: ListRequests, k: int) -> ScoredLists:
        """At most k items for each request; scores are shares, at most 1 in all."""
        length = min(self.context_items, requests.context.shape[1])
        share = np.float32(self.position_decay) ** np.arange(length, dtype=np.float32)
        lists, rows = empty_lists(len(requests), k), self.table.rows
        partners.covisitation(
            requests.context,
            self.table.partner[:rows],
            self.table.weight[:rows],
            share / share.sum(),
            lists.item,
            lists.score,
            lists.reason_item,
        )
        return lists

    def neighbours(self, items: Rows, k: int, sold_out: Flags | None = None) -> ScoredLists:
        """The items most viewed with each of these, without sold-out ones; scores are shares."""
        return top_neighbours(self.table, items, k, sold_out)

    def take_changed(self, limit: int | None = None, start: int = 0) -> Rows:
        """The items whose neighbours changed since they were taken, as `TopPartners` has it."""
        return self.table.take_changed(limit, start)

    def remove_shoppers(self, rows: Rows) -> None:
        """Nothing is stored of single shoppers."""

    def remove_items(self, rows: Rows) -> None:
        """Remove what was learned of these items."""
        self.table.remove_rows(rows)
        self.table.remove_partners(rows)

    def replicated_tables(self) -> Sequence[Replicated]:
        """The transitions of each item."""
        return (self.table,)

    def tables(self) -> Sequence[Table]:
        """The transitions of each item."""
        return self.table.tables()

    def scalars(self) -> Arrays:
        """The clock of the decay."""
        return self.table.scalars()

    def restore(self, arrays: Arrays) -> None:
        """Go on from the arrays of a snapshot."""
        self.table.restore(arrays)
