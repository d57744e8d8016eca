"""What every list learner promises; `tests/operators/recommend/candidates/test_base.py` holds each
of them to it.

To add a learner: one file here with a class of this shape, one line in `registry.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.tables.table import Arrays, Table
    from state.arrays import Rows
    from state.interactions import Interactions, ListRequests, ScoredLists


@runtime_checkable
class CandidateLearner(Protocol):
    """Learns from batches of interactions and names candidates for shoppers.

    Promises: candidates before the first batch are empty, never an error; `candidates` never
    changes what a later call answers (reads do not learn, and do not grow state); the same seed and
    the same batches give the same arrays; rows beyond what was learned are answered, not raised;
    a list never holds an item twice; memory is bounded by the numbers of items and shoppers times
    a constant from the constructor; one that was restored from `arrays` answers alike and learns on
    alike; the changed rows of `tables` and what is `scalars`, written over an older copy of `arrays`,
    give the `arrays` of now; forgotten rows answer as if they had never been learned, and one that is
    given again inherits nothing. `operators.tables.table.Kept` makes `arrays` of the other two.
    """

    name: str
    is_reranker: bool
    """Whether it is asked after the others, with what they named in `requests.named`."""

    def learn_many(self, batch: Interactions) -> None:
        """Learn a batch, in its order."""

    def candidates(self, requests: ListRequests, k: int) -> ScoredLists:
        """At most k items for each request, best first."""

    def remove_shoppers(self, rows: Rows) -> None:
        """These shoppers, each once, are no more; rows may lie beyond what was learned."""

    def remove_items(self, rows: Rows) -> None:
        """These items, each once, are no more, nor is anything that points to them."""

    def tables(self) -> Sequence[Table]:
        """What grows with shoppers or items: views, and which rows changed."""

    def scalars(self) -> Arrays:
        """The rest of the state as named arrays, copied."""

    def arrays(self) -> Arrays:
        """The whole state as named arrays, copied."""

    def restore(self, arrays: Arrays) -> None:
        """Take over a state that `arrays` gave, of a learner made with the same arguments."""
