"""The contract of a candidate generator. It is called a learner: it learns from every batch of clicks.

To add one: a file here with a class of this shape, and a line in `registry.py`. Nothing else: the blend
learns how much its candidates count. `tests/operators/recommend/candidates/test_base.py` holds every
learner of the registry to the promises below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from operators.tables.table import Snapshottable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.tables.replication import Replicated
    from state.arrays import Rows
    from state.interactions import Interactions, ListRequests, ScoredLists


@runtime_checkable
class CandidateLearner(Snapshottable, Protocol):
    """Learns from batches of interactions, and generates candidates for the lists of shoppers.

    Promises:

    - Before the first batch there are no candidates, and no error.
    - `candidates` changes nothing: a read does not learn and does not grow the state.
    - The same seed and the same batches give the same arrays.
    - Rows beyond those that were learned are answered, not raised.
    - No list holds an item twice.
    - Memory is bounded by the number of items and shoppers, times a constant of the constructor.
    - It is stored and restored as `operators.tables.table` says; a restored learner answers and learns
      on like the one that gave the arrays.
    - Its replicated tables, written into an equal object, make that object answer the same.
    - Removed rows answer as if they had never been learned; a row that is given again inherits nothing.
    """

    name: str
    """Stored, and public: in lists, in `ps:1:model:{<learner>}` and in metrics. Never change one."""
    is_reranker: bool
    """Whether it ranks the candidates of the others, which it finds in `requests.candidates`."""

    def learn_many(self, batch: Interactions) -> None:
        """Learn a batch, in order of arrival."""

    def candidates(self, requests: ListRequests, k: int) -> ScoredLists:
        """At most k items for each request, best first."""

    def replicated_tables(self) -> Sequence[Replicated]:
        """What `candidates` reads, if only items are in it; () for a learner that keeps shoppers.

        A learner with such tables learns once for all who make lists, in `ItemTrainer`. Each of them has
        a replica: an equal object, which does not learn and has the changed rows written into it.
        """

    def merge(self, row: int, into: int) -> None:
        """A shopper was merged into another; what it taught stays until its row is removed."""

    def remove_shoppers(self, rows: Rows) -> None:
        """Remove these shoppers, each given once. Rows may be beyond those that were learned."""

    def remove_items(self, rows: Rows) -> None:
        """Remove these items, each given once, and every reference to them."""
