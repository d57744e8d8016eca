"""All that ranking reads of items: ids, features, tables of learners. One to train, one replica to rank.

Change freely: nothing here is stored. A replica is never an array of the trained models, also inside one
process: who ranks a batch must not see what was learned of a later one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from operators.tables.replication import TableRows, take_rows, write_rows

if TYPE_CHECKING:
    from operators.catalogue.item_features import ItemFeatures
    from operators.recommend.candidates.base import CandidateLearner
    from operators.tables.replication import Replicated
    from state.interactions import ChangedIds, RowIndex


class ModelChanges(NamedTuple):
    """What changed in `ItemModels` since the last message: ids by row index, rows by table."""

    ids: tuple[ChangedIds, ...]
    tables: tuple[TableRows, ...]


@dataclass(frozen=True, slots=True)
class ItemModels:
    """The models of items. Learners that keep shoppers have no tables here."""

    items: RowIndex
    features: ItemFeatures
    learners: tuple[CandidateLearner, ...]

    def take_changes(self) -> ModelChanges:
        """What changed since the last call, copied; at first everything."""
        return ModelChanges(
            tuple(index.take_changes() for index in self._row_indexes()),
            tuple(take_rows(table) for table in self.tables()),
        )

    def write(self, changes: ModelChanges) -> None:
        """Write the changes of equal models over these, which are their replica."""
        for index, ids in zip(self._row_indexes(), changes.ids, strict=True):
            index.write(ids)
        for table, rows in zip(self.tables(), changes.tables, strict=True):
            write_rows(table, rows)

    def mark_all(self) -> None:
        """Everything counts as changed: the next changes are the whole tables."""
        for table in self.tables():
            table.changed_rows.mark_all()

    def _row_indexes(self) -> tuple[RowIndex, ...]:
        return self.items, self.features.categories, self.features.brands

    def tables(self) -> list[Replicated]:
        """The tables of rows, those of the learners in their order."""
        tables: list[Replicated] = [self.features]
        for learner in self.learners:
            tables += learner.replicated_tables()
        return tables
